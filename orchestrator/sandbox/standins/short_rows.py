"""Rows of tool calls as a model answers them that knows no tools: a short prompt, JSON back.

A small stand-in has neither the tokens for declarations of tools nor a template that takes them.
What was asked and which call is right stay the same; only how both are written changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import InputError

#: What a stand-in is told in place of the declarations, where the spec says nothing.
SHORT_PROMPT = "Answer with one line of JSON: the agent for the message, and its arguments."

#: For people: how the rows that a stand-in is given differ from the real ones.
DIFFERENCES = (
    (
        "prompt: a short instruction in place of the declarations of the tools, which the"
        " stand-in's chat template has no place for"
    ),
    (
        'answers: JSON text {"agent": …, "arguments": {…}} in place of the model\'s own syntax of'
        " tool calls; agents and arguments are those of the real rows"
    ),
)


@dataclass(frozen=True)
class ShortRow:
    """One question, and the call that answers it."""

    question: str
    agent: str
    arguments: dict[str, Any]

    def answer(self) -> str:
        """The call as the stand-in shall write it: one line of JSON."""
        return json.dumps({"agent": self.agent, "arguments": self.arguments}, ensure_ascii=False)

    def to_json(self, instruction: str) -> dict[str, Any]:
        """The row as `sft.py` and `generate.py` read it."""
        return {
            "prompt": [
                {"role": "system", "content": instruction},
                {"role": "user", "content": self.question},
            ],
            "completion": [{"role": "assistant", "content": self.answer()}],
        }


def has_calls(rows: Path) -> bool:
    """Whether the first row of a JSONL file is answered by a call of a tool."""
    with rows.open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.strip()), "null")
    try:
        return _short(json.loads(first)) is not None
    except ValueError:
        return False


def read_short_rows(rows: Path) -> tuple[ShortRow, ...]:
    """The rows of a prepared JSONL file; `InputError` names one that is not a single call."""
    found = []
    try:
        with rows.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    short = _short(json.loads(line))
                except ValueError as error:
                    raise InputError(
                        f"{rows}:{number}: is not JSON: {error}", hint="Prepare the rows again."
                    ) from error
                if short is None:
                    raise InputError(
                        f"{rows}:{number}: is not a question that one call of a tool answers",
                        hint="Take the stand-in `tiny` for rows of another kind.",
                    )
                found.append(short)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{rows}: cannot be read: {error}", hint="Is it a JSONL file?") from error
    return tuple(found)


def shorten(rows: Path, target: Path, instruction: str = SHORT_PROMPT) -> int:
    """Write prepared rows in their short form; how many there are."""
    short = read_short_rows(rows)
    text = "".join(json.dumps(one.to_json(instruction), ensure_ascii=False) + "\n" for one in short)
    target.write_text(text, encoding="utf-8")
    return len(short)


def longest_answer_tokens(rows: Iterable[ShortRow], tokenizer_file: Path) -> int:
    """Tokens of the longest answer with its end, by a `tokenizer.json`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    lengths = (len(tokenizer.encode(row.answer(), add_special_tokens=False).ids) for row in rows)
    return max(lengths, default=0) + 1


def _short(row: Any) -> ShortRow | None:
    if not isinstance(row, dict):
        return None
    messages = [*_turns(row, "messages"), *_turns(row, "prompt"), *_turns(row, "completion")]
    asked = [one.get("content") for one in messages if one.get("role") == "user"]
    calls = _objects(messages[-1].get("tool_calls")) if messages else []
    if not asked or len(calls) != 1:
        return None
    function = calls[0].get("function", calls[0])
    if not isinstance(function, dict):
        return None
    name, arguments = function.get("name"), function.get("arguments")
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not (isinstance(asked[-1], str) and isinstance(name, str) and isinstance(arguments, dict)):
        return None
    return ShortRow(asked[-1], name, arguments)


def _turns(row: dict[str, Any], field: str) -> list[dict[str, Any]]:
    return _objects(row.get(field))


def _objects(value: Any) -> list[dict[str, Any]]:
    """The value if it is a list of objects, else nothing."""
    good = isinstance(value, list) and all(isinstance(one, dict) for one in value)
    return value if good else []
