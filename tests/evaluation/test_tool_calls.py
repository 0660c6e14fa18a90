"""What answers that call tools are worth: `orchestrator score --scorer calls`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.calls import CannotRender, Syntax, ToolCall, render
from orchestrator.errors import InputError
from orchestrator.evaluation.answered_calls import AGENT_JSON, form_of, read_answer, same_json
from orchestrator.evaluation.scores import Answered, RowScores, metrics_of
from orchestrator.evaluation.tool_calls import CallsScorer

LIGHT = ToolCall("light", {"room": "kitchen", "level": {"value": 3, "note": "warm } not cold"}})
PLAY = ToolCall("play", {"artist": "Bach", "loud": True})
STOP = ToolCall("stop", {})
SCORER = CallsScorer()
HIGHER = ("calls_exact", "tool", "arguments", "call_recall", "call_precision")
LOWER = ("parse_failures", "empty_turns")
OFFERED = "tools_not_offered"
PERFECT = {**dict.fromkeys(HIGHER, 1.0), **dict.fromkeys(LOWER, 0.0)}


def _row(expected: str, predicted: str | None, key: str = "r") -> RowScores:
    return SCORER.score(Answered(key, expected, predicted))


def _values(*rows: RowScores) -> dict[str, float]:
    return {one.name: one.value for one in metrics_of(SCORER, rows)}


def _calls(
    expected: Sequence[ToolCall], said: Sequence[ToolCall], syntax: Syntax = Syntax.FUNCTIONGEMMA
) -> dict[str, float]:
    return _values(_row(render(expected, syntax), render(said, syntax)))


# -------------------- planted errors


@pytest.mark.parametrize("syntax", list(Syntax))
def test_an_answer_scored_against_itself_is_perfect_in_every_syntax(syntax: Syntax) -> None:
    for calls in ([LIGHT], [LIGHT, PLAY], [STOP, STOP, PLAY]):
        text = render(calls, syntax)
        row = _row(text, text)
        assert (_values(row), row.causes) == (PERFECT, ())


@pytest.mark.parametrize("syntax", list(Syntax))
def test_parallel_calls_may_come_in_any_order_and_arguments_too(syntax: Syntax) -> None:
    turned = replace(LIGHT, arguments=dict(reversed(LIGHT.arguments.items())))
    assert _calls([LIGHT, PLAY], [PLAY, turned], syntax) == PERFECT


def test_a_wrong_argument_moves_arguments_and_the_exact_call_but_not_the_tool() -> None:
    wrong = replace(PLAY, arguments={**PLAY.arguments, "artist": "Liszt"})
    moved = dict.fromkeys(("calls_exact", "arguments", "call_recall", "call_precision"), 0.0)
    assert _calls([PLAY], [wrong]) == PERFECT | moved
    row = _row(render([PLAY], Syntax.HERMES), render([wrong], Syntax.HERMES))
    assert row.causes == ("argument differs: play.artist",)


def test_a_wrong_tool_with_the_right_arguments_moves_the_tool_and_the_exact_call() -> None:
    moved = dict.fromkeys(("calls_exact", "tool", "call_recall", "call_precision"), 0.0)
    wrong = replace(PLAY, name="sing")
    assert _calls([PLAY], [wrong]) == PERFECT | moved
    row = _row(render([PLAY], Syntax.HERMES), render([wrong], Syntax.HERMES))
    assert row.causes == ("tool missing: play", "tool not expected: sing")


def test_a_dropped_call_moves_recall_and_not_precision() -> None:
    found = _calls([LIGHT, PLAY], [PLAY])
    wrong = dict.fromkeys(("calls_exact", "tool", "arguments"), 0.0)
    assert found == PERFECT | wrong | {"call_recall": 0.5}


def test_an_added_call_moves_precision_and_not_recall() -> None:
    found = _calls([PLAY], [PLAY, STOP])
    wrong = dict.fromkeys(("calls_exact", "tool", "arguments"), 0.0)
    assert found == PERFECT | wrong | {"call_precision": 0.5}


def test_a_call_that_is_made_once_too_often_is_not_expected_twice() -> None:
    text = render([PLAY, PLAY], Syntax.HERMES)
    row = _row(render([PLAY], Syntax.HERMES), text)
    assert (row.parts["calls_exact"].above, row.causes) == (0.0, ("tool called too often: play",))
    assert _values(row)["call_precision"] == 0.5


@pytest.mark.parametrize("said", ["<end_of_turn>", "", " \n", "<end_of_turn>\n<eos>"])
def test_an_empty_turn_is_counted_apart_from_what_cannot_be_read(said: str) -> None:
    row = _row(render([PLAY], Syntax.FUNCTIONGEMMA), said)
    parts = {name: part.above for name, part in row.parts.items()}
    assert (parts["empty_turns"], parts["parse_failures"], parts["tool"]) == (1.0, 0.0, 0.0)
    assert row.causes == ("empty turn",)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("I play Bach.", "text instead of a call"),
        ("<start_function_call>call:play{artist:<escape>Bach", "broken call: not closed"),
        (
            "<start_function_call>call:play{artist:Bach,loud:true}<end_function_call>",
            "broken call: a text without its marks",
        ),
        ("<start_function_call>play{}<end_function_call>", "broken call: malformed"),
        (f"<start_function_call>call:a{{b:{'[' * 500}", "broken call: nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_a_parse_failure_with_its_cause(said: str, cause: str) -> None:
    row = _row(render([PLAY], Syntax.FUNCTIONGEMMA), said)
    parts = {name: part.above for name, part in row.parts.items()}
    assert (parts["parse_failures"], parts["empty_turns"], parts["calls_exact"]) == (1.0, 0.0, 0.0)
    assert row.causes == (cause,)


@pytest.mark.parametrize("levels", [101, 300, 900])
def test_arguments_deeper_than_any_tool_takes_are_a_broken_call(levels: int) -> None:
    nested = '{"a": ' * levels + "1" + "}" * levels
    for said, expected in (
        (f'<tool_call>{{"name": "a", "arguments": {nested}}}</tool_call>', "<tool_call>"),
        (f'{{"agent": "a", "arguments": {nested}}}', '{"agent": "a", "arguments": {}}'),
    ):
        right = render([PLAY], Syntax.HERMES) if expected == "<tool_call>" else expected
        row = _row(right, said)
        assert row.parts["parse_failures"].above == 1.0
        assert row.causes[0] in ("broken call: nested too deeply", "broken call: not JSON")
        with pytest.raises(InputError, match="holds a call that is broken"):
            _row(said, "x")


def test_one_broken_call_beside_a_whole_one_leaves_no_call_that_counts() -> None:
    text = render([PLAY, LIGHT], Syntax.HERMES)
    found = _values(_row(text, text.removesuffix("</tool_call>")))
    assert (found["call_recall"], found["parse_failures"]) == (0.0, 1.0)
    assert "call_precision" not in found


def test_a_missing_answer_is_wrong_in_every_metric_that_knows_wrong() -> None:
    found = _values(_row(render([PLAY], Syntax.LLAMA), None))
    assert found == {
        **dict.fromkeys(("calls_exact", "tool", "arguments", "call_recall"), 0.0),
        "parse_failures": 1.0,
        "empty_turns": 0.0,
    }


def test_where_no_call_is_expected_a_call_is_wrong_and_text_or_nothing_is_right() -> None:
    assert _values(_row("I cannot do that.", "No.")) == dict.fromkeys(HIGHER[:3], 1.0) | {
        "parse_failures": 0.0
    }
    row = _row("I cannot do that.", render([PLAY], Syntax.HERMES))
    assert (_values(row)["tool"], _values(row)["call_precision"]) == (0.0, 0.0)
    assert row.causes == ("tool not expected: play",)
    assert _row("", "[1] says so").parts["calls_exact"].above == 1.0


def test_a_tool_that_is_not_offered_is_counted_over_the_calls_made() -> None:
    right, offered = render([PLAY, STOP], Syntax.HERMES), ("play", "stop", "light")

    def said(*calls: ToolCall, tools: tuple[str, ...] = offered) -> RowScores:
        text = render(calls, Syntax.HERMES)
        return SCORER.score(Answered("r", right, text, tools=tools))

    invented = replace(STOP, name="sing")
    row = said(PLAY, invented)
    assert _values(row)[OFFERED] == 0.5
    assert row.causes == ("tool missing: stop", "tool not offered: sing")
    # One that is offered but not expected is another mistake.
    other = said(PLAY, replace(STOP, name="light"))
    assert _values(other)[OFFERED] == 0.0
    assert other.causes == ("tool missing: stop", "tool not expected: light")
    assert _values(said(PLAY, STOP)) == PERFECT | {OFFERED: 0.0}
    assert _values(said(PLAY, invented), said(PLAY, STOP))[OFFERED] == 0.25
    # What is expected counts as offered; without a list, or a call, nothing is known.
    assert _values(said(PLAY, STOP, tools=("light",)))[OFFERED] == 0.0
    assert OFFERED not in _values(said(PLAY, invented, tools=()))
    assert OFFERED not in _values(SCORER.score(Answered("r", right, "text", tools=offered)))


@pytest.mark.parametrize(
    "said",
    [
        '<tool_call>{"name": "play", "arguments": {"n": 1, "n": 2}}</tool_call>',
        '<tool_call>{"name": "play", "name": "stop", "arguments": {}}</tool_call>',
        '{"name": "play", "parameters": {"a": {"n": 1, "n": 1}}}',
        '[{"function": {"name": "play", "arguments": "{\\"n\\": 1, \\"n\\": 2}"}}]',
        "<start_function_call>call:play{n:1,n:2}<end_function_call>",
        "<|tool_call>call:play{n:1,n:2}<tool_call|>",
    ],
)
def test_an_argument_that_is_there_twice_is_a_broken_call_in_every_syntax(said: str) -> None:
    row = SCORER.score(Answered("r", '[{"name": "play", "arguments": {"n": 2}}]', said))
    assert row.parts["parse_failures"].above == 1.0
    assert row.causes == ("broken call: an argument is there twice",)


def test_text_beside_whole_calls_is_allowed() -> None:
    text = render([PLAY], Syntax.HERMES)
    assert _values(_row(text, f"<think>\nMusic.\n</think>\n\n{text}<|im_end|>")) == PERFECT


def test_numbers_are_equal_by_value_and_true_is_no_number() -> None:
    def said(value: object) -> str:
        return json.dumps({"name": "a", "arguments": {"n": value}})

    row = Answered("r", f"<tool_call>{said(1)}</tool_call>", "")
    for value, right in ((1.0, 1.0), (True, 0.0), ("1", 0.0), (1.5, 0.0)):
        answer = replace(row, predicted=f"<tool_call>{said(value)}</tool_call>")
        assert SCORER.score(answer).parts["calls_exact"].above == right


# -------------------- forms of answers


def test_the_expected_answer_says_in_which_syntax_an_answer_is_read() -> None:
    hermes, gemma = render([PLAY], Syntax.HERMES), render([PLAY], Syntax.FUNCTIONGEMMA)
    assert _values(_row(hermes, gemma))["parse_failures"] == 1.0


def test_expected_calls_of_rows_in_openai_s_form_leave_the_syntax_to_the_answer() -> None:
    message = {"role": "assistant", "content": None}
    calls = json.loads(render([LIGHT, PLAY], Syntax.OPENAI))
    expected = json.dumps({**message, "tool_calls": calls})
    for syntax in Syntax:
        assert _values(_row(expected, render([LIGHT, PLAY], syntax))) == PERFECT
    only = CallsScorer(Syntax.HERMES)
    row = only.score(Answered("r", expected, render([LIGHT, PLAY], Syntax.LLAMA)))
    assert row.parts["parse_failures"].above == 1.0


def test_the_json_of_an_agent_is_read_as_a_call_of_it() -> None:
    expected = '{"agent": "billing", "arguments": {"n": 1}}'
    assert _values(_row(expected, '{"arguments": {"n": 1}, "agent": "billing"}<eos>')) == PERFECT
    twice = '{"agent": "billing", "agent": "billing", "arguments": {}}'
    assert _row(expected, twice).causes == ("broken call: an argument is there twice",)


@pytest.mark.parametrize("syntax", list(Syntax))
def test_a_form_is_told_from_calls_with_marks_of_others_in_their_strings(syntax: Syntax) -> None:
    marks = '<tool_call><start_function_call><|tool_call><|python_tag|>{"tool_calls": []}'
    calls = [ToolCall("play", {"name": marks, "agent": "x", "arguments": {"parameters": "y"}})]
    text = render(calls, syntax)
    assert form_of(text) is syntax
    assert read_answer(text, syntax).calls == tuple(calls)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"arguments": {"name": 1}, "agent": "a"}', AGENT_JSON),
        ('{"arguments": {}, "name": "a"}', Syntax.LLAMA),
        ('{"name": "a", "parameters": {', Syntax.LLAMA),
        ('[{"type": "function", "function"', Syntax.OPENAI),
        ('{"route_plan": ["/math(x)"]}', None),
        ("[]", None),
        ("plain", None),
    ],
)
def test_forms_of_json(text: str, form: object) -> None:
    assert form_of(text) == form


@pytest.mark.parametrize(
    "expected",
    [
        "<tool_call>{}</tool_call>",
        "<start_function_call>call:a{",
        '{"agent": 1, "arguments": {}}',
        '[{"name": "a", "arguments": "{"}]',
    ],
)
def test_a_broken_expected_call_is_the_users_mistake_and_names_the_row(expected: str) -> None:
    with pytest.raises(InputError, match="row 17: the expected answer holds a call"):
        SCORER.score(Answered("17", expected, "x"))


# -------------------- whatever a model may say

HOSTILE = [
    "\ud800",
    "[" * 1_000_000,
    '{"name": "a", "arguments": ' + '{"a": ' * 990 + "1" + "}" * 991,
    "<tool_call>" * 50_000,
    "<start_function_call>call:a{b:" + "{c:" * 100_000,
    '<tool_call>{"name": "a", "arguments": {"n": NaN}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"n": 1e999}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"n": ' + "1" * 5000 + "}}</tool_call>",
    '<tool_call>{"name": "a", "name": "b", "arguments": {"n": 1, "n": 2}}</tool_call>',
    '<tool_call>{"name": "' + "x" * 10_000 + '\\n\\u001b[2J", "arguments": {}}</tool_call>',
    "<start_function_call>call:a{n:" + "9" * 5000 + "}<end_function_call>",
    '{"agent": "a", "arguments": ' + "[" * 100_000,
    "null",
    "\0",
]


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_that_a_model_says_ends_the_scoring(said: str) -> None:
    for expected in (*(render([PLAY], syntax) for syntax in Syntax), "text", ""):
        row = _row(expected, said)
        assert all(0 <= part.above <= max(part.below, 1) for part in row.parts.values())
        assert all(len(cause) < 160 and cause.isprintable() for cause in row.causes)


@given(st.text())
def test_any_text_is_scored(said: str) -> None:
    for prefix in ("", "<tool_call>", '{"name": "a", "parameters": ', "<start_function_call>call:"):
        _row(render([PLAY], Syntax.HERMES), prefix + said)
        _row("", prefix + said)


# -------------------- properties

_NAMES = st.text("abcé_.-", min_size=1, max_size=4)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_CALLS = st.lists(
    st.builds(ToolCall, _NAMES, st.dictionaries(_NAMES, _VALUES, max_size=3)), max_size=3
)
_ROWS = st.lists(st.tuples(_CALLS, _CALLS | st.none()), min_size=1, max_size=6)


def _scored(
    rows: Sequence[tuple[Sequence[ToolCall], Sequence[ToolCall] | None]],
) -> list[RowScores]:
    found = []
    for number, (expected, said) in enumerate(rows):
        answer = None if said is None else render(said, Syntax.OPENAI)
        found.append(_row(render(expected, Syntax.OPENAI), answer, str(number)))
    return found


@settings(max_examples=20)  # every value has its interval drawn a thousand times
@given(_ROWS)
def test_values_are_shares_and_neither_order_nor_repetition_of_rows_moves_them(
    rows: list[tuple[list[ToolCall], list[ToolCall] | None]],
) -> None:
    scored = _scored(rows)
    values = _values(*scored)
    assert all(0 <= value <= 1 for value in values.values())
    turned = list(reversed(scored))
    assert _values(*turned) == pytest.approx(values)
    assert _values(*scored, *scored, *scored) == pytest.approx(values)


@settings(max_examples=50)
@given(_CALLS, st.sampled_from(list(Syntax)))
def test_every_answer_is_perfect_against_itself(calls: list[ToolCall], syntax: Syntax) -> None:
    try:
        text = render(calls, syntax)
    except CannotRender:
        return
    values = _values(_row(text, text))
    assert values == {name: PERFECT[name] for name in values}
    assert ("call_recall" in values) == bool(calls)


@given(_CALLS, _CALLS)
def test_exact_calls_have_their_tools_and_their_arguments(
    expected: list[ToolCall], said: list[ToolCall]
) -> None:
    (row,) = _scored([(expected, said)])
    parts = {name: part.above for name, part in row.parts.items()}
    assert parts["calls_exact"] <= min(parts["tool"], parts["arguments"])
    assert (parts["calls_exact"] == 1) == (row.causes == ())


@given(_VALUES, _VALUES)
def test_values_are_the_same_exactly_where_their_json_is_read_the_same(
    one: object, other: object
) -> None:
    assert same_json(one) == same_json(json.loads(json.dumps(one)))
    if json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True):
        assert same_json(one) == same_json(other)


# -------------------- slices


def test_rows_are_grouped_by_tool_and_by_how_many_calls_they_expect() -> None:
    rows = _scored([([PLAY], None), ([PLAY, PLAY], None), ([PLAY, STOP], None), ([], None)])
    assert [(row.slices["tool"], row.slices["calls"]) for row in rows] == [
        ("play", "one"),
        ("play", "parallel"),
        ("(several)", "parallel"),
        ("(none)", "none"),
    ]
    kept = SCORER.score(Answered("r", "", "", slices={"difficulty": "hard"}))
    assert kept.slices["difficulty"] == "hard"


def test_every_metric_says_what_it_is_in_one_sentence() -> None:
    for kind in SCORER.metrics:
        assert kind.meaning.endswith(".")
        assert kind.higher_is_better == (kind.name in HIGHER)
    assert {kind.name for kind in SCORER.metrics} == {*HIGHER, *LOWER, OFFERED}
