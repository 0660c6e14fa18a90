"""The plain bytes of a file that may be compressed, as a stream."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from orchestrator.dataset.reading.sources import Compression, compression_of
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 1 << 18
_HINT = "Fetch it or pack it again."


class BrokenArchiveError(Exception):
    """A compressed file that ends early or is damaged, found when the reading came to the place."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = _HINT


def open_plain(
    file: Path, name: str, on_bytes: Callable[[int], None] | None = None
) -> io.BufferedReader:
    """Open a file for reading what it holds, uncompressed.

    `on_bytes` is told how many of the file's own bytes were read. Reading raises
    `BrokenArchiveError` where a compressed file breaks.
    """
    stream: io.RawIOBase = _Counted(file, on_bytes)
    try:
        magic = cast("BinaryIO", stream).read(4)
        stream.seek(0)
        compression = compression_of(magic)
        if compression is Compression.ZSTD:
            stream = _Zstd(cast("BinaryIO", stream), name)
        elif compression is Compression.GZIP:
            stream = _Gzip(cast("BinaryIO", stream))
    except BaseException:
        stream.close()
        raise
    return io.BufferedReader(stream, _CHUNK_BYTES)


class _Counted(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, file: Path, on_bytes: Callable[[int], None] | None) -> None:
        super().__init__(file, "rb")
        self._on_bytes = on_bytes
        self._told = 0

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        count = super().readinto(buffer)
        self._tell()
        return count

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]
        data = super().read(-1 if size is None else size)
        self._tell()
        return data

    def _tell(self) -> None:
        """Bytes that are read twice count once."""
        here = self.tell()
        if self._on_bytes is not None and here > self._told:
            self._on_bytes(here - self._told)
            self._told = here


class _Gzip(io.RawIOBase):
    """Plain bytes of a gzip file, of all its members."""

    def __init__(self, stream: BinaryIO) -> None:
        self._under = stream
        self._plain = gzip.GzipFile(fileobj=stream, mode="rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        try:
            data = self._plain.read1(len(memoryview(buffer)))
        except EOFError:
            raise BrokenArchiveError("cut-archive", "the gzip file ends too early") from None
        except (zlib.error, gzip.BadGzipFile) as error:
            raise BrokenArchiveError("broken-archive", f"the gzip file is damaged: {error}") from (
                error
            )
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._plain.close()
        self._under.close()
        super().close()


class _Zstd(io.RawIOBase):
    """Plain bytes of a zstd file, of all its frames; the library's own reader misses a cut one."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        try:
            import zstandard
        except ImportError:
            raise InputError(
                f"{name} is compressed with zstd, and the library for it is not installed",
                hint="Install it: pip install zstandard",
            ) from None
        self._under = stream
        self._error = zstandard.ZstdError
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new_frame()
        self._inside = False
        self._packed = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._plain:
            if not self._packed:
                self._packed = self._under.read(_CHUNK_BYTES // 4)
            if not self._packed:
                if self._inside:
                    raise BrokenArchiveError("cut-archive", "the zstd file ends too early")
                return 0
            self._unpack()
        wanted = memoryview(buffer)
        count = min(len(wanted), len(self._plain))
        wanted[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _unpack(self) -> None:
        try:
            self._plain = memoryview(self._frame.decompress(self._packed))
        except self._error as error:
            message = f"the zstd file is damaged: {error}"
            raise BrokenArchiveError("broken-archive", message) from error
        self._inside = not self._frame.eof
        self._packed = self._frame.unused_data
        if self._frame.eof:
            self._frame = self._new_frame()

    def close(self) -> None:
        self._under.close()
        super().close()
