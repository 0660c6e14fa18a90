"""Local files on their way to and from a store, with the checksum that stores keep."""

from __future__ import annotations

import base64
import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import google_crc32c

from orchestrator.errors import InputError, Place
from orchestrator.stores.base import Progress

_READ_BYTES = 1 << 20
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@dataclass(frozen=True)
class Sums:
    """The size of some content, and its CRC32C as base64 of the big-endian checksum."""

    size_bytes: int
    crc32c: str


class CheckedSink:
    """A stream that sums what is written to it; a writer may start again from the beginning."""

    def __init__(self, stream: IO[bytes], progress: Progress | None = None) -> None:
        self._stream = stream
        self._progress = progress
        self._size_bytes = 0
        self._crc32c: Any = google_crc32c.Checksum()

    @property
    def sums(self) -> Sums:
        """Of what was written since the beginning."""
        return Sums(self._size_bytes, base64.b64encode(self._crc32c.digest()).decode())

    def write(self, data: bytes) -> int:
        """Pass on, count and sum."""
        self._stream.write(data)
        self._crc32c.update(data)
        self._size_bytes += len(data)
        if self._progress is not None:
            self._progress(len(data))
        return len(data)

    def tell(self) -> int:
        """How much was written."""
        return self._size_bytes

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Only to the beginning, which forgets what was written."""
        if (offset, whence) != (0, io.SEEK_SET):
            raise io.UnsupportedOperation("only to the beginning")
        self._stream.seek(0)
        self._stream.truncate()
        if self._progress is not None:
            self._progress(-self._size_bytes)
        self._size_bytes = 0
        self._crc32c = google_crc32c.Checksum()
        return 0

    def flush(self) -> None:
        """Pass on."""
        self._stream.flush()


class CountedFile(io.BufferedReader):
    """A file to be sent that says how far it has got; what is sent again does not count again.

    Without a `progress` it counts nothing: reading for a checksum is not sending.
    """

    def __init__(self, file: Path, progress: Progress | None = None) -> None:
        super().__init__(io.FileIO(file))
        self.progress = progress
        self._furthest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and tell."""
        data = super().read(size)
        furthest = max(self._furthest, self.tell())
        if self.progress is not None and furthest > self._furthest:
            self.progress(furthest - self._furthest)
            self._furthest = furthest
        return data


def sums_of(file: Path) -> Sums:
    """Read a file and sum it; raises `InputError` if it cannot be read."""
    with local_errors(file), file.open("rb") as stream:
        crc32c: Any = google_crc32c.Checksum()
        size_bytes = 0
        while block := stream.read(_READ_BYTES):
            crc32c.update(block)
            size_bytes += len(block)
        return Sums(size_bytes, base64.b64encode(crc32c.digest()).decode())


@contextmanager
def local_errors(file: Path) -> Iterator[None]:
    """Turn what the local disk says into an `InputError` that names the file."""
    try:
        yield
    except OSError as error:
        # Network errors are OSErrors too; they carry no file name.
        if error.filename is None and error.errno not in _DISK_FULL:
            raise
        raise InputError(
            f"cannot use the file: {error.strerror or error}",
            where=Place(str(file)),
            hint="Check that it exists, that it may be used, and that the disk has space.",
        ) from error
