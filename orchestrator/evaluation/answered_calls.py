"""Answers read as tool calls, for every scorer of calls: the one place that says what counts.

An answer is written in the syntax of a model (`orchestrator.calls`), or as the JSON
{"agent": …, "arguments": …} of models that have no syntax of their own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NoReturn

from orchestrator.calls import END_MARKS, MAX_DEPTH, Syntax, ToolCall, parse

#: JSON of one agent and its arguments, which is no syntax of tool calls.
AGENT_JSON: Literal["agent-json"] = "agent-json"
Form = Syntax | Literal["agent-json"]

_MARKS = {
    "<start_function_call>": Syntax.FUNCTIONGEMMA,
    "<|tool_call>": Syntax.GEMMA4,
    "<tool_call>": Syntax.HERMES,
    "<|python_tag|>": Syntax.LLAMA,
}
_ANY_MARK = re.compile("|".join(map(re.escape, _MARKS)))
#: How JSON begins that is broken further on.
_BROKEN = (
    (re.compile(r'\{\s*"agent"\s*:'), AGENT_JSON),
    (re.compile(r'\{\s*"(?:name|parameters)"\s*:'), Syntax.LLAMA),
    (re.compile(r'\{\s*"(?:tool_calls|function)"\s*:'), Syntax.OPENAI),
    (re.compile(r'\[\s*\{\s*"(?:id|index|type|function|name)"\s*:'), Syntax.OPENAI),
)
#: What is wrong with a call, in fixed words, by what the parser says of it.
_KINDS = (
    ("is not closed by", "not closed"),
    ("there twice", "an argument is there twice"),
    ("not JSON", "not JSON"),
    ("is not between", "a text without its marks"),
    ("nested", "nested too deeply"),
    ("are not an object", "the arguments are no object"),
    ("text follows", "text behind the call"),
)


@dataclass(frozen=True)
class AnsweredCalls:
    """What an answer holds. `problem` is in a few fixed words, `detail` as the parser said it.

    `empty`: there is nothing at all, or only the end of a turn.
    """

    calls: tuple[ToolCall, ...] = ()
    text: str = ""
    problem: str = ""
    detail: str = ""
    empty: bool = False


def read_answer(answer: str, form: Form) -> AnsweredCalls:
    """Read an answer in a form. Never raises: what is wrong is in `problem`."""
    if form == AGENT_JSON:
        return _read_agent(answer)
    found = parse(answer, form)
    if found.problems:
        detail = str(found.problems[0])
        return AnsweredCalls(found.calls, found.text, _kind(detail), detail)
    if any(too_deep(call.arguments) for call in found.calls):
        return AnsweredCalls((), found.text, "nested too deeply", f"more than {MAX_DEPTH} deep")
    return AnsweredCalls(found.calls, found.text, empty=found.empty)


def form_of(answer: str) -> Form | None:
    """The form in which an answer writes calls; None where it shows none.

    The first mark decides: others may stand inside the strings of a call.
    """
    text = answer.lstrip()
    found = _json_form(text) if text.startswith(("{", "[")) else None
    mark = _ANY_MARK.search(answer)
    return found or (_MARKS[mark[0]] if mark else None)


def same_json(value: Any) -> Any:
    """A key under which values are equal as JSON is: 1 is 1.0, and neither is true.

    A key of a value nested deeper than `MAX_DEPTH` may raise `RecursionError`.
    """
    if isinstance(value, dict):
        return "object", frozenset((key, same_json(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return "list", tuple(map(same_json, value))
    if isinstance(value, bool) or value is None:
        return "word", str(value)
    return ("number" if isinstance(value, int | float) else "text"), value


def _kind(detail: str) -> str:
    return next((kind for words, kind in _KINDS if words in detail), "malformed")


def too_deep(value: Any, most: int = MAX_DEPTH) -> bool:
    """Whether lists and objects are nested deeper than that."""
    level = [value]
    for _ in range(most):
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for one in chain.from_iterable(inside) if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _json_form(text: str) -> Form | None:
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return next((form for start, form in _BROKEN if start.match(text)), None)
    if isinstance(value, list):
        calls = [one for one in value if isinstance(one, dict) and {"name", "function"} & {*one}]
        return Syntax.OPENAI if calls else None
    if {"agent", "arguments"} <= value.keys():
        return AGENT_JSON
    if {"tool_calls", "function"} & value.keys():
        return Syntax.OPENAI
    named = "name" in value and {"arguments", "parameters"} & value.keys()
    return Syntax.LLAMA if named else None


def _read_agent(answer: str) -> AnsweredCalls:
    text = answer.strip()
    while mark := next((mark for mark in END_MARKS if text.endswith(mark)), None):
        text = text.removesuffix(mark).rstrip()
    if not text.startswith("{"):
        return AnsweredCalls(text=text, empty=not text)
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        twice = "there twice" in str(error)
        kind = "an argument is there twice" if twice else "not JSON"
        return AnsweredCalls((), text, kind, str(error))
    if not isinstance(value, dict) or value.keys() != {"agent", "arguments"}:
        return AnsweredCalls((), text, "malformed", "an object with agent and arguments is needed")
    agent, arguments = value["agent"], value["arguments"]
    if not isinstance(agent, str) or not isinstance(arguments, dict):
        return AnsweredCalls((), text, "malformed", "agent is a text, arguments an object")
    if too_deep(arguments):
        return AnsweredCalls((), text, "nested too deeply", f"more than {MAX_DEPTH} deep")
    return AnsweredCalls((ToolCall(agent, arguments),))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once: of two values nobody knows which is meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
