"""Remembers the prompts of all rows in 16 bytes a row, most of them on disk, to find equal ones.

Prompts are compared by 64 bits of SHA-256, for which processors have instructions: among five
million rows, two different ones look equal with a probability of one in a million. Answers are
compared only where prompts are equal, so 32 bits of CRC are enough for them.
"""

from __future__ import annotations

import struct
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any, NamedTuple
from zlib import crc32

_BUCKETS = 64
_RECORD = struct.Struct("=8sII")
#: What is kept in memory before it goes to disk.
_MEMORY_BYTES = 8 << 20


class Entry(NamedTuple):
    """A row: its prompt's key, its answer's, and where it stands; `segment` rises with the rows."""

    prompt: int
    answer: int
    segment: int
    line: int


@dataclass(slots=True)
class Segment:
    """Rows that follow each other in one file; their lines are counted from `base`."""

    file: str
    split: str | None
    base: int = 0


@dataclass(slots=True)
class _Bucket:
    """The rows with one sort of key: those being added, and pieces that are full, by segment."""

    fresh: bytearray = field(default_factory=bytearray)
    pieces: list[tuple[int, bytes | tuple[int, int]]] = field(default_factory=list)


class PromptIndex:
    """The prompts of rows in their order. Small to send to another process, and mergeable."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self._buckets = [_Bucket() for _ in range(_BUCKETS)]
        self._in_memory_bytes = 0
        self._disk: IO[bytes] | None = None

    def add(self, rows: Iterable[tuple[bytes, bytes, int]], file: str, split: str | None) -> None:
        """Take in prompts and answers with their lines, all of one file."""
        if not self.segments or (self.segments[-1].file, self.segments[-1].split) != (file, split):
            self._seal()
            self.segments.append(Segment(file, split))
        buckets = self._buckets
        pack = _RECORD.pack
        count = 0
        for prompt, answer, line in rows:
            key = sha256(prompt).digest()[:8]
            buckets[key[0] % _BUCKETS].fresh += pack(key, crc32(answer), line)
            count += 1
        self._in_memory_bytes += count * _RECORD.size
        self._spill()

    def shift(self, lines: int) -> None:
        """Learn that all rows stand further down in their file."""
        for segment in self.segments:
            segment.base += lines

    def merge(self, later: PromptIndex) -> None:
        """Take in the rows that follow these."""
        self._seal()
        later._seal()
        before = len(self.segments)
        self.segments += later.segments
        for mine, theirs in zip(self._buckets, later._buckets, strict=True):
            for segment, piece in theirs.pieces:
                records = later._read(piece)
                mine.pieces.append((segment + before, records))
                self._in_memory_bytes += len(records)
        later.close()
        self._spill()

    def repeated(self) -> Iterator[Iterator[Entry]]:
        """The rows whose prompt occurs more than once, in their order, in sets by prompt.

        Rows of one prompt all stand in one of the sets.
        """
        self._seal()
        for bucket in self._buckets:
            once: set[int] = set()
            twice: set[int] = set()
            for _, piece in bucket.pieces:
                prompts = memoryview(self._read(piece)).cast("Q")[::2].tolist()
                apart = set(prompts)
                if len(apart) < len(prompts):
                    twice |= _repeated(prompts)
                twice |= once & apart
                once |= apart
            if twice:
                yield self._entries(bucket, twice)

    def close(self) -> None:
        """Give back the disk."""
        if self._disk is not None:
            self._disk.close()
            self._disk = None

    def _entries(self, bucket: _Bucket, wanted: set[int]) -> Iterator[Entry]:
        for segment, piece in bucket.pieces:
            base = self.segments[segment].base
            for prompt, answer, line in struct.iter_unpack("=QII", self._read(piece)):
                if prompt in wanted:
                    yield Entry(prompt, answer, segment, base + line)

    def _seal(self) -> None:
        """Close the piece of each bucket: what follows belongs to another segment."""
        for bucket in self._buckets:
            if bucket.fresh:
                bucket.pieces.append((len(self.segments) - 1, bytes(bucket.fresh)))
                bucket.fresh = bytearray()

    def _spill(self) -> None:
        if self._in_memory_bytes < _MEMORY_BYTES:
            return
        self._seal()
        if self._disk is None:
            self._disk = tempfile.TemporaryFile(prefix="orchestrator-")  # noqa: SIM115 (closed below)
            weakref.finalize(self, self._disk.close)
        at = self._disk.seek(0, 2)
        for bucket in self._buckets:
            for number, (segment, piece) in enumerate(bucket.pieces):
                if isinstance(piece, bytes):
                    self._disk.write(piece)
                    bucket.pieces[number] = (segment, (at, len(piece)))
                    at += len(piece)
        self._in_memory_bytes = 0

    def _read(self, piece: bytes | tuple[int, int]) -> bytes:
        if isinstance(piece, bytes):
            return piece
        assert self._disk is not None  # noqa: S101 (the piece says that it lies there)
        self._disk.seek(piece[0])
        return self._disk.read(piece[1])

    def __getstate__(self) -> dict[str, Any]:
        """All of it in memory, for another process."""
        self._seal()
        pieces = [[(s, self._read(p)) for s, p in bucket.pieces] for bucket in self._buckets]
        return {"segments": self.segments, "pieces": pieces}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.segments = state["segments"]
        self._buckets = [_Bucket(pieces=pieces) for pieces in state["pieces"]]
        self._in_memory_bytes = sum(len(p) for pieces in state["pieces"] for _, p in pieces)
        self._disk = None


def _repeated(keys: Iterable[int]) -> set[int]:
    seen: set[int] = set()
    twice: set[int] = set()
    for key in keys:
        (twice if key in seen else seen).add(key)
    return twice
