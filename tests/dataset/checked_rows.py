"""Rules, examples and checks in parts, for tests of one kind of check."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.report import Finding, Group, Report
from orchestrator.dataset.rules import Rules, TokenRules
from orchestrator.spec import DataBlock

AnyCheck = TypeVar("AnyCheck", bound=Check)


def rules_of(*tools: str, **data: Any) -> Rules:
    """Rules with these tools, and this `data:` block."""
    return Rules(
        data=DataBlock.model_validate(data),
        spec_folder=Path("nowhere"),
        tools=tuple(Tool(name, {"type": "object"}, {}) for name in tools),
        tokens=TokenRules("model", None, None, "", 0.25, ""),
        service="vertex",
        max_length=None,
        max_length_source="",
        too_long="error",
        export=None,
        seed=42,
    )


def row(
    line: int,
    prompt: str,
    answer: str | tuple[Message, ...] = "yes",
    *,
    split: str | None = None,
    file: str = "rows.jsonl",
) -> Example:
    """An example of two texts."""
    return Example(file, line, prompt, answer, {}, split=split)


def calling(line: int, prompt: str, *tools: str, split: str | None = None) -> Example:
    """An example that is answered by calls."""
    answer = Message("assistant", None, tuple(Call(name, {"q": line}) for name in tools))
    return row(line, prompt, (answer,), split=split)


def concluded(check: Check, found: Sequence[Finding], rows: int) -> Report:
    """The report of a check that has seen all rows."""
    groups: list[Group] = list(check.conclude())
    return Report.of(rows, found).extended(groups, check.figures())


def checked(check: Check, examples: Sequence[Example]) -> Report:
    """The report of these rows, in one part."""
    return concluded(check, list(check.examine(examples)), len(examples))


def checked_in_parts(
    make: type[AnyCheck], rules: Rules, examples: Sequence[Example], cuts: Sequence[int]
) -> Report:
    """The report of these rows, cut at these numbers; parts count their lines from 1.

    The rows must stand on lines 1, 2, 3 … of one file, and each part goes through pickle.
    """
    bounds = [0, *sorted(cuts), len(examples)]
    whole = make(rules)  # type: ignore[call-arg]  # every check is made from rules alone
    found: list[Finding] = []
    for start, end in itertools.pairwise(bounds):
        part = make(rules)  # type: ignore[call-arg]  # as above
        moved = [
            Example(e.file, e.line - start, e.prompt, e.answer, e.fields, split=e.split)
            for e in examples[start:end]
        ]
        found += [finding.shifted(start) for finding in part.examine(moved)]
        part = pickle.loads(pickle.dumps(part))  # noqa: S301 (our own bytes, as workers send them)
        part.shift(start)
        whole.merge(part)
    return concluded(whole, found, len(examples))
