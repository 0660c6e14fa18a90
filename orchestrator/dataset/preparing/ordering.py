"""The rows that are taken, in their seeded order, read from disk as often as they are needed."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from pathlib import Path

from orchestrator.dataset.preparing.candidates import Candidate
from orchestrator.dataset.preparing.sorting import Record, SortedRecords
from orchestrator.dataset.preparing.splits import row_key


class SeededOrder:
    """What a subset draws of the gathered rows, in the order of the hash of seed and row.

    Equal rows stand together among the gathered; the second and later of them have a hash of their
    own, and so another place. A subset of `rows` takes different rows before equal ones.
    """

    def __init__(self, kept: SortedRecords, seed: int, work: Path, rows: int | None) -> None:
        self._kept = kept
        self._seed = seed
        self._most = rows
        self._copies = SortedRecords(work / "copies")
        self._originals = 0
        self._taken_copies = 0
        #: Rows that were left out because they lose their answer; of a subset, until it was full.
        self.too_long = 0
        self._number()

    def __len__(self) -> int:
        return self._originals + self._taken_copies

    def __iter__(self) -> Iterator[Candidate]:
        originals = itertools.islice(self._firsts(), self._originals)
        copies = itertools.islice(iter(self._copies), self._taken_copies)
        for _, packed in heapq.merge(originals, copies):
            yield Candidate.unpacked(packed)

    def close(self) -> None:
        """Remove what is on disk."""
        self._kept.close()
        self._copies.close()

    def _number(self) -> None:
        copies = 0
        for key, records in itertools.groupby(self._kept, key=lambda record: record[0]):
            if self._most is not None and self._originals == self._most:
                break
            number = 0
            for _, packed in records:
                row = Candidate.unpacked(packed)
                if row.too_long:
                    self.too_long += 1
                    continue
                if number:
                    self._copies.add(row_key(self._seed, number, row.line), packed)
                    copies += 1
                number += 1
            self._originals += number > 0
            del key
        room = copies if self._most is None else self._most - self._originals
        self._taken_copies = min(copies, room)

    def _firsts(self) -> Iterator[Record]:
        """The first of each set of equal rows."""
        before = b""
        for key, packed in self._kept:
            if key != before and not Candidate.unpacked(packed).too_long:
                yield key, packed
            before = key
