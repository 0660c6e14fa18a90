"""What a line of a file says beside its answer: its groups, tools, tokens, seconds, the end.

Also how likely the model found the expected answer, where that was measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from orchestrator.evaluation.scores import Likelihood, Timing

#: Columns that group rows, where a row has them as a text.
_SLICES = ("difficulty", "category")
_LONGEST_SLICE = 60


def tool_names(tools: Any) -> tuple[str, ...]:
    """The names in a list of tools, in OpenAI's form or of functions alone; none of other forms."""
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            return ()
    names = []
    for tool in tools if isinstance(tools, list) else []:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            names.append(name)
    return tuple(names)


def slices_of(value: Mapping[str, Any]) -> dict[str, str]:
    """The groups that a row belongs to: by well-known columns, and by its own `slices`."""
    found = {name: value.get(name) for name in _SLICES}
    own = value.get("slices")
    if isinstance(own, dict):
        found |= own
    return {
        str(name): text
        for name, text in found.items()
        if isinstance(text, str) and 0 < len(text) <= _LONGEST_SLICE
    }


def timing_of(line: Mapping[str, Any]) -> Timing | None:
    """How an answer came about, by the fields of `generate.py`; None where it has none of them."""
    stopped_by = line.get("stopped_by")
    found = Timing(
        _amount(line.get("latency_s")),
        _count(line.get("new_tokens")),
        _count(line.get("prompt_tokens")),
        stopped_by if isinstance(stopped_by, str) else None,
    )
    return None if found == Timing() else found


def likelihood_of(line: Mapping[str, Any]) -> Likelihood | None:
    """What the model made of the expected answer, by the fields of `generate.py --likelihood`.

    None where nothing was measured, or what stands there is no measurement.
    """
    tokens = _count(line.get("expected_tokens"))
    if not tokens:
        return None
    loss, right = _amount(line.get("expected_loss")), _count(line.get("expected_right"))
    if "expected_loss" in line and line["expected_loss"] is None:
        loss = math.nan  # measured, and no number came of it
    found = Likelihood(tokens, loss, right if right is not None and right <= tokens else None)
    return None if found == Likelihood(tokens) else found


def _amount(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        amount = float(value)
    except OverflowError:
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**50 else None
