r"""Answers of mathematics in other spellings: words, units, options, intervals, nested boxes."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evaluation import math_checking
from orchestrator.evaluation.math_answers import after_thought, final_answer, letter, number
from orchestrator.evaluation.math_latex import as_fractions, boxed, typed
from orchestrator.evaluation.math_options import options_in
from orchestrator.evaluation.math_words import last_spelled, spelled
from orchestrator.evaluation.maths import FLEXIBLE, NO_ANSWER, STRICT, MathScorer
from orchestrator.evaluation.scores import Answered, RowScores

pytest.importorskip("math_verify")
WRONG, LOOSE, RIGHT, NONE = (0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1)
#: As AQuA-RAT writes options in its README, MathQA in its files, and MathBench in the prompt.
AQUA = "A grocery sells ice.\nA)125\nB)150\nC)225\nD)250\nE)275"
MATHQA = "what would have been the profit ? a ) 38 , b ) 27.675 , c ) 30 , d ) data inadequate"
MATHBENCH = (
    "What is the probability?\n\n\nOptions:\nA. \\frac{2}{3}\nB. \\frac{3}{5}\nC. 0.75\nD. 1/2"
)


@pytest.fixture(scope="module", autouse=True)
def _process_ended() -> Iterator[None]:
    yield
    math_checking.close()


def scored(expected: str, said: str, prompt: str = "") -> RowScores:
    return MathScorer().score(Answered("row 1", expected, said, prompt))


def values(expected: str, said: str, prompt: str = "") -> tuple[int, ...]:
    """Flexible, strict, no answer."""
    parts = scored(expected, said, prompt).parts
    return tuple(int(parts[kind.name].above) for kind in (FLEXIBLE, STRICT, NO_ANSWER))


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        # numbers in words
        ("12", "#### twelve"),
        ("12", r"\boxed{\text{twelve apples}}"),
        ("twelve", "#### 12"),
        ("105", "#### one hundred and five"),
        # units, also through each other, and thousands
        ("72", r"\boxed{72 km/h}"),
        ("72 km/h", "#### 72"),
        ("12 square feet", r"\boxed{\text{12 square feet}}"),
        ("9", "#### 9 m/s^2"),
        ("90", "#### 90°"),
        ("1000", "#### 1\N{NARROW NO-BREAK SPACE}000"),
        ("1000", r"\boxed{1'000}"),
        ("1500", "#### 1.5e3"),
        ("5%", "#### 5 %"),
        # mixed numbers and single characters
        ("1 3/4", "#### 7/4"),
        ("7/4", "#### 1¾"),
        ("-2.5", "#### -2 1/2"),
        ("1/2", r"\boxed{½}"),
        ("x^2", r"\boxed{x²}"),
        # boxes in boxes
        ("1/2", r"\boxed{\frac{1}{\boxed{2}}}"),
        ("5", r"\boxed{\boxed{5}}"),
        # intervals and sets
        ("[2,5)", "#### [2, 5)"),
        ("[2,5)", r"\boxed{x \in [2, 5)}"),
        (r"(-\infty,2)\cup(3,\infty)", "#### (-inf, 2) U (3, inf)"),
        (r"(-\infty,2)", "#### (-∞, 2)"),
        (r"\{1,2,3\}", "#### {3, 2, 1}"),
        ("3, 5", "#### 5 and 3"),
        # lists of words, in their order
        ("monday, tuesday", r"\boxed{\text{Monday and Tuesday}}"),
        ("red, green, and blue", "#### Red; green; blue"),
        # letters with their value
        ("E", "#### E)125"),
        ("A", r"\boxed{a ) 38}"),
        ("B", r"\boxed{b}"),
        ("b)", "#### B"),
    ],
)
def test_an_answer_is_right_in_every_spelling(expected: str, said: str) -> None:
    assert values(expected, said) == RIGHT


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("12", "There are twelve apples."),
        ("12", "The answer is twelve."),
        ("1", "The answer is one."),
        ("7/4", "So it takes 1 3/4 hours."),
        ("2.5", "It is 2½."),
        ("[2,5)", "The answer is [2, 5)"),
        (r"\{1,2\}", "So the set is\n{2, 1}"),
        ("1500", "About 1.5e3"),
        ("monday, tuesday", "The answer is Monday and Tuesday."),
        ("C", "The correct option is c)."),
    ],
)
def test_the_end_of_a_text_is_read_in_every_spelling(expected: str, said: str) -> None:
    assert values(expected, said) == LOOSE


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("12", "#### thirteen"),
        ("12", "#### twelve hundred"),
        ("monday, tuesday", "#### Tuesday, Monday"),
        ("no", "#### on"),
        ("[2,5)", "#### (2, 5)"),
        ("[2,5)", "The answer is [2, 5]"),
        ("(1,2)", "#### (2,1)"),
        ("2", "#### 2x"),
        ("2", "#### 2 pi"),
        ("25", "#### 2 5"),
        ("3/4", "#### 1 3/4"),
        ("7/4", "So it takes 1 5/4 hours."),
    ],
)
def test_another_answer_stays_wrong_in_every_spelling(expected: str, said: str) -> None:
    assert values(expected, said) == WRONG


@pytest.mark.parametrize("said", ["No one knows.", "One of them is wrong.", "zero two", "and and"])
def test_words_that_are_no_number_are_no_answer(said: str) -> None:
    assert values("1", said) == NONE


# -------------------- options


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        (AQUA, {"A": "125", "B": "150", "C": "225", "D": "250", "E": "275"}),
        (MATHQA, {"A": "38", "B": "27.675", "C": "30", "D": "data inadequate"}),
        (MATHBENCH, {"A": "\\frac{2}{3}", "B": "\\frac{3}{5}", "C": "0.75", "D": "1/2"}),
        ("Which?\n(A) 3\n(B) 4\n\nThink.", {"A": "3", "B": "4"}),
        ("Which? (A) 3 (B) 4 (C) 5", {"A": "3", "B": "4", "C": "5"}),
        ("['a ) rs . 400', 'b ) rs . 300', 'c ) 5']", {"A": "rs . 400", "B": "rs . 300", "C": "5"}),
        ("a ) 1,000 , b ) 2,000 , c ) 3,000", {"A": "1,000", "B": "2,000", "C": "3,000"}),
        ("(a) Find x. (b) Find y.", {}),
        ("A. Smith has 3 apples.", {}),
        ("B. 3\nC. 4", {}),
        ("", {}),
    ],
)
def test_options_are_read_from_the_question(prompt: str, options: dict[str, str]) -> None:
    assert options_in(prompt) == options


def test_the_last_list_of_options_counts() -> None:
    shots = f"{AQUA}\nAnswer: A\n\n{MATHBENCH}"
    assert options_in(shots)["A"] == "\\frac{2}{3}"


@pytest.mark.parametrize(
    ("prompt", "expected", "said"),
    [
        (AQUA, "A", r"\boxed{125}"),
        (AQUA, "A", "#### $125"),
        (AQUA, "125", "#### A"),
        (MATHQA, "D", "#### data inadequate"),
        (MATHQA, "A", r"\boxed{38\%}"[:-3] + "}"),
        (MATHBENCH, "D", r"\boxed{\frac12}"),
        (MATHBENCH, "C", "#### 3/4"),
        (AQUA, "A", "In all 500 * 0.25 makes\n125"),
        (MATHQA, "D", "The answer is data inadequate."),
    ],
)
def test_the_value_of_the_right_option_is_right_but_not_strictly(
    prompt: str, expected: str, said: str
) -> None:
    assert values(expected, said, prompt) == LOOSE
    if "#" in said or "boxed" in said:
        assert scored(expected, said, prompt).causes == (
            "right, but the value for the letter, or the letter for the value",
        )


@pytest.mark.parametrize(
    ("prompt", "expected", "said"),
    [
        (AQUA, "A", r"\boxed{150}"),
        (AQUA, "A", "#### B) 125"),
        (AQUA, "A", "It costs 125. The answer is B."),
        (MATHBENCH, "A", r"\boxed{\frac12}"),
        (AQUA, "125", "#### B"),
        ("", "A", "#### 125"),
    ],
)
def test_another_option_is_wrong_and_a_letter_goes_before_a_value(
    prompt: str, expected: str, said: str
) -> None:
    assert values(expected, said, prompt)[:2] == (0, 0)


def test_a_small_letter_that_is_an_option_s_value_is_no_letter_of_one() -> None:
    prompt = "What is the derivative?\nA. $a^x$\nB. $2a$\nC. $a$\nD. 1"
    assert values("C", r"\boxed{a}", prompt) == LOOSE
    assert values("A", r"\boxed{a}", prompt) == WRONG
    assert values("A", r"\boxed{A}", prompt) == RIGHT
    assert values("A", r"\boxed{a}") == RIGHT


def test_of_two_options_that_read_alike_the_one_that_was_said_counts() -> None:
    prompt = "Which?\nA. a, b\nB. b, a\nC. 2 per day\nD. 2 per hour"
    assert values("A", "#### b, a", prompt)[0] == 0
    assert values("C", "#### 2 per hour", prompt)[0] == 0
    assert values("B", "#### b, a", prompt) == LOOSE


# -------------------- pieces


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("so 3</think> 4", "4"),
        ("<think>so 3</think> 4", "4"),
        ("<think>so \\boxed{3}", ""),
        ("7 <think>or 8?", "7"),
        ("a</think>b</think>c", "c"),
    ],
)
def test_a_thought_is_no_answer_wherever_its_marks_are(text: str, after: str) -> None:
    assert after_thought(text) == after


@pytest.mark.parametrize(
    ("text", "final"),
    [
        (r"\boxed{\boxed{5}}", "{5}"),
        (r"\boxed{1} and \boxed{\frac{\boxed{2}}{3}}", r"\frac{{2}}{3}"),
        (r"\boxed{1} and \boxed{2", None),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"\boxedtext{1}", None),
        ("\\boxed{" * 20_000, None),
        ("\\boxed{1}" * 20_000, "1"),
    ],
)
def test_the_outermost_of_nested_boxes_counts(text: str, final: str | None) -> None:
    assert final_answer(text) == final


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("zero", 0),
        ("Twenty-one", 21),
        ("one hundred", 100),
        ("nine hundred and ninety-nine thousand, nine hundred ninety-nine", 999_999),
        ("two million three", 2_000_003),
        ("hundred", None),
        ("twenty eleven", None),
        ("one two", None),
        ("five and", None),
        ("one thousand million", None),
        ("one thousand two million", None),
        ("twelve apples", None),
        ("", None),
    ],
)
def test_numbers_in_words(text: str, value: int | None) -> None:
    assert spelled(text) == value


_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)


@given(st.integers(0, 10**9 - 1))
def test_every_number_in_words_is_read(value: int) -> None:
    assert spelled(_in_words(value)) == value
    assert last_spelled(f"So there are {_in_words(value)} of them") == (
        value if value != 1 else None
    )


_SMALL = _WORDS.split()


def _in_words(value: int) -> str:
    small = _SMALL
    tens = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    if value < 20:
        return small[value]
    if value < 100:
        rest = f"-{small[value % 10]}" if value % 10 else ""
        return tens[value // 10] + rest
    for scale, word in ((10**6, "million"), (10**3, "thousand"), (100, "hundred")):
        if value >= scale:
            rest = f" {_in_words(value % scale)}" if value % scale else ""
            return f"{_in_words(value // scale)} {word}{rest}"
    raise AssertionError(value)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        *(("12 apples", 12), ("72 km/h", 72), ("9 m/s^2", 9), ("2 x", None), ("2 pi", None)),
        *(("3 and 5", None), ("5 or more", None), ("4 12", None), ("twelve", 12), ("m/s", None)),
    ],
)
def test_a_unit_is_what_stands_behind_a_space(answer: str, value: int | None) -> None:
    assert number(answer) == value


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        *(("B", "B"), ("(b)", "B"), ("E)125", "E"), ("a ) 38", "A"), ("B. 42", "B")),
        *(("C.5", None), ("Bob", None), ("apple", None), ("F", None), ("", None)),
    ],
)
def test_a_final_letter_may_be_followed_by_its_value(answer: str, found: str | None) -> None:
    assert letter(answer) == found


def test_typography_is_plain_and_mixed_numbers_are_fractions() -> None:
    assert typed("2½ and 1e-3, 10\N{NO-BREAK SPACE}000") == "2 1/2 and 0.001, 10000"
    assert typed("1e99 x1e2 1.5e+3") == f"{10**99} x1e2 1500"
    assert as_fractions("2 1/2, -1 3/4 and 2 5/2, 1/2") == "5/2, -7/4 and 2 5/2, 1/2"
    assert boxed("√2 ≤ x") == r"\boxed{\sqrt{2} \le  x}"


@given(st.text(st.sampled_from("0123456789e+-./ ½⅞ \N{NO-BREAK SPACE}'"), max_size=40))
def test_no_text_breaks_the_pieces(text: str) -> None:
    boxed(as_fractions(typed(text)))
    number(text)
    last_spelled(text)
    options_in(text)


# -------------------- outside rows


def outside_rows() -> list[dict[str, Any]]:
    if "ORCHESTRATOR_DATA" not in os.environ:
        pytest.skip("ORCHESTRATOR_DATA does not name outside data")
    file = Path(os.environ["ORCHESTRATOR_DATA"]) / "math" / "benchmarks.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_outside_questions_with_a_letter_show_that_option() -> None:
    rows = [row for row in outside_rows() if row["answer"] in "ABCDE"]
    assert len(rows) == 1112
    for row in rows:
        options = options_in(row["body"]["messages"][-1]["content"])
        assert [*options] == ["A", "B", "C", "D"], row
        assert row["answer"] in options


@pytest.mark.slow
def test_the_value_of_an_outside_option_is_right_and_that_of_another_is_not() -> None:
    draw = random.Random(1)  # noqa: S311 (repeatable, no secret)
    rows = [row for row in outside_rows() if row["answer"] in "ABCDE"]
    counts = {"right": 0, "other": 0}
    sample = draw.sample(rows, 200)
    for row in sample:
        prompt = row["body"]["messages"][-1]["content"]
        options = options_in(prompt)
        other = draw.choice([one for one in options if one != row["answer"]])
        counts["right"] += values(row["answer"], f"#### {options[row['answer']]}", prompt)[0]
        counts["other"] += values(row["answer"], f"#### {options[other]}", prompt)[0]
    assert counts["right"] >= 0.97 * len(sample), counts
    assert counts["other"] <= 0.02 * len(sample), counts
