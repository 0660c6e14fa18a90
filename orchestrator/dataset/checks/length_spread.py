"""How long texts are, and which are unlike all others, in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Self

from orchestrator.dataset.report import MAX_EXAMPLES
from orchestrator.errors import Place

#: Fewer rows have no usual length.
_LEAST_ROWS = 20
#: A length is an outlier so many robust standard deviations from the median, in doublings, but
#: never below four times (or above a quarter of) the median.
_DEVIATIONS = 6.0
_LEAST_DOUBLINGS = 2.0
#: Nor is it one if it differs by fewer characters: `-11` and `B` are both short.
_LEAST_CHARACTERS = 100
#: A median absolute deviation times this is the standard deviation of a normal distribution.
_NORMAL = 1.4826
_SIGNIFICANT_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Outliers:
    """Texts that are much longer or much shorter than most: their number and the farthest ones.

    Lengths are in characters, exact in `rows` and to three digits in `median`.
    """

    longer: int
    shorter: int
    median: int
    rows: tuple[tuple[int, Place], ...]


class LengthSpread:
    """Lengths of texts, to three significant digits, and the longest and the shortest few."""

    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()
        self._longest: list[tuple[int, str, int]] = []
        self._shortest: list[tuple[int, str, int]] = []

    def add(self, length: int, file: str, line: int) -> None:
        """Count a text. Empty ones have no length, and are errors elsewhere."""
        if length:
            self._lengths[_rounded(length)] += 1
            if len(self._longest) < MAX_EXAMPLES or -length <= self._longest[-1][0]:
                self._longest = _first([*self._longest, (-length, file, line)])
            if len(self._shortest) < MAX_EXAMPLES or length <= self._shortest[-1][0]:
                self._shortest = _first([*self._shortest, (length, file, line)])

    def shift(self, lines: int) -> None:
        """Learn that these texts start further down in their file."""
        self._longest = [(length, file, line + lines) for length, file, line in self._longest]
        self._shortest = [(length, file, line + lines) for length, file, line in self._shortest]

    def merge(self, later: Self) -> None:
        """Add the lengths of another part."""
        self._lengths.update(later._lengths)
        self._longest = _first(self._longest + later._longest)
        self._shortest = _first(self._shortest + later._shortest)

    def outliers(self) -> Outliers:
        """What is far from the median in doublings, by the median absolute deviation."""
        doublings = {length: math.log2(length) for length in self._lengths}
        if self._lengths.total() < _LEAST_ROWS:
            return Outliers(0, 0, 0, ())
        middle = _median([(doublings[length], rows) for length, rows in self._lengths.items()])
        apart = [(abs(doublings[length] - middle), rows) for length, rows in self._lengths.items()]
        reach = max(_DEVIATIONS * _NORMAL * _median(apart), _LEAST_DOUBLINGS)
        far = {
            length
            for length in doublings
            if abs(doublings[length] - middle) > reach
            and abs(length - 2**middle) >= _LEAST_CHARACTERS
        }
        longer = sum(
            rows for n, rows in self._lengths.items() if n in far and doublings[n] > middle
        )
        shorter = sum(self._lengths[length] for length in far) - longer
        extremes = [(-length, file, line) for length, file, line in self._longest]
        extremes += self._shortest if shorter else []
        rows = tuple(
            (length, Place(file, line))
            for length, file, line in extremes
            if _rounded(length) in far
        )
        return Outliers(longer, shorter, round(2**middle), rows[:MAX_EXAMPLES])


def _rounded(length: int) -> int:
    unit: int = 10 ** max(0, len(str(length)) - _SIGNIFICANT_DIGITS)
    return length // unit * unit


def _first(extremes: list[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
    return sorted(extremes)[:MAX_EXAMPLES]


def _median(counted: list[tuple[float, int]]) -> float:
    """The lower median of values that are given with their numbers."""
    left = (sum(rows for _, rows in counted) + 1) // 2
    for value, rows in sorted(counted):
        left -= rows
        if left <= 0:
            return value
    return 0.0
