"""Rules, rows and findings for tests of formats and of the form check."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.checks.form import FormCheck
from orchestrator.dataset.example import Example, Tool
from orchestrator.dataset.formats.conversion import Converter
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.report import Finding
from orchestrator.dataset.rules import Rules, TokenRules
from orchestrator.spec import DataBlock, MappingBlock

needs_data = pytest.mark.skipif(
    "ORCHESTRATOR_DATA" not in os.environ, reason="ORCHESTRATOR_DATA does not name outside data"
)


def outside(*parts: str) -> Path:
    return Path(os.environ["ORCHESTRATOR_DATA"], *parts)


def rules_of(
    form: str = "prompt-completion",
    *,
    tools: tuple[Tool, ...] = (),
    folder: Path = Path("/nowhere"),
    answer: str = "text",
    **mapping: Any,
) -> Rules:
    tokens = TokenRules("model", None, None, "", 0.3, "a test")
    data = DataBlock(format=form, answer=answer, mapping=MappingBlock(**mapping))
    return Rules(data, folder, tools, tokens, "vertex", None, "", "error", None, 42)


def converted(rules: Rules, rows: Sequence[dict[str, Any]]) -> list[Example | Finding]:
    converter = Converter(rules)
    return [
        converter.convert("rows.jsonl", Row(line, row), None) for line, row in enumerate(rows, 1)
    ]


def example_of(rules: Rules, row: dict[str, Any]) -> Example:
    (found,) = converted(rules, [row])
    assert isinstance(found, Example), found
    return found


def finding_of(rules: Rules, row: dict[str, Any]) -> Finding:
    """The one finding about a row, whether converting or checking it made it."""
    (found,) = findings_of(rules, [row])
    return found


def findings_of(rules: Rules, rows: Sequence[dict[str, Any]]) -> list[Finding]:
    made = converted(rules, rows)
    wrong = [one for one in made if isinstance(one, Finding)]
    return wrong + list(FormCheck(rules).examine([m for m in made if isinstance(m, Example)]))


WEATHER = Tool(
    "get_weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city"],
        "additionalProperties": False,
    },
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    },
)
CLOCK = Tool(
    "get_time",
    {"type": "object"},
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}},
)
