r"""Final answers of mathematics: where they are asked for, and wherever they stand."""

from __future__ import annotations

import importlib
import json
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.evaluation import math_checking
from orchestrator.evaluation.math_answers import final_answer, letter_alone, letter_marked
from orchestrator.evaluation.math_latex import boxed
from orchestrator.evaluation.maths import FLEXIBLE, NO_ANSWER, STRICT, MathScorer
from orchestrator.evaluation.scores import Answered, RowScores, metrics_of
from tests.evaluation.hostile_answers import HOSTILE

pytest.importorskip("math_verify")
WRONG, LOOSE, RIGHT, NONE = (0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1)


@pytest.fixture(scope="module", autouse=True)
def _process_ended() -> Iterator[None]:
    yield
    math_checking.close()


def scored(expected: str, said: str | None) -> RowScores:
    return MathScorer().score(Answered("row 1", expected, said))


def values(expected: str, said: str | None) -> tuple[int, ...]:
    """Flexible, strict, no answer."""
    parts = scored(expected, said).parts
    return tuple(int(parts[kind.name].above) for kind in (FLEXIBLE, STRICT, NO_ANSWER))


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("72", r"So \boxed{72}."),
        ("72", "so\n#### 72\n"),
        ("72", r"\boxed{\$72.00}"),
        ("... #### 1,234", "#### 1234"),
        ("1234", r"\boxed{1{,}234}"),
        ("1234", r"#### 1\,234"),
        ("1000", "#### 1 000"),
        ("1/2", r"\boxed{\dfrac12}"),
        (r"\frac{1}{2}", "#### 0.5"),
        ("1/3", "#### 0.3333333"),
        ("0.3333333", "#### 1/3"),
        ("-1/3", r"\boxed{-\tfrac{1}{3}}"),
        ("2 1/2", r"\boxed{2.5}"),
        ("5", r"\boxed{5\text{ cm}}"),
        ("5 cm", "#### 5"),
        ("90", r"\boxed{90^\circ}"),
        ("50%", r"\boxed{0.5}"),
        ("50", "#### 50%"),
        ("5", r"\boxed{x = 5}"),
        ("sqrt(2)", r"\boxed{\sqrt{2}}"),
        ("pi/2", r"\boxed{\frac{\pi}{2}}"),
        ("1/4, 3", r"\boxed{3, \frac14}"),
        ("x^2-11x+28", r"\boxed{(x-4)(x-7)}"),
        ("(1,2)", r"\boxed{(1, 2)}"),
        ("B", r"\boxed{B}"),
        ("(B)", r"\boxed{\text{(B)}}"),
        ("B", "#### B) 42"),
        ("north", r"\boxed{\text{North}}"),
        ("no solution", r"\boxed{\text{No solution.}}"),
        ("-11", "#### \N{MINUS SIGN}11"),
    ],
)
def test_an_answer_where_it_is_asked_for_is_right_in_every_spelling(
    expected: str, said: str
) -> None:
    assert values(expected, said) == RIGHT
    assert scored(expected, said).causes == ()


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("72", "In all there are 3*24 = 72 apples."),
        ("1/3", r"Hence the answer is $\frac{2}{6}$."),
        ("2/3", "so it is 0.6666667"),
        ("25", "**Answer: 25%**"),
        ("B", "The answer is (B), as shown."),
        ("B", "A train goes on. So it must be B."),
        ("C", "(A) is wrong, (B) too, so (C)"),
        ("D", "Answer: **D**"),
        ("north", "The answer is north."),
        ("yes", "Let us see.\nYes."),
    ],
)
def test_the_last_answer_in_a_text_is_found_and_is_not_strict(expected: str, said: str) -> None:
    assert values(expected, said) == LOOSE
    assert scored(expected, said).causes == ("right, but not where the answer is asked for",)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("72", r"\boxed{73}"),
        ("72", "72 was wrong, so\n#### 71"),
        ("1/3", r"\boxed{0.33}"),
        ("1/4, 3", r"\boxed{3}"),
        ("B", r"\boxed{C}"),
        ("B", r"\boxed{42}"[:-3] + "D}"),
        ("north", r"\boxed{\text{thorn}}"),
        ("72", "It is 72. No, 71."),
    ],
)
def test_a_wrong_answer_is_wrong_everywhere(expected: str, said: str) -> None:
    assert values(expected, said) == WRONG
    assert scored(expected, said).causes == ("wrong answer",)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        *[(expected, said) for expected in ("72", "B", "north") for said in (None, "", " \n")],
        ("3", r"<think>so \boxed{3}</think>"),
        ("72", "no idea"),
        ("B", "no idea"),
        ("72", "\ud800"),
    ],
)
def test_no_answer_is_counted_apart(expected: str, said: str | None) -> None:
    assert values(expected, said) == NONE
    assert scored(expected, said).causes == ("no answer",)


@pytest.mark.parametrize(
    ("text", "final"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{1} then #### 2", "2"),
        (r"#### 2 then \boxed{1}", "1"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed 7", "7"),
        (r"\boxed{7", None),
        ("7", None),
        ("####", None),
    ],
)
def test_the_last_place_where_an_answer_is_asked_for_counts(text: str, final: str | None) -> None:
    assert final_answer(text) == final


def test_a_letter_is_not_the_article() -> None:
    assert letter_marked("A car. B it is, as A is no answer here") is None
    assert letter_alone("A car. B it is, as A is no answer here") == "B"
    assert letter_alone("A car and a bus") is None


@pytest.mark.parametrize("expected", ["", "  ", "$$", r"\boxed{}"])
def test_an_expected_answer_that_is_none_is_the_mistake_of_the_file(expected: str) -> None:
    with pytest.raises(InputError, match="row row 1: the expected answer"):
        scored(expected, "72")


def test_without_math_verify_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    math_checking.close()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert values("72", "#### 72") == RIGHT
    with pytest.raises(InputError, match="math-verify, which is not installed"):
        scored("1/3", r"\boxed{\frac13}")


def test_answers_are_compared_outside_the_main_thread_and_many_at_once() -> None:
    found: dict[int, tuple[int, ...]] = {}

    def work(number: int) -> None:
        found[number] = values(f"{number}/7", rf"\boxed{{\frac{{{number}}}{{7}}}}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 7)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=120)
    assert found == dict.fromkeys(range(1, 7), RIGHT)


def test_an_answer_that_is_too_much_ends_its_process_and_the_next_is_compared() -> None:
    assert scored("72", r"\boxed{((10!)!)!}").causes == ("answer too large to compare",)
    assert values("1/3", r"\boxed{\frac{2}{6}}") == RIGHT


class _Interrupted:
    """Answers that somebody stops waiting for."""

    def get(self, timeout: float) -> bytes:
        raise KeyboardInterrupt


def test_an_interrupted_question_leaves_no_answer_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert values("1/3", r"\boxed{\frac{2}{6}}") == RIGHT
    with monkeypatch.context() as patch:
        patch.setattr(math_checking._WORKER, "_answers", _Interrupted())
        with pytest.raises(KeyboardInterrupt):
            scored("1/7", r"\boxed{\frac{2}{14}}")
    assert values("1/3", r"\boxed{\frac{2}{7}}") == WRONG


def test_an_answer_that_takes_too_long_leaves_none_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert values("1/3", r"\boxed{\frac{2}{6}}") == RIGHT
    with monkeypatch.context() as patch:
        patch.setattr(math_checking, "ANSWER_TIMEOUT_S", 0.0)
        row = scored("1/7", r"\boxed{\frac{2}{14}}")
    assert row.causes == ("answer too large to compare",)
    assert values("1/3", r"\boxed{\frac{2}{7}}") == WRONG


@pytest.mark.slow
def test_fifty_hostile_answers_are_wrong_and_end() -> None:
    assert len(HOSTILE) == 50
    for said in HOSTILE:
        row = scored("72", said)
        assert row.parts[FLEXIBLE.name].above == 0
        assert row.causes
    assert values("1/3", r"\boxed{\frac{2}{6}}") == RIGHT


TEXTS = st.text(st.sampled_from("\\boxed{}#AB (72)$.,</think>\ud800\n"), max_size=40)


@settings(max_examples=100)
@given(TEXTS, st.sampled_from(["72", "B", "north"]))
def test_any_text_gets_a_value_and_what_is_strict_is_flexible(said: str, expected: str) -> None:
    flexible, strict, none = values(expected, said)
    assert strict <= flexible <= 1 - none


@settings(max_examples=25)
@given(st.fractions(min_value=-999, max_value=999, max_denominator=99))
def test_a_number_against_itself_is_perfect(number: Any) -> None:
    assert values(str(number), f"#### {number}") == RIGHT
    latex = rf"\boxed{{\frac{{{number.numerator}}}{{{number.denominator}}}}}"
    assert values(str(number), latex) == RIGHT


def test_the_scores_of_rows_come_to_shares() -> None:
    said = [r"\boxed{1}", "It is 2", "3", "none"]
    rows = [MathScorer().score(Answered(str(n), str(n), s)) for n, s in enumerate(said, start=1)]
    found = {one.name: one.value for one in metrics_of(MathScorer(), rows)}
    assert found == {"math_flexible": 0.75, "math_strict": 0.25, "no_answer": 0.25}


def _outside_answers() -> list[str]:
    if "ORCHESTRATOR_DATA" not in os.environ:
        pytest.skip("ORCHESTRATOR_DATA does not name outside data")
    file = Path(os.environ["ORCHESTRATOR_DATA"]) / "math" / "benchmarks.jsonl"
    return [json.loads(line)["answer"] for line in file.read_text(encoding="utf-8").splitlines()]


FORMS = [
    *("{}", "The answer is {}.", "#### {}", r"\boxed{{{}}}", r"So $\boxed{{{}}}$."),
    *("**{}**", "Therefore x = {}", "The final answer is ${}$. I hope it is correct."),
]


@pytest.mark.slow
def test_verdicts_on_outside_rows_are_those_of_math_verify() -> None:
    reference = importlib.import_module("math_verify")  # it has no types
    parse, verify = reference.parse, reference.verify
    answers = sorted(set(_outside_answers()))
    letters = [one for one in answers if one in "ABCDE"]
    numbers = [one for one in answers if one not in letters]
    assert (len(letters), len(numbers)) == (4, 275)
    draw = random.Random(0)  # noqa: S311 (repeatable, no secret)
    for expected in numbers:
        form = draw.choice(FORMS)
        for answer in (expected, draw.choice(numbers)):
            said = form.format(answer)
            right = verify(parse(expected), parse(said))
            assert values(expected, said)[0] == right, (expected, said)
    strings = [reference.StringExtractionConfig(strings=("A", "B", "C", "D", "E"))]
    for expected in letters:
        for answer in letters:
            for form in ("The answer is {}.", "{}", "Answer: {}", "So {}"):
                said = form.format(answer)
                right = verify(parse(expected, strings), parse(said, strings))
                assert values(expected, said)[0] == right, (expected, said)


def test_verdicts_on_gsm_symbolic_are_those_of_reasoning_gym() -> None:
    reasoning_gym = pytest.importorskip("reasoning_gym")
    data = reasoning_gym.create_dataset("gsm_symbolic", size=60, seed=7)
    for number, entry in enumerate(data):
        right = entry["answer"]
        for answer in (right, str(float(right) + 1 + number), f"{float(right):.3f}"):
            reference = data.score_answer(answer, entry) == 1.0
            assert values(right, f"#### {answer}") == (RIGHT if reference else WRONG)


def test_an_answer_is_boxed_as_latex() -> None:
    assert boxed("$50%$") == r"\boxed{50\%}"
    assert boxed("2**10") == r"\boxed{2^10}"
    assert boxed("12 345.") == r"\boxed{12345}"
