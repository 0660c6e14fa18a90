"""Files of repos on the Hub as a store of objects, for reading.

An object is named `hf://models/owner/name@revision/path` or `hf://datasets/...`; without a revision
main is meant. What one call lists is one state of the repo, even if its branch moves meanwhile.
Nothing is written here: files come to the Hub by commits (`hub_commits.py`, `hub.py`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import Corrupt, InputError, NotFound
from orchestrator.stores.base import Progress, Put, StoredObject
from orchestrator.stores.hub import RemoteFile
from orchestrator.stores.hub_files import HubFiles, Kind, Patience

_KINDS: Mapping[str, Kind] = {"models": "model", "datasets": "dataset"}
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_URI = re.compile(
    rf"hf://(models|datasets)/({_SEGMENT}/{_SEGMENT})(?:@([^/]+))?(?:/(.*))?", re.DOTALL
)
_COMMIT_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubUri:
    """The parts of a URI. `path` may be a prefix of paths, or empty."""

    kind: Kind
    repo: str
    revision: str
    path: str

    @classmethod
    def of(cls, uri: str) -> HubUri:
        """Read a URI; raises `InputError` if it is none. A revision with a slash has it as %2F."""
        match = _URI.fullmatch(uri)
        if match is None:
            raise InputError(
                f"{uri} does not name files of a repo on the Hub",
                hint="Write hf://models/OWNER/NAME@REVISION/PATH or hf://datasets/...",
            )
        kinds, repo, revision, path = match.groups()
        return cls(_KINDS[kinds], repo, unquote(revision or "main"), path or "")

    @property
    def is_pinned(self) -> bool:
        """Whether it names a commit: branches move, and tags can be moved."""
        return _COMMIT_ID.fullmatch(self.revision) is not None

    def at(self, revision: str) -> str:
        """The URI of the same place at another revision."""
        below = f"/{self.path}" if self.path else ""
        return f"hf://{self.kind}s/{self.repo}@{quote(revision, safe='')}{below}"


@dataclass(frozen=True)
class HubObject(StoredObject):
    """A file at the commit where it was found.

    The Hub has no generations: a number made from the content's id takes their place, the same for
    the same content. It has no CRC32C either; `remote` holds the digest that it has.
    """

    commit: str = field(default="", compare=False)
    remote: RemoteFile = field(default_factory=lambda: RemoteFile("", 0, None, None))


class HubObjects:
    """Repos of models and datasets at one Hub, with one token (None: anonymous)."""

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        *,
        patience: Patience | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._files = HubFiles(endpoint, token, patience=patience, clock=clock)

    def pin(self, uri: str) -> str:
        """The same place at its commit of this moment; the URI itself if there is none (yet)."""
        place = HubUri.of(uri)
        commit = self._commit(place)
        return uri if commit is None else place.at(commit)

    def stat(self, uri: str) -> StoredObject | None:
        """Describe a file; None if there is none, or no such repo or revision."""
        place = HubUri.of(uri)
        commit = self._commit(place)
        if commit is None or not place.path:
            return None
        try:
            found = self._files.described(place.kind, place.repo, commit, [place.path])
        except NotFound:
            return None
        remote = found.get(place.path)
        return None if remote is None else _object(uri, commit, remote)

    def list(self, prefix: str) -> list[StoredObject]:
        """All files whose URI starts with `prefix`, by name, at one commit.

        None where there is no such repo or revision (yet). The URIs keep the revision of `prefix`.
        """
        place = HubUri.of(prefix)
        commit = self._commit(place)
        if commit is None:
            return []
        folder = place.path.rpartition("/")[0]
        try:
            found = self._files.listed(place.kind, place.repo, commit, folder, recursive=True)
        except NotFound:
            return []
        root = prefix[: len(prefix) - len(place.path)].rstrip("/")
        return [
            _object(f"{root}/{path}", commit, remote)
            for path, remote in sorted(found.items())
            if path.startswith(place.path)
        ]

    def get(self, stored: StoredObject, file: Path, progress: Progress | None = None) -> None:
        """Download what was found, from the commit where it was found, checked."""
        place, found = self._found(stored)
        self._files.fetch(place.kind, place.repo, found.commit, found.remote, file, progress)

    def read(self, uri: str, *, max_bytes: int) -> bytes:
        """The content of a small file, checked; `Corrupt` if it is larger than `max_bytes`."""
        stored = self.stat(uri)
        if stored is None:
            raise NotFound(f"there is no {uri}")
        if stored.size_bytes > max_bytes:
            raise Corrupt(f"{uri} has {stored.size_bytes} bytes, more than {max_bytes}")
        with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
            file = Path(folder) / "content"
            self.get(stored, file)
            return file.read_bytes()

    def read_range(self, stored: StoredObject, start: int, size_bytes: int) -> bytes:
        """Bytes of what was found from `start` on, fewer at its end. No checksum covers a part."""
        place, found = self._found(stored)
        return self._files.part(
            place.kind, place.repo, found.commit, found.remote.path, start, size_bytes
        )

    def check_writable(self, uri: str) -> None:
        """Refused: nothing is written here."""
        raise _only_for_reading(uri)

    def put(self, file: Path, uri: str, progress: Progress | None = None) -> Put:  # noqa: ARG002
        """Refused: nothing is written here."""
        raise _only_for_reading(uri)

    def delete(self, stored: StoredObject) -> bool:
        """Refused: nothing is removed here."""
        raise _only_for_reading(stored.uri)

    def _commit(self, place: HubUri) -> str | None:
        """The commit that a place means; None if there is no such repo or revision."""
        if place.is_pinned:
            return place.revision
        try:
            return self._files.commit(place.kind, place.repo, place.revision)
        except NotFound:
            return None

    def _found(self, stored: StoredObject) -> tuple[HubUri, HubObject]:
        """The object as this store found it; one that was put down elsewhere is looked up."""
        place = HubUri.of(stored.uri)
        if isinstance(stored, HubObject):
            return place, stored
        now = self.stat(stored.uri)
        if not isinstance(now, HubObject) or now.generation != stored.generation:
            raise NotFound(f"{stored.uri} is gone, or has another content now")
        return place, now


def _object(uri: str, commit: str, remote: RemoteFile) -> HubObject:
    identity = remote.sha256 or remote.git_oid or "0"
    return HubObject(
        uri=uri,
        size_bytes=remote.size_bytes,
        crc32c="",
        generation=int(identity[:15], 16),
        commit=commit,
        remote=remote,
    )


def _only_for_reading(uri: str) -> InputError:
    return InputError(
        f"{uri} cannot be changed as an object: files come to the Hub, and go, by commits"
    )
