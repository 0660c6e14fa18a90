"""What answers that call one agent are worth."""

from __future__ import annotations

import pytest

from orchestrator.calls import Syntax, ToolCall, render
from orchestrator.evaluation.routing import (
    constant_call,
    majority_agent,
    read_call,
    score,
    score_constant,
    score_row,
)

CRASH = ToolCall("technical", {"issue": "crash", "priority": "high"})
REFUND = ToolCall("billing", {"request": "refund"})
INVOICE = ToolCall("billing", {"request": "invoice"})
RIGHT = '{"agent": "technical", "arguments": {"issue": "crash", "priority": "high"}}'


def test_a_right_call_is_exact_whatever_the_order_of_its_arguments() -> None:
    turned = '{"arguments": {"priority": "high", "issue": "crash"}, "agent": "technical"}'
    for answer in (RIGHT, turned, f" {RIGHT}\n<|im_end|>\n"):
        row = score_row(CRASH, answer)
        assert (row.parsed, row.agent_right, row.arguments_right, row.exact) == (True,) * 4


def test_the_right_agent_with_a_wrong_argument_is_half_right() -> None:
    row = score_row(CRASH, RIGHT.replace("high", "low"))
    assert (row.agent, row.agent_right, row.arguments_right, row.exact) == (
        *("technical", True),
        *(False, False),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        '{"issue": "crash"}',
        '{"issue": "crash", "priority": "high", "more": 1}',
        '{"issue": "Crash", "priority": "high"}',
    ],
)
def test_missing_added_and_misspelt_arguments_are_wrong(arguments: str) -> None:
    answer = f'{{"agent": "technical", "arguments": {arguments}}}'
    assert not score_row(CRASH, answer).arguments_right


def test_right_arguments_of_another_agent_are_not_right() -> None:
    row = score_row(CRASH, RIGHT.replace("technical", "billing"))
    assert (row.agent, row.agent_right, row.arguments_right) == ("billing", False, False)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "technical",
        f"Sure! {RIGHT}",
        f"{RIGHT} {RIGHT}",
        RIGHT[:-1],
        f"[{RIGHT}]",
        '{"agent": "technical"}',
        '{"agent": "technical", "arguments": {}, "why": "it crashed"}',
        '{"agent": ["technical"], "arguments": {}}',
        '{"agent": "technical", "arguments": "crash"}',
        '{"agent": "billing", "agent": "technical", "arguments": {}}',
        '{"agent": "technical", "arguments": {"n": NaN}}',
        "[" * 100_000,
    ],
)
def test_what_is_not_one_call_and_nothing_else_is_no_answer(answer: str) -> None:
    row = score_row(CRASH, answer)
    assert (row.parsed, row.agent, row.agent_right, row.exact) == (False, None, False, False)


def test_true_is_not_one() -> None:
    assert not score_row(ToolCall("a", {"n": 1}), '{"agent": "a", "arguments": {"n": true}}').exact


@pytest.mark.parametrize("syntax", list(Syntax))
def test_answers_in_the_syntax_of_a_model_are_read_in_it(syntax: Syntax) -> None:
    answer = render([CRASH], syntax)
    assert read_call(answer, syntax) == CRASH
    assert score_row(CRASH, answer, syntax).exact
    assert read_call(answer) is None


def test_two_calls_and_text_beside_a_call_are_no_answer_in_any_syntax() -> None:
    two = render([CRASH, REFUND], Syntax.HERMES)
    beside = "I will route this. " + render([CRASH], Syntax.HERMES)
    assert read_call(two, Syntax.HERMES) is None
    assert read_call(beside, Syntax.HERMES) is None


def test_scores_are_counted_in_all_and_by_the_expected_agent() -> None:
    wrong = '{"agent": "technical", "arguments": {"issue": "sync"}}'
    refund = '{"agent": "billing", "arguments": {"request": "refund"}}'
    found = score([CRASH, CRASH, REFUND, INVOICE], [RIGHT, "?", wrong, refund])
    assert [one.right for one in (found.parsed, found.agent, found.exact)] == [3, 2, 1]
    by_agent = [(name, a.right, e.right, a.rows) for name, a, e in found.by_agent]
    assert by_agent == [("billing", 1, 0, 2), ("technical", 1, 1, 2)]


def test_every_row_needs_an_answer_and_there_must_be_rows() -> None:
    with pytest.raises(ValueError, match="shorter"):
        score([CRASH, REFUND], [RIGHT])
    with pytest.raises(ValueError, match="no rows"):
        score([], [])


def test_the_baselines_come_from_the_training_rows() -> None:
    # The commonest call and the commonest agent need not go together.
    train = [CRASH, CRASH, REFUND, INVOICE, ToolCall("billing", {"request": "upgrade"})]
    assert constant_call(train) == CRASH
    assert majority_agent(train).name == "billing"
    found = score_constant([CRASH, REFUND, CRASH], constant_call(train))
    assert (found.agent.right, found.exact.right) == (2, 2)


def test_a_tie_is_decided_the_same_way_whatever_came_first() -> None:
    assert constant_call([REFUND, INVOICE]) == constant_call([INVOICE, REFUND])
    assert majority_agent([REFUND, CRASH]).name == majority_agent([CRASH, REFUND]).name
