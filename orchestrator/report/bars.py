"""Bars with intervals: a metric under several conditions, overall and slice by slice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.evaluation.evidence import ConditionFigures, Evidence, Figures
from orchestrator.report.axes import Axis, axis, interval_text, mark_text, number_text
from orchestrator.report.evaluated import (
    BASE,
    TUNED,
    higher_is_better,
    in_order,
    metric_of,
    slice_of,
)
from orchestrator.report.pictures import Anchor, Box, Line, Picture, Role, Shape, Words, shortened

#: So many slices are drawn at most; the table has them all.
_MOST_GROUPS = 24
_BAR, _BETWEEN, _HEADING, _AFTER = 13.0, 4.0, 18.0, 9.0
_LEFT, _ABOVE, _BELOW = 2.0, 22.0, 24.0
#: Room for what is written beside the bars: name and value.
_BESIDE = 142.0


@dataclass(frozen=True)
class Bar:
    """One condition's value with its interval."""

    condition: str
    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class BarGroup:
    """The bars of the same rows."""

    label: str
    bars: tuple[Bar, ...]

    @property
    def rows(self) -> int:
        """How many rows count at most."""
        return max((bar.rows for bar in self.bars), default=0)


@dataclass(frozen=True)
class BarPlot:
    """Groups of bars of one metric. `name` is fit for the name of a file."""

    name: str
    title: str
    metric: str
    higher_is_better: bool
    conditions: tuple[str, ...]
    groups: tuple[BarGroup, ...]

    @property
    def header(self) -> tuple[str, ...]:
        """The columns of its table."""
        return ("rows of", "rows", *self.conditions)

    def table(self) -> list[tuple[str, ...]]:
        """All bars as values with intervals."""
        found = []
        for group in self.groups:
            by_name = {bar.condition: bar for bar in group.bars}
            cells = [
                interval_text(by_name[name].value, by_name[name].low, by_name[name].high)
                if name in by_name
                else "–"
                for name in self.conditions
            ]
            found.append((group.label, f"{group.rows:,}", *cells))
        return found

    def words(self) -> str:
        """What can be seen, for those who do not see it."""
        better = "" if self.higher_is_better else " Lower is better."
        groups = (
            f"{group.label}: "
            + ", ".join(f"{bar.condition} {number_text(bar.value)}" for bar in group.bars)
            for group in self.groups[:_MOST_GROUPS]
        )
        return f"{self.metric} with 95 % intervals.{better} {'; '.join(groups)}"


def conditions_plot(evaluation: Evidence, metric: str) -> BarPlot | None:
    """A metric on all rows under every condition that has it."""
    measured = [(one.name, one.metric(metric)) for one in reversed(in_order(evaluation))]
    bars = tuple(_bar(name, found) for name, found in measured if found)
    if not bars:
        return None
    return BarPlot(
        "conditions",
        f"{metric}: the run beside its baselines",
        metric,
        higher_is_better(evaluation, metric),
        tuple(bar.condition for bar in bars),
        (BarGroup(f"all {evaluation.split} rows".replace("  ", " "), bars),),
    )


def slice_plots(evaluation: Evidence, metric: str) -> tuple[BarPlot, ...]:
    """A metric by slice, before (the base model) and after: a plot for each kind of slice."""
    tuned, base = evaluation.condition(TUNED), evaluation.condition(BASE)
    if tuned is None:
        return ()
    shown = [one for one in (base, tuned) if one is not None]
    plots = []
    for name in dict.fromkeys(one.slice for one in tuned.slices):
        values = [one.of for one in tuned.slices if one.slice == name]
        groups = tuple(
            group for of in values if (group := _group(shown, name, of, metric)) is not None
        )
        if len(groups) > 1:  # one slice is all rows once more
            plots.append(
                BarPlot(
                    f"slices-{file_word(name)}",
                    f"{metric} by {name}: before and after" if base else f"{metric} by {name}",
                    metric,
                    higher_is_better(evaluation, metric),
                    tuple(one.name for one in shown),
                    groups,
                )
            )
    return tuple(plots)


def file_word(text: str) -> str:
    """A name as a part of the name of a file."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "other"


def _group(shown: Sequence[ConditionFigures], name: str, of: str, metric: str) -> BarGroup | None:
    bars = []
    for condition in shown:
        found = metric_of(slice_of(condition, name, of), metric)
        if found is not None:
            bars.append(_bar(condition.name, found))
    return BarGroup(of, tuple(bars)) if bars else None


def _bar(condition: str, found: Figures) -> Bar:
    return Bar(condition, found.value, found.low, found.high, found.rows)


def draw_bars(plot: BarPlot, width: float) -> Picture:
    """Lying bars, a heading over each group, an interval on each bar, its value beside it."""
    groups = plot.groups[:_MOST_GROUPS]
    across = _axis(groups, _LEFT, width - _BESIDE)
    shapes: list[Shape] = []
    y = _ABOVE
    for group in groups:
        rows = f"{group.rows:,} row{'' if group.rows == 1 else 's'}"
        heading = f"{shortened(group.label, width - 90)} ({rows})"
        shapes.append(Words(_LEFT, y + 13, heading, "strong"))
        y += _HEADING
        for bar in group.bars:
            shapes += _drawn(bar, across, y, width, f"{group.label}, {bar.condition}")
            y += _BAR + _BETWEEN
        y += _AFTER
    left_out = len(plot.groups) - len(groups)
    if left_out:
        text = f"and {left_out} more, which are in the table"
        shapes.append(Words(_LEFT, y + 13, text))
        y += _HEADING
    grid: list[Shape] = []
    for mark in across.marks:
        x = across.at(mark)
        grid.append(Line(((x, _ABOVE), (x, y)), "grid"))
        anchor: Anchor = "middle"
        if mark in (across.low, across.high):
            anchor = "start" if mark == across.low else "end"
        grid += [Words(x, at, mark_text(mark), anchor=anchor) for at in (_ABOVE - 8, y + 16)]
    return Picture(plot.title, plot.words(), width, y + _BELOW, (*grid, *shapes))


def _axis(groups: Sequence[BarGroup], start: float, end: float) -> Axis:
    ends = [
        value
        for group in groups
        for bar in group.bars
        for value in (bar.value, bar.low, bar.high)
        if math.isfinite(value)  # what is beyond all numbers ends where the picture does
    ]
    # Bars begin at nothing; shares end at all.
    low, high = min([0.0, *ends]), max([0.0, *ends])
    if low == 0.0 and 0.2 < high <= 1.0:
        high = 1.0
    return axis(low, high, start, end, most_marks=6 if end > 400 else 3)


def _drawn(bar: Bar, across: Axis, y: float, width: float, says: str) -> list[Shape]:
    zero, at, middle = across.at(max(across.low, 0.0)), across.at(bar.value), y + _BAR / 2
    value = interval_text(bar.value, bar.low, bar.high)
    shapes: list[Shape] = [
        Box(
            min(zero, at),
            y,
            max(abs(at - zero), 1.0),
            _BAR,
            role_of(bar.condition),
            f"{says}: {value}",
        )
    ]
    low, high = across.at(bar.low), across.at(bar.high)
    shapes.append(Line(((low, middle), (high, middle)), "whisker"))
    shapes += [Line(((x, y + 3), (x, y + _BAR - 3)), "whisker") for x in (low, high)]
    beside = shortened(f"{number_text(bar.value)} {bar.condition}", _BESIDE - 12)
    shapes.append(Words(width - _BESIDE + 12, y + _BAR - 2.5, beside))
    return shapes


def role_of(condition: str) -> Role:
    """The colour of a condition, the same in every plot; its name stands beside it too."""
    return _ROLES.get(condition, "second")


_ROLES: dict[str, Role] = {
    "tuned": "first",
    "published": "third",
    "base": "fourth",
    "few-shot": "fourth",
}
