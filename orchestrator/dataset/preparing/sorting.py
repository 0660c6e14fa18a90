"""Sorts records that need not fit into memory: by the first byte of their key, into files."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

#: What is kept in memory before it goes to disk: enough for most sets of rows as a whole.
_MOST_BYTES = 48 * 1024 * 1024
#: About what Python needs for a record beside its bytes.
_RECORD_OVERHEAD_BYTES = 180
_HEADER = struct.Struct("<BI")

Record = tuple[bytes, bytes]


class SortedRecords:
    """Pairs of key and payload, given back in the order of keys (then payloads), again and again.

    Keys are 1 to 255 bytes whose first byte is spread evenly, as that of a hash is. What does not
    fit into `most_bytes` goes into files of `folder`, which is made when it is needed; one file in
    256 is in memory at a time. `close` removes them.
    """

    def __init__(self, folder: Path, most_bytes: int = _MOST_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._held: list[Record] = []
        self._held_bytes = 0
        self._spilled = False

    def add(self, key: bytes, payload: bytes) -> None:
        """Take a record in. Raises `OSError` if the disk does not take it."""
        self._held.append((key, payload))
        self._held_bytes += len(key) + len(payload) + _RECORD_OVERHEAD_BYTES
        if self._held_bytes > self._most_bytes:
            self._spill()

    def __iter__(self) -> Iterator[Record]:
        if not self._spilled:
            yield from sorted(self._held)
            return
        self._spill()
        for number in range(256):
            file = self._file(number)
            if file.is_file():
                yield from sorted(_records(file))

    def close(self) -> None:
        """Forget all records and remove the files."""
        self._held = []
        if self._spilled:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _spill(self) -> None:
        if not self._held:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._spilled = True
        parts: dict[int, list[bytes]] = {}
        for key, payload in self._held:
            part = parts.setdefault(key[0], [])
            part += (_HEADER.pack(len(key), len(payload)), key, payload)
        for number, part in parts.items():
            with self._file(number).open("ab") as file:
                file.writelines(part)
        self._held = []
        self._held_bytes = 0

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:03}.records"


def _records(file: Path) -> Iterator[Record]:
    content = memoryview(file.read_bytes())
    start = 0
    while start < len(content):
        key_bytes, payload_bytes = _HEADER.unpack_from(content, start)
        start += _HEADER.size
        middle = start + key_bytes
        end = middle + payload_bytes
        yield bytes(content[start:middle]), bytes(content[middle:end])
        start = end
