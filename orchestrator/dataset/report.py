"""Findings about rows. The report of two parts is the merge of their reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.errors import Place

#: How many examples of one finding are kept; the counts are always exact.
MAX_EXAMPLES = 5


class Level(StrEnum):
    """How bad a finding is. Only errors fail a check."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one row. `code` groups findings of the same sort."""

    kind: str
    level: Level
    code: str
    place: Place
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Group:
    """All findings of one sort: their exact count and the first few of them."""

    kind: str
    level: Level
    code: str
    count: int
    examples: tuple[Finding, ...]

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
class Report:
    """What a check found in a number of rows (rows that could not be read count too)."""

    rows: int = 0
    groups: dict[tuple[str, Level, str], Group] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: int, findings: Iterable[Finding]) -> Report:
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
        return cls(rows, groups)

    def merge(self, later: Report) -> Report:
        """The report of these rows followed by the later ones."""
        groups = dict(self.groups)
        for key, group in later.groups.items():
            mine = groups.get(key)
            if mine is None:
                groups[key] = group
                continue
            examples = (mine.examples + group.examples)[:MAX_EXAMPLES]
            groups[key] = Group(*key, mine.count + group.count, examples)
        return Report(self.rows + later.rows, groups)

    @property
    def findings(self) -> list[Group]:
        """The groups, worst first, then the most frequent, then by their first line."""
        return sorted(
            self.groups.values(),
            key=lambda group: (
                group.level is not Level.ERROR,
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
        return {"rows": self.rows, "findings": [group.to_json() for group in self.findings]}
