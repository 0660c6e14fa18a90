"""A row of a suite as everything else here takes it, and reading the columns it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SuiteRow:
    """One question. `completion` is an answer that is right, as an example for others to follow.

    `expected` is what the suite's scorer compares with. `turns` is the question as messages.
    """

    id: str
    turns: tuple[Mapping[str, Any], ...]
    completion: Mapping[str, Any]
    expected: str
    slices: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The row as `generate.py` and `score` read it."""
        row: dict[str, Any] = {
            "id": self.id,
            "prompt": [dict(turn) for turn in self.turns],
            "completion": [dict(self.completion)],
            "expected": self.expected,
        }
        if self.slices:
            row["slices"] = dict(self.slices)
        if self.tools:
            row["tools"] = [dict(tool) for tool in self.tools]
        return row


class WrongRow(Exception):
    """A row is not one of the suite's; the message says what is wrong with it."""


def asked(question: str, ask: str) -> tuple[Mapping[str, str]]:
    """A question as the turn of a user, with what is asked for behind it."""
    text = f"{question.strip()}\n\n{ask}" if ask else question.strip()
    return ({"role": "user", "content": text},)


def said(answer: str) -> Mapping[str, str]:
    """An answer as the turn of the assistant."""
    return {"role": "assistant", "content": answer}


def text_of(row: Mapping[str, Any], column: str) -> str:
    """A column as a text that is not empty. Raises `WrongRow`."""
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise WrongRow(f"`{column}` is {'missing' if value is None else 'no text, or empty'}")
    return value


def word_of(row: Mapping[str, Any], column: str) -> str | None:
    """A column as a short text; None where it is absent or empty."""
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def number_of(row: Mapping[str, Any], column: str) -> str:
    """A column with a number, or a text of one, as it is written plainly. Raises `WrongRow`."""
    value = row.get(column)
    if isinstance(value, str):
        try:
            value = float(value.strip().replace("_", "").replace(",", ""))
        except ValueError:
            raise WrongRow(f"`{column}` is no number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongRow(f"`{column}` is {'missing' if value is None else 'no number'}")
    if value != value or value in (float("inf"), float("-inf")):
        raise WrongRow(f"`{column}` is no finite number")
    return str(int(value)) if value == int(value) else repr(value)


def list_of(row: Mapping[str, Any], column: str) -> list[Any]:
    """A column with a list, or JSON of one, as tables have it. Raises `WrongRow`."""
    value = row.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise WrongRow(f"`{column}` is a text that is no JSON of a list") from None
    if not isinstance(value, list) or not value:
        raise WrongRow(f"`{column}` is {'missing' if value is None else 'no list, or empty'}")
    return value
