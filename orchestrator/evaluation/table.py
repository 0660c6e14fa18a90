"""Scores of many answers as one table: metrics, slices, the constant answer, causes; as data.

The constant answer is the best of the commonest expected answers of these very rows, given to
every row whatever it asks. It has seen the answers, so it is a bound, not a rival that was trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.errors import InputError, Place
from orchestrator.evaluation.evidence import CauseCount, Figures, SliceFigures
from orchestrator.evaluation.scores import (
    Answered,
    MetricKind,
    RowScores,
    Scorer,
    by_slice,
    metrics_of,
)
from orchestrator.evaluation.table_text import csv_text, markdown_lines

#: So many of the commonest expected answers are tried as the constant one.
CONSTANTS_TRIED = 10
COLUMNS = ("slice", "of", "metric", "value", "low", "high", "rows", "constant", "better")


@dataclass(frozen=True)
class Constant:
    """The best constant answer: what it scores, and how many rows expect it to the letter.

    `tried` answers of `different` expected ones were compared.
    """

    metrics: tuple[Figures, ...]
    expected_by: int
    tried: int
    different: int

    @property
    def note(self) -> str:
        """What it is, in a sentence."""
        of = "all" if self.tried == self.different else f"the {self.tried} commonest"
        rows = "1 row expects" if self.expected_by == 1 else f"{self.expected_by} rows expect"
        return (
            "the best constant answer for these very rows, which it has seen: of "
            f"{of} of {self.different} different expected answers ({rows} it)"
        )


@dataclass(frozen=True)
class ScoreTable:
    """All that is known of the answers to some rows."""

    scorer: str
    kinds: tuple[MetricKind, ...]
    rows: int
    metrics: tuple[Figures, ...]
    constant: Constant
    slices: tuple[SliceFigures, ...]
    causes: tuple[CauseCount, ...]

    def kind(self, name: str) -> MetricKind:
        """What a metric of this table means."""
        return next(one for one in self.kinds if one.name == name)

    def constant_value(self, name: str) -> float | None:
        """What the constant answer scores in a metric."""
        return next((one.value for one in self.constant.metrics if one.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The table as data."""
        return {
            "scorer": self.scorer,
            "rows": self.rows,
            "metrics": [
                {
                    **_figures(one),
                    "constant": self.constant_value(one.name),
                    "better": _better(self.kind(one.name)),
                    "meaning": self.kind(one.name).meaning,
                }
                for one in self.metrics
            ],
            "constant": {
                "note": self.constant.note,
                "expected_by": self.constant.expected_by,
                "metrics": [_figures(one) for one in self.constant.metrics],
            },
            "slices": [
                {
                    "slice": one.slice,
                    "of": one.of,
                    "rows": one.rows,
                    "metrics": [_figures(metric) for metric in one.metrics],
                }
                for one in self.slices
            ],
            "causes": [asdict(one) for one in self.causes],
        }

    def lines(self) -> list[tuple[str, ...]]:
        """The table by `COLUMNS`, metrics of all rows first; numbers with six digits."""
        lines = [
            ("", "", *_cells(one), _number(self.constant_value(one.name)), self._better(one))
            for one in self.metrics
        ]
        for part in self.slices:
            lines += [
                (part.slice, part.of, *_cells(one), "", self._better(one)) for one in part.metrics
            ]
        return lines

    def to_csv(self) -> str:
        """The lines as CSV, with a header."""
        return csv_text(COLUMNS, self.lines())

    def to_markdown(self) -> str:
        """The lines as a table of Markdown, and the causes as another."""
        lines = markdown_lines(COLUMNS, self.lines())
        if self.causes:
            causes = [(one.cause, str(one.rows), one.example) for one in self.causes]
            lines += ["", *markdown_lines(("cause", "rows", "example"), causes)]
        return "\n".join([*lines, "", f"constant: {self.constant.note}.", ""])

    def _better(self, metric: Figures) -> str:
        return _better(self.kind(metric.name))


def score_table(
    scorer: Scorer,
    rows: Sequence[Answered],
    *,
    places: Mapping[str, Place] | None = None,
    seed: int = 0,
) -> ScoreTable:
    """Score rows. `places` says by key where an error in what is expected stands.

    Raises `InputError` where there are no rows, or what a row expects cannot be scored.
    """
    if not rows:
        raise InputError("there are no rows to score")
    scored = [scored_row(scorer, row, places or {}) for row in rows]
    parts = by_slice(scored)
    return ScoreTable(
        scorer.name,
        scorer.metrics,
        len(scored),
        metrics_of(scorer, scored, seed=seed),
        best_constant(scorer, rows, seed=seed),
        tuple(
            SliceFigures(name, value, len(part), metrics_of(scorer, part, seed=seed))
            for (name, value), part in parts.items()
        ),
        causes_of(scored),
    )


def best_constant(scorer: Scorer, rows: Sequence[Answered], *, seed: int = 0) -> Constant:
    """The best of the commonest expected answers, by the scorer's first metric that it has."""
    counts = Counter(row.expected for row in rows)
    text, scored = constant_answer(scorer, rows)
    tried = min(len(counts), CONSTANTS_TRIED)
    return Constant(metrics_of(scorer, scored, seed=seed), counts[text], tried, len(counts))


def constant_answer(scorer: Scorer, rows: Sequence[Answered]) -> tuple[str, list[RowScores]]:
    """The text of that answer, and what every row scores with it."""
    counts = Counter(row.expected for row in rows)
    tried = sorted(counts, key=lambda text: (-counts[text], text))[:CONSTANTS_TRIED]
    best: tuple[float, str, list[RowScores]] | None = None
    for text in tried:
        scored = [scorer.score(row.with_answer(text)) for row in rows]
        worth = _worth(scorer, scored)
        if best is None or worth > best[0]:  # of equals the commonest
            best = worth, text, scored
    if best is None:
        raise ValueError("there are no rows")
    return best[1], best[2]


def _worth(scorer: Scorer, scored: Sequence[RowScores]) -> float:
    for kind in scorer.metrics:
        parts = [one for one in map(kind.parts_of, scored) if one is not None]
        if parts:
            value = kind.value_of(parts)
            return value if kind.higher_is_better else -value
    return 0.0


def scored_row(scorer: Scorer, row: Answered, places: Mapping[str, Place]) -> RowScores:
    """One row's scores; an `InputError` about what it expects names its place."""
    try:
        return scorer.score(row)
    except InputError as error:
        error.where = error.where or places.get(row.key)
        raise


def causes_of(scored: Sequence[RowScores]) -> tuple[CauseCount, ...]:
    """Causes by how many rows have them."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for row in scored:
        for words in dict.fromkeys(row.causes):
            counts[words] += 1
            first.setdefault(words, row.key)
    order = sorted(counts, key=lambda words: (-counts[words], words))
    return tuple(CauseCount(words, counts[words], first[words]) for words in order)


def _better(kind: MetricKind) -> str:
    return "higher" if kind.higher_is_better else "lower"


def _figures(metric: Figures) -> dict[str, Any]:
    return {
        "name": metric.name,
        "value": metric.value,
        "low": metric.low,
        "high": metric.high,
        "rows": metric.rows,
    }


def _cells(metric: Figures) -> tuple[str, ...]:
    figures = (metric.value, metric.low, metric.high)
    return (metric.name, *map(_number, figures), str(metric.rows))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
