"""The bootstrap: rows drawn again with replacement, and the sums of each draw (Efron 1979).

A draw needs every row's numbers added up, and a plain install has no array library. So the
numbers of a row stand side by side in one whole number, each with enough room for the sum of all
rows: one addition adds all of them, for twenty metrics as quickly as for one. From 4,000 rows on,
rows are dealt at random into about 2,000 bundles of equal size and bundles are drawn: the mean is
the same, the variance is that of drawing rows but for one part in as many as there are bundles
(random groups; Wolter 2007, chapter 2), and chance in dealing adds less than the draws themselves.
"""

from __future__ import annotations

import functools
import math
import operator
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: How often rows are drawn again for an interval that has no formula.
RESAMPLES = 1000
#: What is no whole number is rounded to this many bits of its column's range.
_BITS = 44
#: Of many rows, about this many bundles are drawn in place of single rows (from twice as many on).
_DRAWN = 2000
#: After so many draws the bundles are dealt anew.
_DEALT_EVERY = 50
#: From here on a float does not hold every whole number.
_WHOLE = 2.0**50


@dataclass(frozen=True, slots=True)
class _Lane:
    """One column in its place: bits `shift` to `shift + width` of the number of a row."""

    shift: int
    width: int
    lowest: float
    scale: float

    def packed(self, column: Sequence[float]) -> list[int]:
        """The column's numbers in their place."""
        shift, lowest, scale = self.shift, self.lowest, self.scale
        return [round((value - lowest) * scale) << shift for value in column]

    def unpacked(self, total: int, rows: int) -> float:
        if not self.width:
            return self.lowest * rows
        bits = (total >> self.shift) & ((1 << self.width) - 1)
        return bits / self.scale + self.lowest * rows


def draws(
    columns: Sequence[Sequence[float]], *, seed: int, resamples: int = RESAMPLES
) -> Iterator[list[float]]:
    """For each of `resamples` draws of as many rows as there are, the sum of every column.

    All columns have a finite number for every row. The same seed and number of rows draw the same
    rows, whatever the columns; whole numbers up to 2^50 are added exactly, others to 2^-44 of the
    column's range a row.
    """
    rows = len(columns[0])
    lanes: list[_Lane] = []
    packed = [0] * rows
    for column in columns:
        lane = _lane(column, lanes[-1].shift + lanes[-1].width if lanes else 0)
        lanes.append(lane)
        if not lane.width:
            continue
        packed = list(map(operator.or_, packed, lane.packed(column)))
    for total in _totals(packed, seed, resamples):
        yield [lane.unpacked(total, rows) for lane in lanes]


def _totals(packed: list[int], seed: int, resamples: int) -> Iterator[int]:
    """The sum of each draw of as many rows as there are: one by one, or many rows in bundles."""
    rows = len(packed)
    size = max(1, rows // _DRAWN)
    bundles = packed
    for pick in _picks(rows, seed, resamples):
        if pick.dealt is not None:
            dealt = list(map(packed.__getitem__, pick.dealt))
            bundles = [sum(dealt[at : at + size]) for at in range(0, rows - rows % size, size)]
        total = sum(map(bundles.__getitem__, pick.bundles))
        yield total + sum(map(packed.__getitem__, pick.rows)) if pick.rows else total


class _Pick(NamedTuple):
    """What one draw takes, by its place: bundles, and single rows; before, how rows are `dealt`."""

    dealt: array[int] | None
    bundles: array[int]
    rows: array[int]


_NO_ROWS = array("I")


@functools.lru_cache(maxsize=8)
def _picks(rows: int, seed: int, resamples: int) -> tuple[_Pick, ...]:
    """Which rows each draw takes, for every metric and every way to answer the same ones.

    Drawing takes longer than adding up, and an evaluation asks for the same draws many times.
    """
    size = max(1, rows // _DRAWN)
    # Rows that fill no bundle are as many as are drawn one by one.
    bundled = rows - rows % size
    draw = random.Random(f"rows {rows} seed {seed}")  # noqa: S311 (repeatable, no secret)
    every = list(range(rows))
    bundles = every[: bundled // size]
    found: list[_Pick] = []
    for number in range(resamples):
        anew = size > 1 and number % _DEALT_EVERY == 0
        dealt = array("I", draw.sample(every, rows)) if anew else None
        drawn = array("I", draw.choices(bundles, k=len(bundles)))
        single = array("I", draw.choices(every, k=rows - bundled)) if rows > bundled else _NO_ROWS
        found.append(_Pick(dealt, drawn, single))
    return tuple(found)


def percentile_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the bootstrap: as many values beyond one end as the other.

    Ends lie between two values as in numpy's and R's default (Hyndman and Fan 1996, type 7).
    """
    ordered = sorted(values)
    beyond = (1 - confidence) / 2
    return _quantile(ordered, beyond), _quantile(ordered, 1 - beyond)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = min(math.floor(place), len(ordered) - 1)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return low if low == high else low + (high - low) * (place - below)


def _lane(column: Sequence[float], shift: int) -> _Lane:
    lowest = min(column)
    spread = max(column) - lowest
    if spread == 0:  # it needs no room: of bins of values most are empty
        return _Lane(shift, 0, lowest, 1.0)
    whole = (
        abs(lowest) < _WHOLE and spread < _WHOLE and all(map(float.is_integer, map(float, column)))
    )
    scale = 1.0 if whole else math.ldexp(1.0, _BITS - math.frexp(spread)[1])
    most = round(spread * scale) + 1
    return _Lane(shift, (most * len(column)).bit_length(), lowest, scale)
