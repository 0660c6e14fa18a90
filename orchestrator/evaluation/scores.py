"""Scores of rows and what they come to: every metric with its count and its interval.

A scorer gives each row a part of each metric: something above, something below. A metric of many
rows is the sum above through the sum below, so that a share of rows (one below for each row), a
recall over all tools (as many below as tools are expected) and a loss by tokens are one thing, and
rows can be drawn again for an interval without asking the scorer. A metric that is more than one
ratio (BLEU) is made from the sums of several parts by its scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from orchestrator.evaluation.evidence import Figures
from orchestrator.evaluation.intervals import wilson
from orchestrator.evaluation.resampling import draws, percentile_interval
from orchestrator.evaluation.scales import QUANTILES, SCALES


@dataclass(frozen=True, slots=True)
class Part:
    """What one row gives to one metric: `above` through `below`; nothing where `below` is 0."""

    above: float
    below: float = 1.0


#: What a row gives that says nothing about a metric.
NOTHING = Part(0.0, 0.0)


def yes(right: bool) -> Part:
    """The part of a row that is right or wrong."""
    return Part(float(right))


@dataclass(frozen=True, slots=True)
class Timing:
    """How an answer came about: seconds, tokens, and the word for what ended it; None: unknown."""

    latency_s: float | None = None
    new_tokens: int | None = None
    prompt_tokens: int | None = None
    stopped_by: str | None = None


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What a model makes of the `tokens` of the expected answer, all of those before them given.

    `loss` is the sum of their cross-entropies in nats (NaN: it was no number), `right` how many of
    them were the likeliest; None: unknown.
    """

    tokens: int
    loss: float | None = None
    right: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """One row to score: what is right, and what was said (None: nothing, which is wrong).

    `key` tells rows apart (a prompt's digest, or an id). `prompt` is the question as text where it
    is known. `slices` are groups the row belongs to by its data: name and value. `tools` are the
    names of those that the row offers, none where that is not known; `timing` is of `predicted`,
    `likelihood` of the model that gave it.
    """

    key: str
    expected: str
    predicted: str | None
    prompt: str = ""
    slices: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    timing: Timing | None = None
    likelihood: Likelihood | None = None

    def with_answer(self, text: str) -> Answered:
        """The row with an answer that no model gave; nothing is known of how it came about."""
        return replace(self, predicted=text, timing=None, likelihood=None)


@dataclass(frozen=True)
class RowScores:
    """One row's parts by the metric's name, its slices, and why it is wrong (for people)."""

    key: str
    parts: Mapping[str, Part]
    slices: Mapping[str, str] = field(default_factory=dict)
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricKind:
    """What a metric means: its name, a sentence, and which direction is good."""

    name: str
    meaning: str
    higher_is_better: bool = True
    #: What the sums above and below are turned into: "ratio" as it is, "exp" for a perplexity from
    #: losses, "bleu" and "chrf" from counts of n-grams, "p50" and "p95" from bins (`scales.py`).
    scale: str = "ratio"
    #: The parts of a row that are summed, where they are not the one of the metric's own name.
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"no scale is called {self.scale!r}: {', '.join(SCALES)}")

    @property
    def summed(self) -> tuple[str, ...]:
        """The names of the parts that this metric is made of."""
        return self.parts or (self.name,)

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each part stands among those that are summed."""
        return {name: place for place, name in enumerate(self.parts)}

    def used_by(self, rows: Sequence[RowScores]) -> MetricKind:
        """The metric without the bins that no row falls into: a quantile does not miss them."""
        if self.scale not in QUANTILES:
            return self
        filled = {name for row in rows for name in row.parts}
        return replace(self, parts=tuple(name for name in self.parts if name in filled))

    def parts_of(self, row: RowScores) -> tuple[Part, ...] | None:
        """The parts of a row that count; None where the row says nothing about this metric."""
        if not self.parts:  # nearly all metrics, and this is asked for every row of each
            one = row.parts.get(self.name)
            return (one,) if one is not None and one.below > 0 else None
        found = [NOTHING] * len(self.parts)
        for name, part in row.parts.items():  # a row has few of a metric's many bins
            place = self._places.get(name)
            if place is not None and part.below > 0:
                found[place] = part
        return tuple(found) if any(one is not NOTHING for one in found) else None

    def value_of(self, parts: Sequence[Sequence[Part]]) -> float:
        """The value for rows by their parts, of which at least one counts."""
        sums = [
            (math.fsum(one.above for one in column), math.fsum(one.below for one in column))
            for column in zip(*parts, strict=True)
        ]
        return SCALES[self.scale](sums)

    def is_share(self, parts: Sequence[Sequence[Part]]) -> bool:
        """Whether every row is plainly right or wrong: for those there are exact formulas."""
        return self.scale == "ratio" and all(
            one.below == 1 and one.above in (0, 1) for row in parts for one in row
        )


class Scorer(Protocol):
    """Scores answers of one kind; pure: no files, no network, the same scores each time."""

    @property
    def name(self) -> str:
        """What users call it by."""
        ...

    @property
    def metrics(self) -> tuple[MetricKind, ...]:
        """In the order in which they are shown; the first says most."""
        ...

    def score(self, row: Answered) -> RowScores:
        """The parts of one row; never raises for what a model said."""
        ...


def metric_of(kind: MetricKind, rows: Sequence[RowScores], *, seed: int = 0) -> Figures | None:
    """The metric over rows; None where no row counts for it.

    Shares get Wilson's interval, and so do rows all wholly right or all wholly wrong; everything
    else that of the percentile bootstrap over rows (Efron 1979), drawn with `seed`.
    """
    found = _metrics((kind,), rows, seed)
    return found[0] if found else None


def metrics_of(scorer: Scorer, rows: Sequence[RowScores], *, seed: int = 0) -> tuple[Figures, ...]:
    """All metrics of a scorer that any row counts for, in the scorer's order.

    One metric has the same interval here as from `metric_of`: rows are drawn once for all.
    """
    return _metrics(scorer.metrics, rows, seed)


def by_slice(rows: Sequence[RowScores]) -> dict[tuple[str, str], list[RowScores]]:
    """Rows by slice (name, value), in the order of names."""
    found: dict[tuple[str, str], list[RowScores]] = {}
    for row in rows:
        for name, value in row.slices.items():
            found.setdefault((name, value), []).append(row)
    return dict(sorted(found.items()))


def _metrics(
    kinds: Sequence[MetricKind], rows: Sequence[RowScores], seed: int
) -> tuple[Figures, ...]:
    rows = sorted(rows, key=lambda row: row.key)  # the draws do not hang on the order of a file
    found: dict[int, Figures] = {}
    without_formula: list[tuple[int, MetricKind, list[tuple[Part, ...]]]] = []
    for place, kind in enumerate(one.used_by(rows) for one in kinds):
        by_row = [kind.parts_of(row) for row in rows]
        parts = [one for one in by_row if one is not None]
        if not parts:
            continue
        value = kind.value_of(parts)
        if kind.is_share(parts):
            low, high = wilson(round(sum(one.above for (one,) in parts)), len(parts))
        elif kind.scale == "ratio" and _all_alike(parts):
            # Drawn again, such rows are the same each time, as if they were all rows there are.
            low, high = wilson(len(parts) if value else 0, len(parts))
        elif not _finite(parts):
            low = high = value  # a loss that is not a number has no spread, and passes no gate
        else:
            low, high = value, value
            none = (NOTHING,) * len(kind.summed)
            without_formula.append((place, kind, [one or none for one in by_row]))
        found[place] = Figures(kind.name, value, low, high, len(parts))
    intervals = _intervals([one[1:] for one in without_formula], seed)
    for (place, _, _), (low, high) in zip(without_formula, intervals, strict=True):
        found[place] = replace(found[place], low=low, high=high)
    return tuple(found[place] for place in sorted(found))


def _all_alike(parts: Sequence[Sequence[Part]]) -> bool:
    """Whether all rows are wholly right, or all wholly wrong."""
    return all(one.above == one.below for row in parts for one in row) or not any(
        one.above for row in parts for one in row
    )


def _finite(parts: Sequence[Sequence[Part]]) -> bool:
    return all(math.isfinite(one.above + one.below) for row in parts for one in row)


def _intervals(
    kinds: Sequence[tuple[MetricKind, Sequence[Sequence[Part]]]], seed: int
) -> list[tuple[float, float]]:
    """The bootstrap's interval of each kind by the parts of all rows; rows are drawn once for all.

    A draw in which no row counts for a metric says nothing about it and is left out.
    """
    if not kinds:
        return []
    columns: list[list[float]] = []
    starts: dict[tuple[str, ...], int] = {}
    for kind, parts in kinds:  # two quantiles are made of the same parts
        if kind.summed not in starts:
            starts[kind.summed] = len(columns)
            columns += columns_of(parts)
    values: list[list[float]] = [[] for _ in kinds]
    for sums in draws(columns, seed=seed):
        for (kind, _), found in zip(kinds, values, strict=True):
            start = starts[kind.summed]
            value = value_of_sums(kind, sums[start : start + 2 * len(kind.summed)])
            if value is not None:
                found.append(value)
    return [percentile_interval(found) for found in values]


def columns_of(parts: Sequence[Sequence[Part]]) -> list[list[float]]:
    """The parts of rows as columns to draw from: above and below of each part in turn."""
    columns: list[list[float]] = []
    for column in zip(*parts, strict=True):
        columns += [[one.above for one in column], [one.below for one in column]]
    return columns


def value_of_sums(kind: MetricKind, sums: Sequence[float]) -> float | None:
    """The value of a metric for the sums of `columns_of`; None where nothing counts."""
    pairs = list(zip(sums[::2], sums[1::2], strict=True))
    return SCALES[kind.scale](pairs) if any(below > 0 for _, below in pairs) else None
