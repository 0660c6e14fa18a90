"""What an evaluation leaves: figures of every way to answer, comparisons, verdicts; never a row.

It is what the ledger keeps and what the card and the report are made of, so that it must hold no
text of a row: examples are named by the keys of their rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_MAY_BE_INFINITE = frozenset({"value", "low", "high", "before", "after", "difference"})


@dataclass(frozen=True)
class Figures:
    """A metric of some rows with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class SliceFigures:
    """The metrics of the rows of one slice (`slice`: its name, `of`: its value)."""

    slice: str
    of: str
    rows: int
    metrics: tuple[Figures, ...]


@dataclass(frozen=True)
class CauseCount:
    """Why answers are wrong, how many rows say so, and the key of one of them."""

    cause: str
    rows: int
    example: str


@dataclass(frozen=True)
class AnswerFigures:
    """What the answers look like, right or wrong; None where it is not known.

    `cut` answers ended because they became too long; `commonest_rows` rows got the same answer.
    """

    rows: int
    missing: int
    empty: int
    different: int
    commonest_rows: int
    cut: int | None = None
    tokens_mean: float | None = None
    latency_s_p50: float | None = None
    latency_s_p95: float | None = None


@dataclass(frozen=True)
class ConditionFigures:
    """One way to answer the rows, and what came of it."""

    name: str
    note: str
    metrics: tuple[Figures, ...]
    slices: tuple[SliceFigures, ...] = ()
    causes: tuple[CauseCount, ...] = ()
    answers: AnswerFigures | None = None

    def metric(self, name: str) -> Figures | None:
        """One of its metrics."""
        return next((one for one in self.metrics if one.name == name), None)


@dataclass(frozen=True)
class Difference:
    """The tuned model against another way to answer, over the rows of both."""

    metric: str
    against: str
    rows: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    p_value: float
    gained: int | None = None
    lost: int | None = None


@dataclass(frozen=True)
class GateVerdict:
    """A gate as it was set, whether it passed, and why in words."""

    metric: str
    passed: bool
    words: str
    slice: tuple[str, str] | None = None
    min: float | None = None
    max: float | None = None
    better_than: str | None = None
    confidence: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Alarm:
    """Something that published projects learned too late: `memorised`, `worse-than-base`,
    `alike`.
    """

    name: str
    words: str


@dataclass(frozen=True)
class MetricMeaning:
    """A metric's name, what it means, and which direction is good."""

    name: str
    meaning: str
    better: str


@dataclass(frozen=True)
class Evidence:
    """An evaluation as a whole. `failed` says in words what holds the run; none: it passed."""

    scorer: str
    split: str
    rows: int
    rows_sha256: str
    seed: int
    kinds: tuple[MetricMeaning, ...]
    conditions: tuple[ConditionFigures, ...]
    comparisons: tuple[Difference, ...] = ()
    gates: tuple[GateVerdict, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing holds the run."""
        return not self.failed

    def condition(self, name: str) -> ConditionFigures | None:
        """One of the ways to answer."""
        return next((one for one in self.conditions if one.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        value: dict[str, Any] = _storable({**asdict(self), "passed": self.passed})
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evidence:
        """The inverse of `to_json`; fields that are not known are left aside."""
        return cls(
            scorer=value["scorer"],
            split=value["split"],
            rows=value["rows"],
            rows_sha256=value["rows_sha256"],
            seed=value["seed"],
            kinds=tuple(MetricMeaning(**one) for one in value["kinds"]),
            conditions=tuple(_condition(one) for one in value["conditions"]),
            comparisons=tuple(Difference(**_numbers(one)) for one in value["comparisons"]),
            gates=tuple(_verdict(one) for one in value["gates"]),
            alarms=tuple(Alarm(**one) for one in value["alarms"]),
            failed=tuple(value["failed"]),
        )


def _condition(value: Mapping[str, Any]) -> ConditionFigures:
    answers = value.get("answers")
    return ConditionFigures(
        value["name"],
        value["note"],
        tuple(Figures(**_numbers(one)) for one in value["metrics"]),
        tuple(
            SliceFigures(
                one["slice"],
                one["of"],
                one["rows"],
                tuple(Figures(**_numbers(metric)) for metric in one["metrics"]),
            )
            for one in value["slices"]
        ),
        tuple(CauseCount(**one) for one in value["causes"]),
        AnswerFigures(**answers) if answers else None,
    )


def _verdict(value: Mapping[str, Any]) -> GateVerdict:
    part = value.get("slice")
    return GateVerdict(**{**_numbers(value), "slice": (part[0], part[1]) if part else None})


def _storable(value: Any) -> Any:
    """The same with texts for numbers that JSON has not, such as an infinite perplexity."""
    if isinstance(value, dict):
        return {key: _storable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with the numbers that `_storable` wrote as texts."""
    return {
        key: float(one) if key in _MAY_BE_INFINITE and isinstance(one, str) else one
        for key, one in value.items()
    }
