"""Several runs against the first: every metric before and after, and rows gained and lost; as data.

Rows are compared by key, over the rows of both runs. Of many comparisons some look good by chance:
beside every p-value stands that of Holm's correction (1979) over all metrics of all runs in the
table; slices, of which there are more, are corrected among themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from orchestrator.errors import InputError
from orchestrator.evaluation.comparison import Comparison, RowChange, changed, compare, match
from orchestrator.evaluation.scores import MetricKind, RowScores, by_slice
from orchestrator.evaluation.table_text import csv_text, markdown_lines

COLUMNS = (
    *("first", "run", "slice", "of", "metric", "rows", "before", "after", "difference"),
    *("low", "high", "p", "p_holm", "gained", "lost", "better"),
)


@dataclass(frozen=True)
class ScoredRun:
    """The scored rows of a run or of a file of answers.

    `rows_sha256` is the digest of the file of rows; `expected` says what each row expects, by key.
    Both may be unknown.
    """

    name: str
    scorer: str
    kinds: tuple[MetricKind, ...]
    rows: tuple[RowScores, ...]
    rows_sha256: str | None = None
    expected: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Line:
    """A metric before and after, of all rows or of a slice (its name and value)."""

    kind: MetricKind
    found: Comparison
    slice: tuple[str, str] | None = None
    p_holm: float = 1.0

    @property
    def better(self) -> str:
        """Which direction of the metric is good."""
        return "higher" if self.kind.higher_is_better else "lower"

    @property
    def gained(self) -> int | None:
        """How many rows became better, where every row is right or wrong."""
        changes = self.found.changes
        if changes is None:
            return None
        return changes.gained if self.kind.higher_is_better else changes.lost

    @property
    def lost(self) -> int | None:
        """How many became worse."""
        changes = self.found.changes
        if changes is None:
            return None
        return changes.lost if self.kind.higher_is_better else changes.gained

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {
            "metric": self.kind.name,
            "slice": self.slice[0] if self.slice else None,
            "of": self.slice[1] if self.slice else None,
            "rows": self.found.rows,
            "before": self.found.before,
            "after": self.found.after,
            "difference": self.found.difference,
            "low": self.found.low,
            "high": self.found.high,
            "p": self.found.p_value,
            "p_holm": self.p_holm,
            "gained": self.gained,
            "lost": self.lost,
            "better": self.better,
        }


@dataclass(frozen=True)
class Against:
    """A run against the first. `only_first` and `only_this` count rows that just one of them has,
    `other_expected` rows that expect something else in each; none of those is compared.

    `gained` and `lost` are the rows that became better or worse by the main metric; `not_there` the
    metrics, named or of one of both, that one of both has no row for.
    """

    name: str
    rows: int
    same_file: bool | None
    only_first: int
    only_this: int
    other_expected: int
    lines: tuple[Line, ...]
    slices: tuple[Line, ...]
    gained: tuple[RowChange, ...]
    lost: tuple[RowChange, ...]
    not_there: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {
            "run": self.name,
            "rows": self.rows,
            "same_rows_file": self.same_file,
            "only_first": self.only_first,
            "only_this": self.only_this,
            "other_expected": self.other_expected,
            "metrics": [one.to_json() for one in self.lines],
            "slices": [one.to_json() for one in self.slices],
            "gained": [asdict(one) for one in self.gained],
            "lost": [asdict(one) for one in self.lost],
            "not_comparable": list(self.not_there),
        }


@dataclass(frozen=True)
class ComparisonTable:
    """All runs against the first one; `main` is the metric by which rows and slices are shown."""

    scorer: str
    first: str
    main: str
    seed: int
    against: tuple[Against, ...]

    def to_json(self) -> dict[str, Any]:
        """The table as data."""
        return {
            "scorer": self.scorer,
            "first": self.first,
            "main": self.main,
            "seed": self.seed,
            "correction": "Holm",
            "against": [one.to_json() for one in self.against],
        }

    def lines(self) -> list[tuple[str, ...]]:
        """The table by `COLUMNS`; numbers with six digits."""
        return [
            (self.first, one.name, *_cells(line))
            for one in self.against
            for line in (*one.lines, *one.slices)
        ]

    def to_csv(self) -> str:
        """The lines as CSV, with a header."""
        return csv_text(COLUMNS, self.lines())

    def to_markdown(self) -> str:
        """The lines as a table of Markdown."""
        lines = markdown_lines(COLUMNS, self.lines())
        return "\n".join([*lines, "", "p_holm: corrected for all lines of its kind (Holm).", ""])


def comparison_table(
    runs: Sequence[ScoredRun], metrics: Collection[str] = (), *, seed: int = 0
) -> ComparisonTable:
    """Compare all runs with the first; only in the `metrics` named, if any are.

    Raises `InputError` for runs of other scorers, metrics that there are not, and runs that share
    no row.
    """
    first, *others = runs
    for other in others:
        if other.scorer != first.scorer:
            raise InputError(
                f"{other.name} was scored by {other.scorer!r}, {first.name} by {first.scorer!r}: "
                "their figures cannot be compared",
                hint="Compare runs that were evaluated by the same scorer.",
            )
    kinds = _kinds(runs, metrics)
    found = [_against(first, other, kinds, seed, named=bool(metrics)) for other in others]
    lines = holm([line.found.p_value for one in found for line in one.lines])
    slices = holm([line.found.p_value for one in found for line in one.slices])
    corrected, corrected_slices = iter(lines), iter(slices)
    table = tuple(
        replace(
            one,
            lines=tuple(replace(line, p_holm=next(corrected)) for line in one.lines),
            slices=tuple(replace(line, p_holm=next(corrected_slices)) for line in one.slices),
        )
        for one in found
    )
    return ComparisonTable(first.scorer, first.name, kinds[0].name, seed, table)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, in the given order (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    found = [1.0] * len(p_values)
    highest = 0.0
    for number, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - number) * p_values[place]))
        found[place] = highest
    return found


def _kinds(runs: Sequence[ScoredRun], metrics: Collection[str]) -> tuple[MetricKind, ...]:
    """The metrics to compare in the scorer's order, or in the order in which they are named."""
    known = {kind.name: kind for run in reversed(runs) for kind in run.kinds}
    order = {kind.name: kind for run in runs for kind in run.kinds}
    for name in metrics:
        if name not in known:
            raise InputError(f"there is no metric {name!r}", hint=f"Metrics: {', '.join(order)}.")
    return tuple(known[name] for name in dict.fromkeys(metrics or order))


def _against(
    first: ScoredRun, other: ScoredRun, kinds: Sequence[MetricKind], seed: int, *, named: bool
) -> Against:
    matched = match(first.rows, other.rows)
    if not matched.pairs:
        raise InputError(
            f"{first.name} and {other.name} have no row in common",
            hint="Rows are the same where their ids, or their prompts and tools, are.",
        )
    unlike = _unlike(first, other)
    pairs = [(old, new) for old, new in matched.pairs if old.key not in unlike]
    if not pairs:
        raise InputError(
            f"{first.name} and {other.name} expect other answers in every row that both have",
            hint="Compare answers to the same rows.",
        )
    before, after = [old for old, _ in pairs], [new for _, new in pairs]
    lines = [
        Line(kind, found)
        for kind in kinds
        if (found := compare(kind, before, after, seed=seed)) is not None
    ]
    changes = changed(kinds[0], before, after)
    known = first.rows_sha256 is not None and other.rows_sha256 is not None
    return Against(
        name=other.name,
        rows=len(pairs),
        same_file=first.rows_sha256 == other.rows_sha256 if known else None,
        only_first=len(matched.only_before),
        only_this=len(matched.only_after),
        other_expected=len(matched.pairs) - len(pairs),
        lines=tuple(lines),
        slices=_slices(kinds[0], before, after, seed),
        gained=tuple(one for one in changes if one.better),
        lost=tuple(one for one in changes if not one.better),
        not_there=tuple(
            one.name
            for one in kinds
            if one not in [line.kind for line in lines]
            and (named or any(one.parts_of(row) for row in (*before, *after)))
        ),
    )


def _unlike(first: ScoredRun, other: ScoredRun) -> set[str]:
    """The keys of rows that expect something else in each."""
    old, new = first.expected, other.expected
    if old is None or new is None or (first.rows_sha256 and first.rows_sha256 == other.rows_sha256):
        return set()
    return {key for key in old.keys() & new.keys() if old[key] != new[key]}


def _slices(
    kind: MetricKind, before: Sequence[RowScores], after: Sequence[RowScores], seed: int
) -> tuple[Line, ...]:
    """The main metric of every slice of the first run's rows."""
    new = {row.key: row for row in after}
    return tuple(
        Line(kind, found, part)
        for part, rows in by_slice(before).items()
        if (found := compare(kind, rows, [new[row.key] for row in rows], seed=seed)) is not None
    )


def _cells(line: Line) -> tuple[str, ...]:
    found = line.found
    figures = (found.before, found.after, found.difference, found.low, found.high)
    return (
        *(line.slice or ("", "")),
        line.kind.name,
        str(found.rows),
        *(f"{one:.6g}" for one in (*figures, found.p_value, line.p_holm)),
        *("" if one is None else str(one) for one in (line.gained, line.lost)),
        line.better,
    )
