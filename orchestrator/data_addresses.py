"""Addresses of rows on the network: objects of Cloud Storage, files of datasets on the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from orchestrator.errors import InputError

_COMMIT_ID = re.compile(r"[0-9a-f]{40}")
_BUCKET = re.compile(
    r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]*)/(?P<name>.+?)(#(?P<generation>[0-9]+))?"
)
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_DATASET = re.compile(
    rf"hf://datasets/(?P<repo>{_SEGMENT}/{_SEGMENT})(@(?P<revision>[^/]+))?/(?P<path>.+)"
)


@dataclass(frozen=True)
class BucketAddress:
    """Objects of Cloud Storage; `name` may be a pattern. `generation` names one for ever."""

    bucket: str
    name: str
    generation: int | None = None

    def __str__(self) -> str:
        generation = "" if self.generation is None else f"#{self.generation}"
        return f"gs://{self.bucket}/{self.name}{generation}"


@dataclass(frozen=True)
class DatasetAddress:
    """Files of a dataset on the Hub; `path` may be a pattern. None is the revision main."""

    repo: str
    path: str
    revision: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether it names a commit: branches move, and tags can be moved."""
        return bool(self.revision and _COMMIT_ID.fullmatch(self.revision))

    def at(self, revision: str) -> DatasetAddress:
        """The same files at another revision."""
        return DatasetAddress(self.repo, self.path, revision)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://datasets/{self.repo}{revision}/{self.path}"


RemoteAddress = BucketAddress | DatasetAddress


@dataclass(frozen=True)
class RemoteRows:
    """One file on the network, as it is found there: `checksum` is that of its content.

    `version` is the generation of an object or the commit of a dataset; `path` is the name in the
    bucket or in the dataset.
    """

    address: RemoteAddress
    path: str
    version: str
    size_bytes: int
    checksum_kind: Literal["crc32c", "sha256", "git"]
    checksum: str

    @property
    def name(self) -> str:
        """How messages call the file; a commit is cut to its first digits."""
        if isinstance(self.address, BucketAddress):
            return f"gs://{self.address.bucket}/{self.path}"
        return f"hf://datasets/{self.address.repo}@{self.version[:7]}/{self.path}"

    @property
    def identity(self) -> str:
        """A text that is equal only for equal content, known before the file is fetched."""
        if self.checksum_kind == "crc32c":  # too weak to name a content
            return f"{self.name}#{self.version}"
        return f"{self.checksum_kind}:{self.checksum}"


def parse_address(text: str) -> RemoteAddress | None:
    """The address that a text is; None for a path of this machine. Raises `InputError`."""
    if text.startswith("gs://"):
        found = _BUCKET.fullmatch(text)
        if found is None or found["name"].endswith("/"):
            raise InputError(
                f"{text} does not name an object of Cloud Storage",
                hint="Write it as gs://bucket/folder/rows.jsonl; `*` stands for many.",
            )
        generation = found["generation"]
        return BucketAddress(
            found["bucket"], found["name"], int(generation) if generation else None
        )
    if text.startswith("hf://"):
        found = _DATASET.fullmatch(text)
        if found is None or found["path"].endswith("/") or ".." in found["path"].split("/"):
            raise InputError(
                f"{text} does not name a file of a dataset on the Hub",
                hint="Write it as hf://datasets/owner/name@COMMIT/data/rows.parquet; `*` stands "
                "for many.",
            )
        revision = unquote(found["revision"]) if found["revision"] else None
        return DatasetAddress(found["repo"], found["path"], revision)
    return None
