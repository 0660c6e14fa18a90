"""Content on its way into the object store, and how the store writes its files."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import google_crc32c

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Sums:
    """Length and checksums of content, the latter in base64; a composite object has no MD5."""

    size_bytes: int
    crc32c: str
    md5: str


class Draft:
    """Content on its way into the store: written once, summed meanwhile, gone unless committed."""

    def __init__(self, path: Path, *, adopt: bool = False) -> None:
        self.path = path
        self.size_bytes = 0
        self._crc32c: Any = google_crc32c.Checksum()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file: BinaryIO | None = None
        if adopt:
            for block in read_blocks(path):
                self._count(block)
        else:
            self._file = path.open("xb")

    @property
    def crc32c(self) -> str:
        """Base64 of the big-endian checksum of what was written."""
        return base64.b64encode(self._crc32c.digest()).decode()

    @property
    def md5(self) -> str:
        """Base64 of the MD5 of what was written."""
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def sums(self) -> Sums:
        """Length and checksums of what was written."""
        return Sums(self.size_bytes, self.crc32c, self.md5)

    def write(self, data: bytes) -> None:
        """Append."""
        if self._file is None:
            raise ValueError("the draft is closed")
        self._file.write(data)
        self._count(data)

    def _count(self, data: bytes) -> None:
        self.size_bytes += len(data)
        self._crc32c.update(data)
        self._md5.update(data)

    def close(self) -> None:
        """No more will be written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def hashed_name(name: str) -> str:
    """The file name that stands for a name that a client chose."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def read_blocks(file: Path) -> Iterator[bytes]:
    """The content of a file, a block at a time."""
    with file.open("rb") as stream:
        yield from blocks_of(stream)


def blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    """What is left of an open file, a block at a time."""
    while block := stream.read(READ_BYTES):
        yield block


def write_json(file: Path, value: object) -> None:
    """Replace a JSON file in one step."""
    temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex}.new")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(file)
