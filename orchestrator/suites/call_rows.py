"""How rows of the Berkeley Function Calling Leaderboard become questions.

As bfcl-eval ships them: `question` is a list of turns' messages, `function` a list of tools whose
types are Python's, and a second file has each row's `ground_truth`: for every argument the
permitted values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import InputError
from orchestrator.evaluation.permitted_calls import nearest, read_permitted
from orchestrator.suites.suite_rows import SuiteRow, WrongRow, list_of, text_of

#: Names of types in the leaderboard's tools, and in JSON Schema; None: any value.
_JSON_TYPES = ("string", "integer", "number", "boolean", "array", "object")
_TYPES: Mapping[str, str | None] = {
    **dict(zip(_JSON_TYPES, _JSON_TYPES, strict=True)),
    "dict": "object",
    "float": "number",
    "tuple": "array",
    "any": None,
}
_CATEGORY = re.compile(r"([a-z_]+?)_\d")


def call_row(row: Mapping[str, Any], answer: Mapping[str, Any], ask: str) -> SuiteRow:
    """A question with its tools, and what is permitted. Raises `WrongRow`."""
    name = text_of(row, "id")
    turns = list_of(row, "question")
    if len(turns) != 1:
        raise WrongRow(f"`question` has {len(turns)} turns; suites of one turn are read")
    messages = turns[0] if isinstance(turns[0], list) else turns
    sound = messages and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) for one in messages
    )
    if not sound:
        raise WrongRow("`question` is no list with a list of messages")
    if ask:
        messages = [{"role": "system", "content": ask}, *messages]
    expected = json.dumps(list_of(answer, "ground_truth"), ensure_ascii=False)
    try:
        permitted = read_permitted(expected, name)
    except InputError as error:
        raise WrongRow("`ground_truth` is no list of calls with permitted values") from error
    calls = [
        {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in nearest(permitted, ())
    ]
    category = _CATEGORY.match(name)
    return SuiteRow(
        name,
        tuple(messages),
        {"role": "assistant", "content": "", "tool_calls": calls},
        expected,
        {"category": category[1]} if category else {},
        tuple(_tool(one) for one in list_of(row, "function")),
    )


def _tool(function: Any) -> Mapping[str, Any]:
    """A tool in OpenAI's form."""
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise WrongRow("`function` holds a tool without a name")
    parameters = function.get("parameters")
    if not isinstance(parameters, dict):
        raise WrongRow(f"the tool {function['name']!r} has no parameters")
    described = {
        "name": function["name"],
        "description": str(function.get("description", "")),
        "parameters": _schema(parameters, function["name"]),
    }
    return {"type": "function", "function": described}


def _schema(value: Mapping[str, Any], tool: str) -> dict[str, Any]:
    """A JSON Schema of the leaderboard's types, as deep as it is."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if name == "type":
            if inner not in _TYPES:
                raise WrongRow(
                    f"the tool {tool!r} has a value of type {inner!r}: the rows in Python are read,"
                    " not those in Java and JavaScript"
                )
            if (plain := _TYPES[inner]) is not None:
                found[name] = plain
        elif name == "properties" and isinstance(inner, dict):
            found[name] = {
                key: _schema(one, tool) if isinstance(one, dict) else one
                for key, one in inner.items()
            }
        elif name in ("items", "additionalProperties") and isinstance(inner, dict):
            found[name] = _schema(inner, tool)
        elif name != "optional":  # a word of the leaderboard's: `required` says it
            found[name] = inner
    return found
