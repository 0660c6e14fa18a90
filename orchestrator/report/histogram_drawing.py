"""Histograms as places of bars, ticks and marks, for whatever draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.dataset.report import Histogram

Bin = tuple[int, int, int]


@dataclass(frozen=True)
class Bar:
    """One bar, in units of the drawing, with what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Tick:
    """A label on an axis. `anchor` is where the text stands to its place, as SVG says it."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Mark:
    """A value worth a line. `level` keeps labels of neighbours apart, one line above the other."""

    x: float
    text: str
    anchor: str
    level: int


@dataclass(frozen=True)
class Drawing:
    """A histogram, drawn. The origin is at the top left, as in SVG."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    rows_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]


_WIDTH = 680.0
_PLOT_HEIGHT = 150.0
_LEFT, _RIGHT = 52.0, 16.0
MARK_LINE = 20.0
_BELOW = 30.0
#: So many bars at most: more are thinner than the gaps between them.
_MOST_BARS = 40
_MOST_TICKS = 6


def draw(histogram: Histogram) -> Drawing:
    """Bars of equal width (bins are, nearly always), values between them in proportion."""
    bins = coarser(histogram.bins, _MOST_BARS)
    top = 14.0 + MARK_LINE * len(histogram.marks)
    bottom = top + _PLOT_HEIGHT
    right = _WIDTH - _RIGHT
    step = (right - _LEFT) / max(len(bins), 1)
    most = nice_ceiling(max((rows for _, _, rows in bins), default=1))
    bars = tuple(
        Bar(
            x=round(_LEFT + position * step + step * 0.05, 2),
            y=round(bottom - _PLOT_HEIGHT * rows / most, 2),
            width=round(step * 0.9, 2),
            height=round(_PLOT_HEIGHT * rows / most, 2),
            title=f"{interval(low, high)} {histogram.unit}: {rows:,} rows",
        )
        for position, (low, high, rows) in enumerate(bins)
        if rows
    )
    rows_ticks = tuple(
        Tick(round(bottom - _PLOT_HEIGHT * part / most, 2), f"{part:,}", "end")
        for part in sorted({0, most // 2 if most > 1 else 0, most})
    )
    return Drawing(
        width=_WIDTH,
        height=bottom + _BELOW,
        left=_LEFT,
        top=top,
        right=right,
        bottom=bottom,
        bars=bars,
        ticks=_ticks(bins, step),
        rows_ticks=rows_ticks,
        marks=_marks(histogram, bins, step, right),
    )


def coarser(bins: Sequence[Bin], most: int) -> list[Bin]:
    """At most so many bins: neighbours are put together."""
    together = -(-len(bins) // most) if bins else 1
    groups = [bins[start : start + together] for start in range(0, len(bins), together)]
    return [(group[0][0], group[-1][1], sum(rows for _, _, rows in group)) for group in groups]


def interval(low: int, high: int) -> str:
    """The values of a bin, for people."""
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def nice_ceiling(value: int) -> int:
    """The next number that is easy to read on an axis."""
    scale = 1
    while scale * 10 < value:
        scale *= 10
    return next(scale * part for part in (1, 2, 3, 4, 5, 6, 8, 10) if scale * part >= value)


def _ticks(bins: Sequence[Bin], step: float) -> tuple[Tick, ...]:
    every = max(1, -(-len(bins) // _MOST_TICKS))
    if all(low == high for low, high, _ in bins):  # each bar has its value in the middle
        return tuple(
            Tick(round(_LEFT + (position + 0.5) * step, 2), f"{bins[position][0]:,}")
            for position in range(0, len(bins), every)
        )
    # The last label must not run into the one at the end of the axis.
    ticks = [
        Tick(round(_LEFT + position * step, 2), f"{bins[position][0]:,}")
        for position in range(0, len(bins), every)
        if (len(bins) - position) * step > 60 or position == 0
    ]
    if bins:
        ticks.append(Tick(round(_LEFT + len(bins) * step, 2), f"{bins[-1][1]:,}", "end"))
    return tuple(ticks)


def _marks(
    histogram: Histogram, bins: Sequence[Bin], step: float, right: float
) -> tuple[Mark, ...]:
    marks = []
    for level, (name, value) in enumerate(sorted(histogram.marks, key=lambda mark: mark[1])):
        beyond, before = not bins or value > bins[-1][1], bool(bins) and value < bins[0][0]
        x = right if beyond else _LEFT + _position(bins, value) * step
        text = f"{'← ' if before else ''}{name} {value:,}{' →' if beyond else ''}"
        marks.append(Mark(round(x, 2), text, "end" if x > _WIDTH * 0.6 else "start", level))
    return tuple(marks)


def _position(bins: Sequence[Bin], value: int) -> float:
    """Where a value stands, in bins from the left: at the end of the values that it still allows.

    `value` is at most the last bin's; bins may leave gaps.
    """
    for position, (low, high, _) in enumerate(bins):
        if value < low:
            return float(position)
        if value <= high:
            return position + (value - low + 1) / (high - low + 1)
    return float(len(bins))
