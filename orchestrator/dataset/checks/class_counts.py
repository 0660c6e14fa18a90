"""Counts of rows by class and split, in bounded memory. Those of a whole are its parts' sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Generic, Self, TypeVar

Value = TypeVar("Value", str, tuple[str, ...])


class ClassCounts(Generic[Value]):
    """Exact counts of up to `most` classes. With more, they are no classes, and none is kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[tuple[Value, str]] = Counter()
        self._values: set[Value] = set()
        #: How many rows there were, also if their classes were too many.
        self.rows = 0
        #: Whether there were too many classes to keep.
        self.too_many = False

    def add(self, values: Iterable[Value], split: str | None) -> None:
        """Count a row for each of its classes."""
        self.rows += 1
        for value in set(values):
            self._values.add(value)
            self._counts[value, split or ""] += 1
        self._bound()

    def merge(self, later: Self) -> None:
        """Add the counts of another part."""
        self.rows += later.rows
        self.too_many = self.too_many or later.too_many
        self._counts.update(later._counts)
        self._values |= later._values
        self._bound()

    def totals(self) -> dict[Value, int]:
        """Rows by class, most first and then by name."""
        totals: Counter[Value] = Counter()
        for (value, _), count in self._counts.items():
            totals[value] += count
        return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))

    def of(self, value: Value, split: str) -> int:
        """Rows of a class in a split."""
        return self._counts[value, split]

    def _bound(self) -> None:
        self.too_many = self.too_many or len(self._values) > self._most
        if self.too_many:
            self._counts.clear()
            self._values.clear()
