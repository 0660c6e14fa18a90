"""Training curves: what the trainer logged, as series beside each other, and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.ledger import Metric
from orchestrator.report.axes import Axis, axis, mark_text, number_text
from orchestrator.report.pictures import (
    LETTER_WIDTH,
    LETTERS,
    SERIES,
    Dot,
    Line,
    Picture,
    Shape,
    Words,
    shortened,
)

#: Which metrics share a plot, in the order of the plots: those of training before their like.
_GROUPS = (
    ("loss", "Loss", ("loss", "train_loss", "eval_loss")),
    ("accuracy", "Token accuracy", ("mean_token_accuracy", "eval_mean_token_accuracy")),
    ("learning-rate", "Learning rate", ("learning_rate",)),
    ("gradient-norm", "Gradient norm", ("grad_norm",)),
)
_MEANINGS = {
    "loss": "loss on training rows",
    "train_loss": "mean loss on training rows",
    "eval_loss": "loss on validation rows",
    "mean_token_accuracy": "on training rows",
    "eval_mean_token_accuracy": "on validation rows",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
}
#: Of more points than these, each stretch of steps is drawn by its lowest and highest.
_MOST_DRAWN = 400
#: Of more steps than these, the table has evenly chosen ones.
_MOST_LISTED = 40
#: Points of a series so short are drawn as dots too: a line might not show them.
_DOTTED = 12
#: Greater values have no distance that could be drawn.
_BEYOND = 1e300
_PLOT_HEIGHT = 190.0
_LEFT, _RIGHT = 50.0, 14.0
_LEGEND_LINE = 18.0
_BELOW = 40.0


@dataclass(frozen=True)
class Point:
    """What was logged at a step."""

    step: int
    value: float
    epoch: float | None = None


@dataclass(frozen=True)
class Curve:
    """One metric over the steps of training, in their order."""

    name: str
    meaning: str
    points: tuple[Point, ...]

    @property
    def values(self) -> list[float]:
        """The values alone."""
        return [point.value for point in self.points]

    @property
    def last(self) -> Point:
        """The newest point."""
        return self.points[-1]

    @property
    def lowest(self) -> Point:
        """The first of the lowest points."""
        return min(self.points, key=lambda point: point.value)


@dataclass(frozen=True)
class CurvePlot:
    """Curves that share their axes. `name` is fit for the name of a file."""

    name: str
    title: str
    curves: tuple[Curve, ...]

    @property
    def header(self) -> tuple[str, ...]:
        """The columns of its table."""
        return ("step", "epoch", *(curve.name for curve in self.curves))

    @property
    def steps(self) -> int:
        """How many steps have any point."""
        return len({point.step for curve in self.curves for point in curve.points})

    def rows(self) -> list[tuple[str, ...]]:
        """The table beside the plot: all steps, or evenly chosen ones with the first and last."""
        by_step: dict[int, dict[str, Point]] = {}
        for curve in self.curves:
            for point in curve.points:
                by_step.setdefault(point.step, {})[curve.name] = point
        rows = []
        for step in evenly(sorted(by_step), _MOST_LISTED):
            found = by_step[step]
            epochs = [point.epoch for point in found.values() if point.epoch is not None]
            cells = [
                found[curve.name].value if curve.name in found else None for curve in self.curves
            ]
            epoch = f"{epochs[0]:.2f}" if epochs else "–"
            rows.append((f"{step:,}", epoch, *(_value_text(value) for value in cells)))
        return rows

    def note(self) -> str:
        """What the table leaves out, in words; nothing if it is whole."""
        if self.steps <= _MOST_LISTED:
            return ""
        return f"{_MOST_LISTED} of {self.steps:,} steps, evenly chosen."

    def words(self) -> str:
        """What can be seen, for those who do not see it."""
        return "; ".join(map(_in_words, self.curves))


def _in_words(curve: Curve) -> str:
    first, last, lowest = curve.points[0], curve.last, curve.lowest
    return (
        f"{curve.meaning} ({curve.name}): {_value_text(first.value)} at step {first.step:,}, "
        f"{_value_text(last.value)} at step {last.step:,}, "
        f"lowest {_value_text(lowest.value)} at step {lowest.step:,}"
    )


def curve_plots(metrics: Iterable[Metric]) -> tuple[CurvePlot, ...]:
    """The plots of a run, by what the ledger has of its training; none for what was not logged."""
    by_name: dict[str, list[Point]] = {}
    for metric in sorted(metrics, key=lambda metric: (metric.name, metric.step)):
        if not abs(metric.value) < _BEYOND:
            continue  # not a number, or none that a plot could show
        by_name.setdefault(metric.name, []).append(Point(metric.step, metric.value, metric.epoch))
    plots = []
    for name, title, members in _GROUPS:
        curves = tuple(
            Curve(member, _MEANINGS[member], tuple(by_name[member]))
            for member in members
            # The mean of a whole training is one number, which says nothing beside its curve.
            if member in by_name and not (member == "train_loss" and "loss" in by_name)
        )
        if curves:
            plots.append(CurvePlot(name, title, curves))
    return tuple(plots)


def draw_curves(plot: CurvePlot, width: float) -> Picture:
    """The curves over the steps, the names of the series above."""
    legend_lines = len(plot.curves) if len(plot.curves) > 1 else 0
    top = 12.0 + legend_lines * _LEGEND_LINE
    bottom = top + _PLOT_HEIGHT
    across, up = _axes(plot, width, top, bottom)
    shapes: list[Shape] = []
    for mark in up.marks:
        y = up.at(mark)
        shapes.append(Line(((_LEFT, y), (width - _RIGHT, y)), "grid"))
        shapes.append(Words(_LEFT - 6, y + 4, mark_text(mark), anchor="end"))
    shapes.append(Line(((_LEFT, bottom), (width - _RIGHT, bottom)), "axis"))
    for mark in across.marks:
        text, x = mark_text(mark), across.at(mark)
        fits = x + len(text) * LETTERS * LETTER_WIDTH / 2 <= width
        shapes.append(
            Words(x if fits else width, bottom + 17, text, anchor="middle" if fits else "end")
        )
    shapes.append(Words((_LEFT + width - _RIGHT) / 2, bottom + 34, "step", anchor="middle"))
    for number, curve in enumerate(plot.curves):
        role = SERIES[number % len(SERIES)]
        if legend_lines:
            y = 14.0 + number * _LEGEND_LINE
            shapes.append(Line(((_LEFT, y - 4), (_LEFT + 30, y - 4)), role))
            text = shortened(f"{curve.name}: {curve.meaning}", width - _LEFT - 50)
            shapes.append(Words(_LEFT + 38, y, text))
        drawn = thinned(curve.points, _MOST_DRAWN)
        places = tuple((across.at(point.step), up.at(point.value)) for point in drawn)
        if len(places) > 1:
            shapes.append(Line(places, role))
        if len(places) <= _DOTTED:
            shapes += [
                Dot(x, y, 3.0, role, f"{curve.name} at step {p.step:,}: {_value_text(p.value)}")
                for (x, y), p in zip(places, drawn, strict=True)
            ]
    return Picture(plot.title, plot.words(), width, bottom + _BELOW, tuple(shapes))


def _axes(plot: CurvePlot, width: float, top: float, bottom: float) -> tuple[Axis, Axis]:
    steps = [point.step for curve in plot.curves for point in curve.points]
    values = [value for curve in plot.curves for value in curve.values]
    low, high = min(values), max(values)
    if low > 0 and low < 0.5 * high:
        low = 0.0  # near enough to show where nothing is
    across = axis(0, max(steps), _LEFT, width - _RIGHT, most_marks=7 if width > 500 else 4)
    # Steps are whole, and the plot ends with the training.
    marks = tuple(mark for mark in across.marks if mark == int(mark) and mark <= max(steps))
    end = float(max(max(steps), 1))
    return (
        Axis(0.0, end, across.start, across.end, marks),
        axis(low, high, bottom, top, most_marks=5),
    )


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most about so many points: of each stretch the lowest and the highest, in their order."""
    if len(points) <= most:
        return list(points)
    stretch = -(-len(points) * 2 // most)
    kept: list[Point] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        ends = {min(part, key=lambda p: p.value), max(part, key=lambda p: p.value)}
        kept += sorted(ends, key=lambda point: point.step)
    return kept


def evenly(values: Sequence[int], most: int) -> list[int]:
    """At most so many of the values, evenly chosen; always the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(n * (len(values) - 1) / (most - 1))] for n in range(most)]


def _value_text(value: float | None) -> str:
    """Learning rates are small; their digits count."""
    if value is not None and 0 < abs(value) < 0.1:
        return f"{value:.3g}"
    return number_text(value)
