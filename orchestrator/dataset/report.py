"""Findings about rows. The report of two parts is the merge of their reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.errors import Place

#: How many examples of one finding are kept; the counts are always exact.
MAX_EXAMPLES = 5


class Level(StrEnum):
    """How bad a finding is. Only errors fail a check; a note is for knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


_WORST_FIRST = (Level.ERROR, Level.WARNING, Level.NOTE)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one row, or with all (`place` without a line).

    `code` groups findings of the same sort.
    """

    kind: str
    level: Level
    code: str
    place: Place
    message: str
    hint: str = ""

    def shifted(self, lines: int) -> Finding:
        """The same, `lines` lines further down in its file."""
        if not lines or self.place.line is None:
            return self
        place = dataclasses.replace(self.place, line=self.place.line + lines)
        return dataclasses.replace(self, place=place)


@dataclass(frozen=True)
class Group:
    """All findings of one sort: their exact count and the first few of them."""

    kind: str
    level: Level
    code: str
    count: int
    examples: tuple[Finding, ...]

    @classmethod
    def of(cls, finding: Finding, count: int = 1) -> Group:
        """A group that one finding speaks for."""
        return cls(finding.kind, finding.level, finding.code, count, (finding,))

    def shifted(self, lines: int) -> Group:
        """The same, `lines` lines further down."""
        examples = tuple(finding.shifted(lines) for finding in self.examples)
        return dataclasses.replace(self, examples=examples)

    def to_json(self) -> dict[str, Any]:
        """The group as `check --json` prints it."""
        return {
            "kind": self.kind,
            "level": str(self.level),
            "code": self.code,
            "count": self.count,
            "examples": [
                {
                    "file": finding.place.file,
                    "line": finding.place.line,
                    "message": finding.message,
                    "hint": finding.hint,
                }
                for finding in self.examples
            ],
        }


@dataclass(frozen=True)
class Histogram:
    """How often a value falls between `low` and `high` (both inclusive), e.g. tokens of a prompt.

    `bins` are (low, high, rows); `marks` are values worth a line, e.g. ("max_length", 512).
    """

    name: str
    unit: str
    bins: tuple[tuple[int, int, int], ...]
    marks: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The histogram as `check --json` prints it."""
        bins = [{"low": low, "high": high, "rows": rows} for low, high, rows in self.bins]
        marks = [{"name": name, "value": value} for name, value in self.marks]
        return {"type": "histogram", "name": self.name, "unit": self.unit} | {
            "bins": bins,
            "marks": marks,
        }


@dataclass(frozen=True)
class Table:
    """Figures in rows and columns, e.g. the rows of each tool. Numbers stay numbers."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """The table as `check --json` prints it."""
        rows = [list(row) for row in self.rows]
        return {"type": "table", "name": self.name, "header": list(self.header), "rows": rows}


Figure = Histogram | Table


@dataclass(frozen=True)
class Report:
    """What a check found in a number of rows (rows that could not be read count too).

    `lines` is how many lines of its file a part has, by which later parts are shifted when merged.
    """

    rows: int = 0
    groups: dict[tuple[str, Level, str], Group] = field(default_factory=dict)
    lines: int = 0
    figures: tuple[Figure, ...] = ()

    @classmethod
    def of(cls, rows: int, findings: Iterable[Finding], lines: int = 0) -> Report:
        """The report of findings in the order of their lines."""
        counts: dict[tuple[str, Level, str], int] = {}
        examples: dict[tuple[str, Level, str], list[Finding]] = {}
        for finding in findings:
            key = (finding.kind, finding.level, finding.code)
            counts[key] = counts.get(key, 0) + 1
            kept = examples.setdefault(key, [])
            if len(kept) < MAX_EXAMPLES:
                kept.append(finding)
        groups = {key: Group(*key, count, tuple(examples[key])) for key, count in counts.items()}
        return cls(rows, groups, lines)

    def merge(self, later: Report, *, same_file: bool = True) -> Report:
        """The report of these rows followed by the later ones, of the same file or of another."""
        groups = dict(self.groups)
        for key, found in later.groups.items():
            group = found.shifted(self.lines) if same_file else found
            mine = groups.get(key)
            if mine is None:
                groups[key] = group
                continue
            examples = (mine.examples + group.examples)[:MAX_EXAMPLES]
            groups[key] = Group(*key, mine.count + group.count, examples)
        lines = self.lines + later.lines if same_file else later.lines
        return Report(self.rows + later.rows, groups, lines, self.figures + later.figures)

    def extended(self, groups: Iterable[Group], figures: Iterable[Figure] = ()) -> Report:
        """With what was concluded from all rows together."""
        mine = dict(self.groups)
        for group in groups:
            mine[group.kind, group.level, group.code] = group
        return dataclasses.replace(self, groups=mine, figures=(*self.figures, *figures))

    @property
    def findings(self) -> list[Group]:
        """The groups, worst first, then the most frequent, then by their first line."""
        return sorted(
            self.groups.values(),
            key=lambda group: (
                _WORST_FIRST.index(group.level),
                -group.count,
                group.examples[0].place.line or 0,
            ),
        )

    @property
    def error_count(self) -> int:
        """How many findings are errors."""
        return sum(group.count for group in self.groups.values() if group.level is Level.ERROR)

    def to_json(self) -> dict[str, Any]:
        """The report as `check --json` prints it."""
        return {
            "rows": self.rows,
            "findings": [group.to_json() for group in self.findings],
            "figures": [figure.to_json() for figure in self.figures],
        }
