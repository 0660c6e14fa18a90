"""A file as a revision on the Hub describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.digests import git_blob_oid, sha256_file


@dataclass(frozen=True)
class RemoteFile:
    """A file of a revision. `sha256` is known for LFS files, `git_oid` names any other's content.

    For an LFS file `git_oid` is the id of its pointer, not of its content.
    """

    path: str
    size_bytes: int
    sha256: str | None
    git_oid: str | None

    def same_as(self, file: Path) -> bool:
        """Whether a local file has this very content."""
        if file.stat().st_size != self.size_bytes:
            return False
        if self.sha256 is not None:
            return sha256_file(file) == self.sha256
        return git_blob_oid(file) == self.git_oid
