"""A row as it was read, and the finding that stands in place of one that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.dataset.report import Finding, Level
from orchestrator.errors import Place


@dataclass(frozen=True, slots=True)
class Row:
    """A JSON object and the line (from 1) on which it starts; in Parquet, the row's number."""

    line: int
    value: dict[str, Any]


def unreadable(code: str, place: Place, message: str, hint: str) -> Finding:
    """The finding in place of a row that cannot be read."""
    return Finding("form", Level.ERROR, code, place, message, hint)
