"""Scores answers that call tools: the tools, their arguments, and whole calls.

An answer's calls are a multiset of (tool, arguments): calls of one turn are made at once, so their
order says nothing, as in the Berkeley Function Calling Leaderboard (BFCL, Patil et al. 2025, whose
checker of parallel calls tries every order). Arguments are compared as JSON values: keys in any
order, 1 equals 1.0, true does not equal 1, texts to the letter. BFCL forgives more (case,
punctuation and spaces of texts, several permitted values); its own possible answers have to be
laid out as expected answers for that.

An answer with a broken call counts as one without calls: whoever runs it could not know what was
meant. Text beside whole calls is allowed, as chat templates allow it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from orchestrator.calls import Syntax, ToolCall
from orchestrator.errors import InputError
from orchestrator.evaluation.answered_calls import (
    AnsweredCalls,
    Form,
    form_of,
    read_answer,
    same_json,
)
from orchestrator.evaluation.scores import Answered, MetricKind, Part, RowScores, yes

#: What may be shown of a name that a model made up.
_TIDY = re.compile(r"/?[\w.:-]{1,64}", re.ASCII)

CALL_METRICS = (
    MetricKind(
        "calls_exact",
        "Share of rows whose calls are the expected ones, tools and arguments, in any order.",
    ),
    MetricKind(
        "tool",
        "Share of rows whose calls name the expected tools, each as often as expected, whatever "
        "their arguments.",
    ),
    MetricKind(
        "arguments",
        "Share of rows whose calls hold the expected arguments, whatever tools they are given to.",
    ),
    MetricKind(
        "call_recall",
        "Expected calls that were made exactly, of all expected calls of all rows (van Rijsbergen "
        "1979, over multisets).",
    ),
    MetricKind(
        "call_precision",
        "Calls that were expected exactly so, of all calls made in all rows (van Rijsbergen 1979, "
        "over multisets).",
    ),
    MetricKind(
        "parse_failures",
        "Share of rows whose answer is missing, holds a broken call, or holds only text where a "
        "call is expected.",
        higher_is_better=False,
    ),
    MetricKind(
        "empty_turns",
        "Share of the rows that expect a call whose answer is nothing but the end of a turn.",
        higher_is_better=False,
    ),
    MetricKind(
        "tools_not_offered",
        "Calls of a tool that the row does not offer, of all calls made, over the rows that say "
        "what they offer.",
        higher_is_better=False,
    ),
)


@dataclass(frozen=True)
class CallsScorer:
    """The scorer `calls`. `syntax` is that of the model; None: told from the expected answer.

    Rows may hold expected calls as OpenAI writes them (`tool_calls`), which few models do: then an
    answer is read in the syntax that it shows itself.
    """

    syntax: Syntax | None = None

    name = "calls"
    metrics = CALL_METRICS

    def score(self, row: Answered) -> RowScores:
        """The parts of one row. Raises `InputError` for a broken call in what is expected."""
        form, wanted = self._expected(row)
        return call_scores(row, wanted, self._given(row.predicted, form))

    def _expected(self, row: Answered) -> tuple[Form | None, tuple[ToolCall, ...]]:
        form = form_of(row.expected) or self.syntax
        if form is None:
            return None, ()
        found = read_answer(row.expected, form)
        if found.problem:
            raise InputError(
                f"row {row.key}: the expected answer holds a call that is broken: {found.detail}",
                hint=f"It was read as {form}. Correct the row.",
            )
        return form, found.calls

    def _given(self, predicted: str | None, expected_form: Form | None) -> AnsweredCalls | None:
        if predicted is None:
            return None
        form: Form | None = self.syntax or expected_form
        if form is None or (form is Syntax.OPENAI and self.syntax is None):
            # Text without any mark of a call is text in Hermes' syntax, whatever it begins with.
            form = form_of(predicted) or form or Syntax.HERMES
        return read_answer(predicted, form)


def call_scores(
    row: Answered, wanted: Sequence[ToolCall], given: AnsweredCalls | None
) -> RowScores:
    """The scores of a row by the calls that it expects; `given` is None without an answer."""
    slices = {**row.slices, "tool": _tool_slice(wanted), "calls": _count_slice(wanted)}
    offered = frozenset(row.tools) | {call.name for call in wanted} if row.tools else None
    causes = tuple(dict.fromkeys(_causes(wanted, given, offered)))
    return RowScores(row.key, _parts(wanted, given, offered), slices, causes)


def _parts(
    wanted: Sequence[ToolCall], given: AnsweredCalls | None, offered: Set[str] | None
) -> dict[str, Part]:
    """What the row gives to each metric; `given` is None where there is no answer.

    `offered` are the names of the tools on offer, None where they are not known.
    """
    readable = given is not None and not given.problem
    calls = given.calls if given is not None and readable else ()
    common = (Counter(map(_whole, wanted)) & Counter(map(_whole, calls))).total()
    empty = given is not None and given.empty
    same_tools = Counter(one.name for one in wanted) == Counter(one.name for one in calls)
    same_arguments = Counter(map(_arguments, wanted)) == Counter(map(_arguments, calls))
    parts = {
        "calls_exact": yes(readable and common == len(wanted) == len(calls)),
        "tool": yes(readable and same_tools),
        "arguments": yes(readable and same_arguments),
        "call_recall": Part(common, len(wanted)),
        "call_precision": Part(common, len(calls)),
        "parse_failures": yes(not readable or (bool(wanted) and not calls and not empty)),
    }
    if wanted:
        parts["empty_turns"] = yes(empty)
    if offered is not None:
        parts["tools_not_offered"] = Part(
            sum(call.name not in offered for call in calls), len(calls)
        )
    return parts


def _whole(call: ToolCall) -> Any:
    return call.name, same_json(call.arguments)


def _arguments(call: ToolCall) -> Any:
    return same_json(call.arguments)


def _tool_slice(wanted: Sequence[ToolCall]) -> str:
    names = {call.name for call in wanted}
    return "(none)" if not names else names.pop() if len(names) == 1 else "(several)"


def _count_slice(wanted: Sequence[ToolCall]) -> str:
    return ("none", "one", "parallel")[min(len(wanted), 2)]


def _causes(
    wanted: Sequence[ToolCall], given: AnsweredCalls | None, offered: Set[str] | None
) -> Iterator[str]:
    """Why an answer is wrong, in fixed words and the names of tools and arguments."""
    if given is None:
        yield "no answer"
    elif given.problem:
        yield f"broken call: {given.problem}"
    elif wanted and given.empty:
        yield "empty turn"
    elif wanted and not given.calls:
        yield "text instead of a call"
    else:
        yield from _differences(wanted, given.calls, offered)


def _differences(
    wanted: Sequence[ToolCall], given: Sequence[ToolCall], offered: Set[str] | None
) -> Iterator[str]:
    missing = _without(wanted, given)
    added = _without(given, wanted)
    for call in missing:
        twin = next((other for other in added if other.name == call.name), None)
        if twin is None:
            yield f"tool missing: {_shown(call.name)}"
            continue
        added.remove(twin)
        yield from _argument_differences(call, twin)
    known = {call.name for call in wanted}
    for call in added:
        more = "called too often" if call.name in known else "not expected"
        if offered is not None and call.name not in offered:
            more = "not offered"
        yield f"tool {more}: {_shown(call.name)}"


def _without(calls: Sequence[ToolCall], others: Sequence[ToolCall]) -> list[ToolCall]:
    """The calls that have no equal one among the others."""
    left = Counter(map(_whole, others))
    found = []
    for call in calls:
        if left[_whole(call)]:
            left[_whole(call)] -= 1
        else:
            found.append(call)
    return found


def _argument_differences(wanted: ToolCall, given: ToolCall) -> Iterator[str]:
    tool = _shown(wanted.name)
    for name, value in wanted.arguments.items():
        if name not in given.arguments:
            yield f"argument missing: {tool}.{_shown(name)}"
        elif same_json(given.arguments[name]) != same_json(value):
            yield f"argument differs: {tool}.{_shown(name)}"
    for name in sorted(given.arguments.keys() - wanted.arguments.keys()):
        yield f"argument not expected: {tool}.{_shown(name)}"


def _shown(name: str) -> str:
    return name if _TIDY.fullmatch(name) else "(an odd name)"
