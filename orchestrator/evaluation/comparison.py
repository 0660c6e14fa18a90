"""Two runs compared row by row: what changed, how sure the difference is, and which is better.

Rows are matched by key; the same key several times in the order it comes. Answers that are right
or wrong are compared by McNemar's exact test (1947), all else by the paired bootstrap: the same
rows are drawn for both runs (Koehn 2004, Efron and Tibshirani 1993).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.evaluation.intervals import Paired, paired, sign_test
from orchestrator.evaluation.resampling import RESAMPLES, draws, percentile_interval
from orchestrator.evaluation.scores import (
    NOTHING,
    MetricKind,
    Part,
    RowScores,
    columns_of,
    value_of_sums,
)

#: At the edge of a confidence this many draws are still expected on the wrong side.
_AT_THE_EDGE = 10
SUREST = 0.999


@dataclass(frozen=True)
class Matched:
    """The rows of two runs: pairs (before, after) by key, and the keys that only one run has."""

    pairs: tuple[tuple[RowScores, RowScores], ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A metric of two runs over the `rows` that both have and that count for it in either.

    `difference` is after less before, with the 95 % interval of the paired bootstrap. `p_value` is
    two-sided: McNemar's exact test where `changes` counts answers right or wrong, else of the
    bootstrap, and never below what so few changed rows can show.
    """

    name: str
    rows: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    p_value: float
    changes: Paired | None


@dataclass(frozen=True)
class RowChange:
    """A row that became better or worse: its value before and after (None: none counted)."""

    key: str
    before: float | None
    after: float | None
    better: bool
    causes: tuple[str, ...]


@dataclass(frozen=True)
class Better:
    """Whether a run is better than another, with confidence: `p_value` is one-sided."""

    better: bool
    confidence: float
    p_value: float
    difference: float
    rows: int
    test: str


def match(before: Sequence[RowScores], after: Sequence[RowScores]) -> Matched:
    """Rows of two runs by key, in the order of keys; a key's second row goes with its second."""
    old, new = _by_key(before), _by_key(after)
    return Matched(
        tuple((old[key], new[key]) for key in sorted(old.keys() & new.keys())),
        tuple(key for key, _ in sorted(old.keys() - new.keys())),
        tuple(key for key, _ in sorted(new.keys() - old.keys())),
    )


def compare(
    kind: MetricKind, before: Sequence[RowScores], after: Sequence[RowScores], *, seed: int = 0
) -> Comparison | None:
    """A metric before and after over the rows of both; None where one run has no row for it."""
    found = _Pairs.of(kind, before, after)
    if found is None:
        return None
    drawn = found.differences(seed, RESAMPLES)
    low, high = percentile_interval(drawn) if drawn else (found.difference, found.difference)
    changes = found.changes()
    return Comparison(
        kind.name,
        len(found.before),
        found.values[0],
        found.values[1],
        found.difference,
        low,
        high,
        changes.p_value if changes else min(1.0, 2 * found.smaller_tail(drawn)),
        changes,
    )


def changed(
    kind: MetricKind, before: Sequence[RowScores], after: Sequence[RowScores]
) -> tuple[RowChange, ...]:
    """The rows whose own value of a metric changed, in the order of keys.

    A row that counts in one run only is worse where it no longer counts, better where it now does.
    """
    found = []
    for old, new in match(before, after).pairs:
        was, now = _own_value(kind, old), _own_value(kind, new)
        if was == now:
            continue
        higher = was is None or (now is not None and now > was)
        both = was is not None and now is not None
        better = higher is kind.higher_is_better if both else higher
        found.append(RowChange(new.key, was, now, better, new.causes))
    return tuple(found)


def better_than(
    kind: MetricKind,
    rows: Sequence[RowScores],
    other: Sequence[RowScores],
    confidence: float = 0.95,
    *,
    seed: int = 0,
) -> Better | None:
    """Whether `rows` are better than `other` in a metric; None where they share no row for it.

    One-sided: better if chance alone would give so good a difference less often than
    1 - `confidence`. Right or wrong answers: McNemar's exact test. All else: the share of paired
    draws in which the difference is gone or turned, (draws + 1) / (all + 1) as in Davison and
    Hinkley (1997), and no less than 1/2 to the number of changed rows, below which no exact test
    of so few rows comes. `ValueError` for a confidence outside 0.5 to 0.999.
    """
    if not 0.5 <= confidence <= SUREST:
        raise ValueError(f"confidence {confidence} is not from 0.5 to {SUREST}")
    found = _Pairs.of(kind, other, rows)
    if found is None:
        return None
    changes = found.changes()
    if changes is not None:
        gained, lost = changes.gained, changes.lost
        good, bad = (gained, lost) if kind.higher_is_better else (lost, gained)
        p_value, test = sign_test(good, bad), "McNemar, exact, one-sided"
    else:
        resamples = max(RESAMPLES, math.ceil(_AT_THE_EDGE / (1 - confidence)))
        drawn = found.differences(seed, resamples)
        p_value, test = found.one_sided(drawn), "paired bootstrap, one-sided"
    better = found.gain > 0 and p_value < 1 - confidence
    return Better(better, confidence, p_value, found.difference, len(found.before), test)


@dataclass(frozen=True)
class _Pairs:
    """The parts of the rows that count in either of two runs, and what both runs come to."""

    kind: MetricKind
    before: Sequence[tuple[Part, ...]]
    after: Sequence[tuple[Part, ...]]
    #: The metric before and after.
    values: tuple[float, float]

    @classmethod
    def of(
        cls, kind: MetricKind, before: Sequence[RowScores], after: Sequence[RowScores]
    ) -> _Pairs | None:
        pairs = match(before, after).pairs
        kind = kind.used_by([row for pair in pairs for row in pair])
        none = (NOTHING,) * len(kind.summed)
        parts = [(kind.parts_of(old), kind.parts_of(new)) for old, new in pairs]
        parts = [(old, new) for old, new in parts if old is not None or new is not None]
        old = [one or none for one, _ in parts]
        new = [one or none for _, one in parts]
        if not any(one for one, _ in parts) or not any(one for _, one in parts):
            return None
        return cls(kind, old, new, (kind.value_of(old), kind.value_of(new)))

    @property
    def difference(self) -> float:
        """After less before; 0 where both are infinite."""
        before, after = self.values
        return 0.0 if before == after else after - before

    @property
    def gain(self) -> float:
        """The difference in the direction that is good."""
        return self.difference if self.kind.higher_is_better else -self.difference

    def changes(self) -> Paired | None:
        """Rows that became right or wrong, where every row is one of the two in both runs."""
        if not self.kind.is_share([*self.before, *self.after]):
            return None
        right = ([one.above == 1 for (one,) in rows] for rows in (self.before, self.after))
        return paired(*right)

    def differences(self, seed: int, resamples: int) -> list[float]:
        """After less before in each draw of rows; none where a number is infinite."""
        columns = columns_of(self.before) + columns_of(self.after)
        if not all(math.isfinite(one) for column in columns for one in column):
            return []
        half = len(columns) // 2
        found = []
        for sums in draws(columns, seed=seed, resamples=resamples):
            old = value_of_sums(self.kind, sums[:half])
            new = value_of_sums(self.kind, sums[half:])
            if old is not None and new is not None:
                found.append(0.0 if old == new else new - old)
        return found

    def one_sided(self, drawn: Sequence[float]) -> float:
        """How likely chance alone makes the later run so much better."""
        sign = 1 if self.kind.higher_is_better else -1
        if not drawn:  # infinite numbers, which compare but cannot be added up
            return self._least() if self.gain > 0 else 1.0
        against = sum(sign * one <= 0 for one in drawn)
        return max((against + 1) / (len(drawn) + 1), self._least())

    def smaller_tail(self, drawn: Sequence[float]) -> float:
        """The p-value of whichever direction the difference has."""
        if not drawn:
            return self._least() if self.gain else 1.0
        below, above = sum(one <= 0 for one in drawn), sum(one >= 0 for one in drawn)
        return max((min(below, above) + 1) / (len(drawn) + 1), self._least())

    def _least(self) -> float:
        rows = sum(old != new for old, new in zip(self.before, self.after, strict=True))
        return 0.5 ** min(rows, 1000)


def _own_value(kind: MetricKind, row: RowScores) -> float | None:
    parts = kind.parts_of(row)
    return None if parts is None else kind.value_of([parts])


def _by_key(rows: Sequence[RowScores]) -> dict[tuple[str, int], RowScores]:
    """Rows by key and how often the key came before."""
    found: dict[tuple[str, int], RowScores] = {}
    seen: dict[str, int] = {}
    for row in rows:
        number = seen.get(row.key, 0)
        seen[row.key] = number + 1
        found[row.key, number] = row
    return found
