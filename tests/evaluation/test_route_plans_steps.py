"""The order of tools, and the likeness of what is asked of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evaluation.route_plan_reading import argument_of, named_in
from orchestrator.evaluation.route_plan_steps import order_kept, rouge_1, similarity

TOOLS = st.lists(st.sampled_from("abcd"), max_size=6)
WORDS = st.lists(st.sampled_from(["one", "Two", "three", "4", "five_six", "è"]), max_size=6)
STEPS = st.lists(st.tuples(st.sampled_from("ab"), WORDS.map(" ".join)), max_size=4)


def subsequences(sequence: Sequence[str]) -> set[tuple[str, ...]]:
    lengths = range(len(sequence) + 1)
    return {one for n in lengths for one in itertools.combinations(sequence, n)}


@given(TOOLS, TOOLS)
def test_the_order_is_the_longest_common_subsequence_through_what_is_shared(
    expected: list[str], said: list[str]
) -> None:
    shared = (Counter(expected) & Counter(said)).total()
    longest = max(map(len, subsequences(expected) & subsequences(said)))
    assert order_kept(expected, said) == (longest / shared if shared else 0)
    assert order_kept(expected, said) == order_kept(said, expected)


@given(TOOLS.filter(bool), st.data())
def test_steps_too_few_or_too_many_never_move_the_order(
    expected: list[str], data: st.DataObject
) -> None:
    fewer = [tool for tool in expected if data.draw(st.booleans())]
    assert order_kept(expected, fewer) == float(bool(fewer))
    more = [*expected]
    more.insert(data.draw(st.integers(0, len(more))), data.draw(st.sampled_from("abcdx")))
    assert order_kept(expected, more) == 1


@pytest.mark.parametrize(
    ("expected", "said", "value"),
    [
        ("abc", "abc", 1),
        ("abc", "acb", 2 / 3),
        ("abc", "cba", 1 / 3),
        ("abc", "xyz", 0),
        ("abc", "", 0),
        ("ab", "ba", 1 / 2),
    ],
)
def test_the_order_of_some_sequences(expected: str, said: str, value: float) -> None:
    assert order_kept(expected, said) == value


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ("Derive the update", "derive THE update!", 1),
        ("a b c d", "a b", 2 / 3),
        ("a a", "a", 2 / 3),
        ("tolerance 1.5", "tolerance 15", 2 / 5),
        ("snake_case", "snake case", 1),
        ("", "", 1),
        ("+", "+", 1),
        ("+", "-", 0),
        ("", "a", 0),
        ("für Übermut", "FÜR übermut", 1),
    ],
)
def test_rouge_1_of_some_texts(one: str, other: str, value: float) -> None:
    assert rouge_1(one, other) == pytest.approx(value)
    assert rouge_1(other, one) == rouge_1(one, other)


@given(st.text(st.characters(codec="ascii")), st.text(st.characters(codec="ascii")))
def test_rouge_1_agrees_with_the_package_rouge_score(one: str, other: str) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1"])
    theirs = scorer.score(one, other)["rouge1"].fmeasure
    # The reference gives nothing to two texts without a word; equal texts are alike here.
    assert rouge_1(one, other) == pytest.approx(1 if one == other else theirs)


@given(STEPS, STEPS)
def test_steps_are_paired_in_order_so_that_they_agree_best(
    expected: list[tuple[str, str]], said: list[tuple[str, str]]
) -> None:
    total, pairs = 0.0, 0
    for tool in "ab":
        ours = [argument for name, argument in expected if name == tool]
        theirs = [argument for name, argument in said if name == tool]
        few, many = sorted((ours, theirs), key=len)
        pairs += len(few)
        total += max(
            sum(rouge_1(one, other) for one, other in zip(few, chosen, strict=True))
            for chosen in itertools.combinations(many, len(few))
        )
    assert similarity(expected, said) == pytest.approx(total / pairs if pairs else 0)


@given(STEPS.filter(bool), st.data())
def test_dropping_a_step_never_moves_the_likeness_of_the_rest(
    steps: list[tuple[str, str]], data: st.DataObject
) -> None:
    fewer = [*steps]
    fewer.pop(data.draw(st.integers(0, len(steps) - 1)))
    assert similarity(steps, fewer) == (1 if fewer else 0)
    assert similarity(fewer, steps) == (1 if fewer else 0)


@pytest.mark.parametrize(
    ("step", "argument"),
    [
        ("/math(Derive f(x))", "Derive f(x)"),
        ("/math(Derive f(x)) ", "Derive f(x)"),
        (" /math (x)", "x"),
        ("/math(x", "x"),
        ("/math()", ""),
        ("/math", ""),
        ("", ""),
    ],
)
def test_the_argument_is_what_stands_between_the_outer_parentheses(
    step: str, argument: str
) -> None:
    assert argument_of(step) == argument


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("/math->/code", {"/math", "/code"}),
        ("ask /Math, then (/code).", {"/math", "/code"}),
        ("/maths and /code-review", set()),
        ("and/code, //math", set()),
        ("math and code", set()),
    ],
)
def test_a_tool_is_named_where_its_name_stands_alone(words: str, named: set[str]) -> None:
    assert named_in(words, ("/math", "/code")) == named
