"""A part of a large set of rows: those with the smallest seeded hashes, whatever their order.

So the part depends neither on the order of the rows nor on how they are cut into files, and a row
that stands there twice is not drawn more easily than one that stands there once.
"""

from __future__ import annotations

import heapq

#: For larger parts everything is kept on disk until the end: the bound would cost more memory.
_MOST_BOUND_ROWS = 300_000


class Bound:
    """Knows of most rows, as they come by, that they are not among the `rows` smallest hashes."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._largest_first: list[int] = []
        self._known: set[int] = set()

    def admits(self, digest: bytes) -> bool:
        """Whether a row of this hash may still be drawn."""
        if len(self._largest_first) < self._rows or self._rows > _MOST_BOUND_ROWS:
            return True
        return _number(digest) <= -self._largest_first[0]

    def take(self, digest: bytes) -> None:
        """Count a row in; equal rows count once."""
        number = _number(digest)
        if self._rows > _MOST_BOUND_ROWS or number in self._known:
            return
        self._known.add(number)
        if len(self._largest_first) < self._rows:
            heapq.heappush(self._largest_first, -number)
        else:
            self._known.discard(-heapq.heappushpop(self._largest_first, -number))


def _number(digest: bytes) -> int:
    """The beginning of a hash, enough to tell rows apart; equal ones are both admitted."""
    return int.from_bytes(digest[:8], "big")
