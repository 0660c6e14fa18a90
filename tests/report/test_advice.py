"""Advice: every rule speaks where its threshold is passed, with its numbers, and not before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from orchestrator.evaluation.evidence import (
    AnswerFigures,
    CauseCount,
    ConditionFigures,
    Evidence,
    Figures,
    SliceFigures,
)
from orchestrator.ledger import Metric
from orchestrator.plan import Plan
from orchestrator.report.advice import advice_of
from orchestrator.report.advising import Advice
from orchestrator.report.curves import curve_plots
from tests.report.runs import METRIC, evidence, outcomes, router


@pytest.fixture
def plan() -> Plan:
    return router()


def said(
    plan: Plan,
    evaluation: Evidence | None = None,
    *,
    trained: bool = True,
    **curves: Sequence[float],
) -> dict[str, Advice]:
    """The advice by its name."""
    points = [
        Metric(name, step, value, step / 10)
        for name, values in curves.items()
        for step, value in enumerate(values, 1)
    ]
    found = advice_of(plan, curve_plots(points), evaluation, trained=trained)
    return {one.name: one for one in found}


STEADY = [2.0 * 0.93**n for n in range(20)]
SETTLED = [max(1.0, 2.0 - 0.1 * n) for n in range(40)]


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("converges too fast", [2.0, 0.3, *[0.2] * 28]),
        ("converges too slowly", [2.0 - 0.001 * n for n in range(30)]),
        ("stopped while it learned", STEADY),
        ("unstable", [*SETTLED[:30], 9.0, *SETTLED[31:]]),
    ],
)
def test_the_shape_of_the_loss_is_told_with_its_numbers(
    plan: Plan, name: str, loss: list[float]
) -> None:
    found = said(plan, loss=loss)
    assert list(found) == [name]
    assert any(char.isdigit() for char in found[name].seen)
    assert any(char.isdigit() for char in found[name].rule)


def test_a_loss_that_rises_is_not_said_to_fall(plan: Plan) -> None:
    found = said(plan, loss=[1.0 + step / 100 for step in range(20)])
    assert list(found) == ["does not converge"]
    assert "17 % more" in found["does not converge"].seen
    assert "higher learning rate" not in found["does not converge"].remedy


def test_a_loss_that_falls_and_settles_is_no_reason_for_advice(plan: Plan) -> None:
    assert said(plan, loss=SETTLED) == {}


@pytest.mark.parametrize(
    "loss", [[], [1.0], [1.0] * 9, [0.0] * 20, [-1.0 - n for n in range(20)], [1e-300] * 30]
)
def test_too_few_or_strange_points_raise_nothing(plan: Plan, loss: list[float]) -> None:
    assert set(said(plan, loss=loss)) <= {"converges too slowly"}


def test_a_training_that_goes_on_gets_no_advice(plan: Plan) -> None:
    assert said(plan, trained=False, loss=STEADY) == {}


def test_a_validation_loss_that_rises_again_says_where_to_stop(plan: Plan) -> None:
    found = said(plan, eval_loss=[1.0, 0.8, 0.841])["trained too long"]
    assert "0.841" in found.seen
    assert "0.800 at epoch 0.2" in found.seen
    assert "5 %" in found.rule
    assert said(plan, eval_loss=[1.0, 0.8, 0.839]) == {}


def test_who_should_stop_earlier_is_not_told_to_train_longer(plan: Plan) -> None:
    assert list(said(plan, loss=STEADY, eval_loss=[1.0, 0.5, 0.9])) == ["trained too long"]


def test_memorised_rows_show_in_the_gap_between_the_accuracies(plan: Plan) -> None:
    good, memorised = [0.5, 0.85], [0.5, 0.83]
    trained = [0.6, 0.985]
    found = said(plan, mean_token_accuracy=trained, eval_mean_token_accuracy=memorised)
    assert "0.985 on training rows, 0.830" in found["memorised"].seen
    assert said(plan, mean_token_accuracy=trained, eval_mean_token_accuracy=good) == {}
    assert said(plan, mean_token_accuracy=[0.97, 0.97], eval_mean_token_accuracy=[0.1, 0.1]) == {}


def tuned(value: float = 0.8, rows: int = 100, **changes: object) -> ConditionFigures:
    figures = (Figures(METRIC, value, value - 0.1, value + 0.1, rows),)
    plain = AnswerFigures(rows, 0, 0, rows, 1, 0)
    return replace(ConditionFigures("tuned", "", figures, (), (), plain), **changes)  # type: ignore[arg-type]


def of(*conditions: ConditionFigures, rows: int = 100) -> Evidence:
    return evidence(outcomes(), conditions=conditions, rows=rows, gates=())


def part(value: float, low: float, high: float, rows: int = 20) -> tuple[SliceFigures, ...]:
    return (
        SliceFigures("archetype", "four-step", rows, (Figures(METRIC, value, low, high, rows),)),
    )


def test_nothing_stands_out_of_a_good_evaluation(plan: Plan) -> None:
    assert said(plan, of(tuned())) == {}


def test_a_slice_is_weak_if_its_whole_interval_is_worse_than_all_rows(plan: Plan) -> None:
    found = said(plan, of(tuned(slices=part(0.4, 0.2, 0.79))))["weak classes"]
    assert "archetype: four-step (20 rows) 0.400 [0.200, 0.790]" in found.seen
    assert said(plan, of(tuned(slices=part(0.4, 0.2, 0.81)))) == {}
    assert said(plan, of(tuned(slices=part(0.0, 0.0, 0.5, rows=4)))) == {}


def test_where_lower_is_better_a_weak_slice_is_higher(plan: Plan) -> None:
    lower = evidence(outcomes()).kinds[0]
    both = [
        replace(of(tuned(slices=slices)), kinds=(replace(lower, better="lower"),))
        for slices in (part(0.95, 0.85, 0.99), part(0.4, 0.2, 0.6))
    ]
    assert [list(said(plan, one)) for one in both] == [["weak classes"], []]


def test_slices_that_tuning_made_worse_are_named(plan: Plan) -> None:
    base = replace(tuned(), name="base", slices=part(0.9, 0.7, 0.99))
    found = said(plan, of(tuned(slices=part(0.85, 0.6, 0.95)), base))
    assert "0.900 before, 0.850 after" in found["classes that tuning made worse"].seen


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("answers are cut off", lambda a: replace(a, cut=2), "2 of 100 answers (2 %)"),
        ("answers are empty", lambda a: replace(a, empty=3), "3 of 100 answers (3 %) are empty"),
        ("answers are missing", lambda a: replace(a, missing=9), "9 of 100 answers"),
        ("answers are alike", lambda a: replace(a, commonest_rows=50), "50 of 100 answers"),
    ],
)
def test_answers_that_are_strange_are_counted(
    plan: Plan, name: str, changed: Callable[[AnswerFigures], AnswerFigures], words: str
) -> None:
    condition = tuned()
    assert condition.answers is not None
    found = said(plan, of(replace(condition, answers=changed(condition.answers))))
    assert list(found) == [name]
    assert words in found[name].seen


def test_a_cause_of_every_tenth_row_stands_out(plan: Plan) -> None:
    found = said(plan, of(tuned(causes=(CauseCount("no JSON", 10, "k"), CauseCount("x", 1, "k")))))
    assert found["one cause stands out"].seen == "no JSON: 10 of 100 rows (10 %)"
    assert said(plan, of(tuned(causes=(CauseCount("no JSON", 9, "k"),)))) == {}


def test_few_rows_are_said_to_be_few(plan: Plan) -> None:
    assert list(said(plan, of(tuned(rows=49), rows=49))) == ["few rows were evaluated"]


def test_figures_that_are_not_known_are_no_reason_for_advice(plan: Plan) -> None:
    condition = tuned()
    assert condition.answers is not None
    unknown = replace(condition, answers=replace(condition.answers, cut=None))
    assert said(plan, of(unknown)) == {}
    assert said(plan, of(tuned(answers=None))) == {}
    assert said(plan, of()) == {}


def test_the_rate_is_told_where_it_may_be_the_reason(plan: Plan) -> None:
    found = said(plan, loss=[2.0, 0.3, *[0.2] * 28])["converges too fast"]
    assert f"learning rate {plan.hyperparameters.learning_rate:g}" in found.seen


@pytest.mark.parametrize(
    ("times", "is_told"), [(5.0, True), (4.9, False), (0.2, True), (0.3, False)]
)
def test_a_rate_far_from_the_baseline_is_told(plan: Plan, times: float, is_told: bool) -> None:
    hyper = plan.hyperparameters.model_copy(update={"learning_rate_multiplier": times})
    found = said(plan.model_copy(update={"hyperparameters": hyper}))
    assert list(found) == (["learning rate far from the baseline"] if is_told else [])


def test_rows_that_were_left_out_for_their_length_are_counted(plan: Plan) -> None:
    left_out = plan.data.left_out.model_copy(update={"too_long": 1})
    data = plan.data.model_copy(update={"rows": 50, "left_out": left_out})
    found = said(plan.model_copy(update={"data": data}))
    assert found["rows were too long"].seen == "1 of 50 rows (2 %) were left out"
    more = data.model_copy(update={"rows": 51})
    assert said(plan.model_copy(update={"data": more})) == {}
