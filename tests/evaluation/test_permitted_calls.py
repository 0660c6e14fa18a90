"""Answers where several values are permitted: `orchestrator score --scorer bfcl`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.calls import Syntax, ToolCall, render
from orchestrator.errors import InputError
from orchestrator.evaluation.permitted_calls import (
    PermittedCallsScorer,
    is_permitted,
    loosely_same,
    nearest,
    read_permitted,
)
from orchestrator.evaluation.scores import Answered, RowScores

ANSWER = json.dumps(
    [
        {"play": {"artist": ["Bach", "J.S. Bach"], "loud": [True, ""], "n": [1]}},
        {"play": {"artist": ["Liszt"], "n": [2], "at": [{"h": [9, 10], "m": ["", 0]}]}},
    ]
)
BACH = ToolCall("play", {"artist": "Bach", "n": 1})
LISZT = ToolCall("play", {"artist": "Liszt", "n": 2, "at": {"h": 10}})


def scored(*calls: ToolCall, expected: str = ANSWER, text: str | None = None) -> RowScores:
    said = render(calls, Syntax.HERMES) if text is None else text
    return PermittedCallsScorer().score(Answered("r", expected, said))


def right(row: RowScores) -> tuple[float, float]:
    """As the leaderboard compares, and to the letter."""
    return row.parts["bfcl_correct"].above, row.parts["calls_exact"].above


@pytest.mark.parametrize(
    "calls",
    [
        (BACH, LISZT),
        (LISZT, BACH),
        (ToolCall("play", {"artist": "J.S. Bach", "loud": True, "n": 1}), LISZT),
        (BACH, ToolCall("play", {"artist": "Liszt", "n": 2, "at": {"h": 9, "m": 0}})),
        (BACH, ToolCall("play", {"artist": "Liszt", "n": 2.0, "at": {"h": 9}})),
    ],
)
def test_any_permitted_value_is_right_in_any_order(calls: tuple[ToolCall, ...]) -> None:
    row = scored(*calls)
    assert (right(row), row.causes) == ((1.0, 1.0), ())


@pytest.mark.parametrize(
    ("calls", "cause"),
    [
        ((BACH,), "tool missing: play"),
        ((BACH, LISZT, BACH), "tool called too often: play"),
        ((BACH, ToolCall("sing", LISZT.arguments)), "tool not expected: sing"),
        ((ToolCall("play", {"artist": "Bach"}), LISZT), "argument missing: play.n"),
        (
            (ToolCall("play", {**BACH.arguments, "loud": False}), LISZT),
            "argument differs: play.loud",
        ),
        (
            (ToolCall("play", {**BACH.arguments, "x": 1}), LISZT),
            "argument not expected: play.x",
        ),
        (
            (BACH, ToolCall("play", {**LISZT.arguments, "at": {"h": 11}})),
            "argument differs: play.at",
        ),
        ((ToolCall("play", {**BACH.arguments, "n": True}), LISZT), "argument differs: play.n"),
    ],
)
def test_what_is_not_permitted_is_wrong_and_says_why(
    calls: tuple[ToolCall, ...], cause: str
) -> None:
    row = scored(*calls)
    assert right(row) == (0.0, 0.0)
    assert cause in row.causes


@pytest.mark.parametrize("artist", ["BACH", "b a.c-h", "j. s. bach", "J_S/BACH"])
def test_case_spaces_and_punctuation_are_the_leaderboard_s_to_forgive(artist: str) -> None:
    row = scored(ToolCall("play", {"artist": artist, "n": 1}), LISZT)
    assert right(row) == (1.0, 0.0)
    assert row.causes == ("argument differs: play.artist",)


@pytest.mark.parametrize("syntax", list(Syntax))
def test_answers_are_read_in_whatever_syntax_they_show(syntax: Syntax) -> None:
    assert right(scored(text=render([BACH, LISZT], syntax))) == (1.0, 1.0)


def test_a_possible_answer_scored_against_itself_is_perfect() -> None:
    row = scored(text=ANSWER)
    assert (right(row), row.causes) == ((1.0, 1.0), ())


@pytest.mark.parametrize("said", ["no call", "", "<tool_call>{", "[" * 200_000, "[[]]", "\ud800"])
def test_whatever_a_model_says_is_scored(said: str) -> None:
    assert right(scored(text=said)) == (0.0, 0.0)


def test_where_no_call_is_permitted_text_is_right() -> None:
    assert right(scored(expected="[]", text="I cannot do that.")) == (1.0, 1.0)
    assert right(scored(BACH, expected="[]")) == (0.0, 0.0)


@pytest.mark.parametrize(
    "expected",
    ["", "{}", "[1]", '[{"a": 1}]', '[{"a": {"b": 1}}]', '[{"a": {}, "b": {}}]', "[" * 300],
)
def test_what_is_no_possible_answer_is_the_mistake_of_the_file(expected: str) -> None:
    with pytest.raises(InputError, match="row r: the expected answer is no possible answer"):
        scored(BACH, expected=expected)


_ARGUMENTS = st.dictionaries(
    st.sampled_from("abc"), st.lists(st.integers(0, 2), min_size=1, max_size=3), max_size=3
)
_PERMITTED = st.lists(st.tuples(st.sampled_from("fg"), _ARGUMENTS), max_size=3)


@given(_PERMITTED)
def test_every_choice_among_permitted_values_is_permitted(
    calls: list[tuple[str, dict[str, list[int]]]],
) -> None:
    permitted = read_permitted(json.dumps([{name: values} for name, values in calls]), "r")
    said = [ToolCall(name, {a: v[-1] for a, v in values.items()}) for name, values in calls]
    for key in (loosely_same, None):
        more = {} if key is None else {"key": key}
        if len(said) == 1:
            assert is_permitted(permitted, said, **more)
        assert is_permitted(permitted, nearest(permitted, ()), **more)
        assert not is_permitted(permitted, [*nearest(permitted, ()), ToolCall("h", {})], **more)
