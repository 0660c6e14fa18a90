"""How calls that were read back differ from those of a row, in a few words."""

from __future__ import annotations

import json

from orchestrator.calls import ToolCall
from orchestrator.dataset.example import Call

_LONGEST_SHOWN = 60


def short(text: str, most: int = _LONGEST_SHOWN) -> str:
    """A text on one line, cut where it gets long."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def difference(wanted: tuple[Call, ...], found: tuple[ToolCall, ...]) -> str | None:
    """How calls that were read back differ from those of the row; None if they do not."""
    for number, (one, other) in enumerate(zip(wanted, found, strict=False), start=1):
        if one.name != other.name:
            return f"call {number} is of {other.name!r}, not {one.name!r}"
        for key in one.arguments | other.arguments:
            if key not in other.arguments:
                return f"the argument {key!r} of {one.name!r} is lost"
            if key not in one.arguments:
                return f"the argument {key!r} of {one.name!r} is new"
            before, after = _canonical(one.arguments[key]), _canonical(other.arguments[key])
            if before != after:
                return f"{key!r} of {one.name!r} is {short(after)}, not {short(before)}"
    if len(wanted) != len(found):
        return f"{len(found)} of {len(wanted)} calls are there"
    return None
