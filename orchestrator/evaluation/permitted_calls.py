"""Scores answers that call tools where several values of an argument are right.

The expected answer is what the Berkeley Function Calling Leaderboard (BFCL, Patil et al. 2025)
calls a possible answer: JSON of a list of calls, of each its tool and for every argument the
permitted values; "" among them says that it may be left out. The fields of an object have lists of
their own. Of all that is permitted, what is nearest to the answer is laid out as one expected
answer, so that everything that the scorer `calls` knows is said here too.

`bfcl_correct` compares as the leaderboard's checker does: texts without case, spaces and
`, . / - _ * ^`. It knows no types: where a tool declares a whole number, 3.0 is right here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.calls import Syntax, ToolCall
from orchestrator.errors import InputError
from orchestrator.evaluation.answered_calls import (
    AnsweredCalls,
    form_of,
    read_answer,
    same_json,
    too_deep,
)
from orchestrator.evaluation.scores import Answered, MetricKind, RowScores, yes
from orchestrator.evaluation.tool_calls import CALL_METRICS, call_scores

CORRECT = MetricKind(
    "bfcl_correct",
    "Share of rows whose calls are permitted ones, in any order, texts compared without case,"
    " spaces and punctuation (BFCL).",
)
#: What may be left out has this among its permitted values.
LEFT_OUT = ""
_IGNORED = str.maketrans({**dict.fromkeys(" ,./-_*^"), "'": '"'})
Key = Callable[[Any], Hashable]


@dataclass(frozen=True)
class Permitted:
    """A call that is expected: its tool, and for every argument the values that are right."""

    tool: str
    arguments: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class PermittedCallsScorer:
    """The scorer `bfcl`. `syntax` is that of the model; None: told from each answer."""

    syntax: Syntax | None = None

    name = "bfcl"
    metrics = (CORRECT, *CALL_METRICS)

    def score(self, row: Answered) -> RowScores:
        """The parts of one row. Raises `InputError` where what is expected is no possible answer.

        `predicted` may be a possible answer itself, as the constant answer is.
        """
        permitted = read_permitted(row.expected, row.key)
        given = self._given(row.predicted)
        said = given.calls if given is not None else ()
        found = call_scores(row, nearest(permitted, said), given)
        right = (
            given is not None and not given.problem and is_permitted(permitted, said, loosely_same)
        )
        return replace(found, parts={CORRECT.name: yes(right), **found.parts})

    def _given(self, predicted: str | None) -> AnsweredCalls | None:
        if predicted is None:
            return None
        possible = _permitted(predicted)
        if possible is not None:
            return AnsweredCalls(tuple(nearest(possible, ())), empty=not possible)
        # Text without any mark of a call is text in Hermes' syntax, whatever it begins with.
        return read_answer(predicted, self.syntax or form_of(predicted) or Syntax.HERMES)


def read_permitted(expected: str, key: str) -> tuple[Permitted, ...]:
    """The calls that an expected answer permits. Raises `InputError` with the row's key."""
    found = _permitted(expected)
    if found is None:
        raise InputError(
            f"row {key}: the expected answer is no possible answer as BFCL writes them",
            hint='Expected is JSON: [{"tool": {"argument": [permitted values]}}]. For one right '
            "answer take --scorer calls.",
        )
    return found


def nearest(
    permitted: Sequence[Permitted], said: Sequence[ToolCall], key: Key = same_json
) -> list[ToolCall]:
    """Of all that is permitted, the calls that have most in common with what was said."""
    left = list(said)
    found, still_open = [], []
    for one in permitted:
        for at, other in enumerate(left):
            if other.name != one.tool:
                continue
            arguments = _arguments(one.arguments, other.arguments, key)
            if key(arguments) == key(other.arguments):
                del left[at]  # not `remove`, for which 1 is True
                found.append(ToolCall(one.tool, arguments))
                break
        else:
            still_open.append(one)
    for one in still_open:  # the argument that is wrong is told by a call of the same tool
        twin = next((at for at, other in enumerate(left) if other.name == one.tool), None)
        told = None if twin is None else left.pop(twin).arguments
        arguments = _arguments(one.arguments, told, key)
        found.append(ToolCall(one.tool, arguments))
    return found


def is_permitted(
    permitted: Sequence[Permitted], said: Sequence[ToolCall], key: Key = same_json
) -> bool:
    """Whether what was said is one of the permitted answers, in any order."""

    def counted(calls: Sequence[ToolCall]) -> Counter[Hashable]:
        return Counter((call.name, key(call.arguments)) for call in calls)

    return counted(nearest(permitted, said, key)) == counted(said)


def loosely_same(value: Any) -> Hashable:
    """As `same_json`, but texts without case, spaces and `, . / - _ * ^`, quotes all alike."""
    found: Hashable = same_json(_loose(value))
    return found


def _loose(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _loose(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_loose(inner) for inner in value]
    return value.translate(_IGNORED).lower() if isinstance(value, str) else value


def _arguments(
    options: Mapping[str, Sequence[Any]], said: Mapping[str, Any] | None, key: Key
) -> dict[str, Any]:
    """Of each argument the permitted value that was said; the first one where none was."""
    found = {}
    for name, values in options.items():
        is_said = said is not None and name in said
        if said is not None and not is_said and LEFT_OUT in values:
            continue
        other = said[name] if said is not None and is_said else None
        laid_out = [_value(value, other, key) for value in values]
        if not is_said or other != LEFT_OUT:
            laid_out = [value for value in laid_out if value != LEFT_OUT]
        if not laid_out:
            continue  # an argument that may only be left out
        match = key(other)
        found[name] = next((v for v in laid_out if is_said and key(v) == match), laid_out[0])
    return found


def _value(value: Any, said: Any, key: Key) -> Any:
    """A permitted value; the fields of an object have lists of permitted values of their own."""
    if isinstance(value, dict) and all(isinstance(one, list) for one in value.values()):
        return _arguments(value, said if isinstance(said, dict) else None, key)
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        items = said if isinstance(said, list) and len(said) == len(value) else [None] * len(value)
        return [_value(one, item, key) for one, item in zip(value, items, strict=True)]
    return value


def _permitted(text: str) -> tuple[Permitted, ...] | None:
    """The calls of a possible answer; None where a text is none."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or too_deep(value):
        return None
    found = []
    for call in value:
        if not isinstance(call, dict) or len(call) != 1:
            return None
        ((tool, arguments),) = call.items()
        lists = isinstance(arguments, dict) and all(
            isinstance(values, list) for values in arguments.values()
        )
        if not lists:
            return None
        found.append(Permitted(tool, arguments))
    return tuple(found)
