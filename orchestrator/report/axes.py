"""Axes: round numbers to mark, and how numbers are written beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
#: Below this, numbers are too coarse to be divided into steps.
_NOTHING = 1e-200


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` over the places from `start` to `end`, with values to mark."""

    low: float
    high: float
    start: float
    end: float
    marks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where a value stands; those beyond the axis stand at its end, no number at its start."""
        if math.isnan(value):
            return self.start
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def axis(low: float, high: float, start: float, end: float, *, most_marks: int = 6) -> Axis:
    """An axis that holds both values and ends on round ones."""
    if not high - low > _NOTHING:
        spread = abs(low) * 0.5 if abs(low) > _NOTHING else 0.5
        low, high = low - spread if low < 0 else max(0.0, low - spread), high + spread
    step = _round_step((high - low) / max(most_marks - 1, 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = tuple(round(number * step, 12) for number in range(first, last + 1))
    return Axis(marks[0], marks[-1], start, end, marks)


def _round_step(about: float) -> float:
    """The round number that is at least `about`, which is above 0."""
    scale = 10.0 ** math.floor(math.log10(about))
    return next(scale * part for part in _STEPS if scale * part >= about * (1 - 1e-9))


def mark_text(value: float) -> str:
    """A marked value, short."""
    if value and abs(value) < 0.001:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:g}"


def number_text(value: float | None) -> str:
    """A measured value in a table; a dash where there is none."""
    if value is None:
        return "–"
    if value == 0 or 0.001 <= abs(value) < 1e6:
        return f"{value:,.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.3g}"


def interval_text(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval: `0.875 [0.739, 0.945]`."""
    if value is None or low is None or high is None:
        return number_text(value)
    return f"{number_text(value)} [{number_text(low)}, {number_text(high)}]"
