"""Differences between what was expected and what was said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.differences import (
    LONGEST,
    Piece,
    cut,
    differences,
    laid_out,
    say_the_same,
)


def marked(expected: str, said: str) -> str:
    """The differences as text: `-missing-`, `+extra+`."""
    signs = {"same": "", "missing": "-", "extra": "+"}
    pieces = differences(*laid_out(expected, said))
    return "".join(f"{signs[p.kind]}{p.text}{signs[p.kind]}" for p in pieces)


def test_words_that_differ_are_marked() -> None:
    assert marked("call the code agent now", "call the math agent now please") == (
        "call the -code- +math+ agent now +please+"
    )


def test_white_space_is_no_difference() -> None:
    assert marked("a b\n\nc", "a  b c") == "a  b c"


def test_json_is_compared_by_what_it_says() -> None:
    expected = '{"tool": "/code", "steps": [1, 2], "note": "x"}'
    said = '{"steps":[1,3],\n"note":"x","tool":"/code"}'
    text = marked(expected, said)
    assert text.count("-") == text.count("+") == 2
    assert "-2-" in text
    assert "+3+" in text
    same = marked(expected, '{"note": "x", "steps": [1, 2], "tool": "/code"}')
    assert "-" not in same
    assert "+" not in same


def test_text_behind_json_is_extra_and_the_json_is_still_compared() -> None:
    text = marked('{"a": 1, "b": 2}', '{"b": 2, "a": 1} Have a nice day')
    assert text.endswith("+Have a nice day+")
    assert text.count("+") == 2
    assert "-" not in text


def test_an_answer_with_little_in_common_is_extra_as_a_whole() -> None:
    assert differences('{"plan": ["/code", "/math"]}', "I cannot do that") == (
        Piece("extra", "I cannot do that"),
    )


def test_nothing_said_misses_everything() -> None:
    assert [p.kind for p in differences("a b", "")] == ["missing"]
    assert differences("", "") == ()


def test_indents_are_not_marked() -> None:
    pieces = differences('{\n  "a": 1,\n  "b": 2\n}', '{\n  "a": 1\n}')
    assert all(not p.text[:1].isspace() for p in pieces if p.kind != "same")


def test_long_texts_are_cut_and_say_so() -> None:
    assert cut("x" * (LONGEST + 10)).endswith("(10 more characters)")
    assert cut("x" * LONGEST) == "x" * LONGEST


def test_what_differs_behind_the_cut_is_not_the_same() -> None:
    start = "word " * LONGEST
    assert laid_out(f"{start} one", f"{start} two") == (cut(start + " one"),) * 2
    assert not say_the_same(f"{start} one", f"{start} two")
    assert say_the_same(f"{start} one", f"{start}  one\n")


def test_a_key_that_stands_twice_is_no_json_that_is_as_expected() -> None:
    assert not say_the_same('{"a": 2}', '{"a": 1, "a": 2}')


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 3000, '{"a": ' * 50 + "1" + "}" * 50, "[NaN"]
)
def test_what_is_no_json_to_speak_of_is_compared_as_text(text: str) -> None:
    assert laid_out(text, "x")[0] == cut(text)


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_was_said_can_be_read_from_the_pieces(expected: str, said: str) -> None:
    pieces = differences(expected, said)
    shown = "".join(p.text for p in pieces if p.kind != "missing")
    assert "".join(shown.split()) == "".join(said.split())


@given(
    st.recursive(
        st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_json_that_says_the_same_has_no_differences(value: object) -> None:
    text = json.dumps([value], indent=1)
    again = json.dumps([value], separators=(",", ":"), ensure_ascii=False)
    assert {p.kind for p in differences(*laid_out(text, again))} <= {"same"}
