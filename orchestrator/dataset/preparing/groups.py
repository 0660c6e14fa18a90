"""Which rows belong together: equal prompts, equal questions, and nearly equal questions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from orchestrator.dataset.nearness.near_duplicates import NearDuplicates
from orchestrator.dataset.preparing.candidates import Candidate
from orchestrator.dataset.preparing.sorting import SortedRecords
from orchestrator.dataset.preparing.splits import joined

_DIGEST_BYTES = 16


class GroupFinder:
    """Is shown all rows in their order, and then tells the groups.

    In memory it keeps what `NearDuplicates` does, and nothing at a similarity of 1.
    """

    def __init__(self, near_duplicates: float, seed: int, work: Path) -> None:
        self._equal = SortedRecords(work / "equal")
        self._near = NearDuplicates(near_duplicates, seed) if near_duplicates < 1 else None

    def add(self, index: int, row: Candidate) -> None:
        """Show the row at this place."""
        place = index.to_bytes(8, "big")
        question = hashlib.sha256(b"question\0" + row.question.encode("utf-8", "surrogatepass"))
        for digest in (bytes.fromhex(row.prompt_digest), question.digest()):
            self._equal.add(digest[:_DIGEST_BYTES] + place, b"")
        if self._near is not None:
            self._near.add(index, row.question)

    def groups(self) -> dict[int, tuple[int, ...]]:
        """The rows of each group, by the first of them."""
        near = self._near.groups() if self._near is not None else []
        return joined(itertools.chain(self._equals(), near))

    def close(self) -> None:
        """Remove what is on disk."""
        self._equal.close()

    def _equals(self) -> Iterator[tuple[int, int]]:
        before, last = b"", 0
        for key, _ in self._equal:
            digest, index = key[:_DIGEST_BYTES], int.from_bytes(key[_DIGEST_BYTES:], "big")
            if digest == before:
                yield last, index
            before, last = digest, index
