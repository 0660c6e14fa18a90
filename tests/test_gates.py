"""Gates hold what does not reach them, and say why in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from orchestrator.evaluation.evidence import AnswerFigures, Figures, GateVerdict
from orchestrator.evaluation.scores import MetricKind, Part, RowScores, yes
from orchestrator.gates import alarms, failures, judge
from orchestrator.spec import GateBlock

RIGHT = MetricKind("right", "The share of rows that are right.")
WRONG = MetricKind("wrong", "The share of rows that are wrong.", higher_is_better=False)


def rows(right: Sequence[bool], part: str = "a") -> list[RowScores]:
    return [
        RowScores(f"r{n:03}", {"right": yes(one), "wrong": yes(not one)}, {"kind": part})
        for n, one in enumerate(right)
    ]


def verdict(gate: GateBlock, tuned: list[RowScores], **others: list[RowScores]) -> GateVerdict:
    scored = {"tuned": tuned, **{name.replace("_", "-"): them for name, them in others.items()}}
    return judge([gate], [RIGHT, WRONG], scored)[0]


@pytest.mark.parametrize(("share", "passes"), [(0.8, True), (0.9, True), (0.7, False)])
def test_a_gate_with_a_least_value_holds_what_is_below_it(share: float, passes: bool) -> None:
    tuned = rows([n < share * 10 for n in range(10)])
    found = verdict(GateBlock(metric="right", min=0.8), tuned)
    assert found.passed is passes
    assert f"{share:.3f}" in found.words
    assert "at least 0.8 wanted" in found.words
    assert found.rows == 10


@pytest.mark.parametrize(("share", "passes"), [(0.8, True), (0.7, False)])
def test_a_gate_with_a_highest_value_holds_what_is_above_it(share: float, passes: bool) -> None:
    tuned = rows([n < share * 10 for n in range(10)])
    assert verdict(GateBlock(metric="wrong", max=0.2), tuned).passed is passes


def test_a_metric_that_no_row_counts_for_fails_its_gate() -> None:
    found = verdict(GateBlock(metric="unheard", min=0.0), rows([True] * 5))
    assert not found.passed
    assert "is not there" in found.words
    found = verdict(GateBlock(metric="right", slice={"kind": "z"}, min=0.0), rows([True] * 5))
    assert not found.passed
    assert "right of kind: z is not there" in found.words


def test_a_value_that_is_no_number_passes_no_gate() -> None:
    tuned = [RowScores("r", {"right": Part(math.nan)}, {})]
    for gate in (GateBlock(metric="right", min=-1e9), GateBlock(metric="right", max=1e9)):
        assert not verdict(gate, tuned).passed


def test_a_gate_of_a_slice_looks_at_its_rows_alone() -> None:
    tuned = rows([True] * 8, "a") + [
        RowScores(f"s{n}", {"right": yes(False)}, {"kind": "b"}) for n in range(4)
    ]
    assert verdict(GateBlock(metric="right", slice={"kind": "a"}, min=1.0), tuned).passed
    assert not verdict(GateBlock(metric="right", slice={"kind": "b"}, min=0.1), tuned).passed


def test_better_than_wants_to_be_sure_row_by_row() -> None:
    gate = GateBlock(metric="right", better_than="base")
    half = [n % 2 == 0 for n in range(20)]
    gained = [one or n in (1, 3, 5, 7, 9, 11) for n, one in enumerate(half)]
    surely = verdict(gate, rows(gained), base=rows(half))
    assert surely.passed
    assert "+0.300 against base over 20 rows (p = 0.016" in surely.words
    barely = [one or n in (1, 3) for n, one in enumerate(half)]
    assert not verdict(gate, rows(barely), base=rows(half)).passed
    assert not verdict(gate, rows(half), base=rows(half)).passed
    assert not verdict(gate, rows(half), base=rows(gained)).passed


def test_a_comparison_with_answers_that_are_not_there_fails() -> None:
    for name in ("base", "few-shot", "published", "constant", "majority"):
        gate = GateBlock.model_validate({"metric": "right", "better_than": name})
        found = verdict(gate, rows([True] * 9))
        assert not found.passed
        assert f"no answers of {name}" in found.words


def test_what_is_published_need_not_be_beaten_where_nothing_is() -> None:
    gate = GateBlock(metric="right", better_than="published")
    (found,) = judge([gate], [RIGHT], {"tuned": rows([True])}, nothing_published=True)
    assert found.passed
    assert "nothing is published yet" in found.words


def test_one_part_of_a_gate_that_fails_fails_it() -> None:
    gate = GateBlock(metric="right", min=0.5, better_than="base")
    found = verdict(gate, rows([True] * 6), base=rows([True] * 6))
    assert not found.passed
    assert "at least" not in found.words


FEW = AnswerFigures(rows=20, missing=0, empty=0, different=20, commonest_rows=1)
EXPECTED = [f"answer {n}" for n in range(20)]


def test_learning_by_heart_raises_an_alarm() -> None:
    scored = {"tuned": rows([False] * 20)}
    (found,) = alarms(RIGHT, scored, FEW, EXPECTED, 0.995)
    assert found.name == "memorised"
    assert "99.5%" in found.words
    assert alarms(RIGHT, scored, FEW, EXPECTED, 0.9) == ()
    assert alarms(RIGHT, scored, FEW, EXPECTED, None) == ()
    assert alarms(RIGHT, {"tuned": rows([True] * 20)}, FEW, EXPECTED, 0.995) == ()


def test_being_surely_worse_than_the_untuned_model_raises_an_alarm() -> None:
    base = rows([True] * 20)
    (found,) = alarms(RIGHT, {"tuned": rows([False] * 20), "base": base}, FEW, EXPECTED, None)
    assert found.name == "worse-than-base"
    assert "by 1.000 over 20 rows" in found.words
    nearly = rows([False, False] + [True] * 18)
    assert alarms(RIGHT, {"tuned": nearly, "base": base}, FEW, EXPECTED, None) == ()


def test_answers_that_are_all_alike_raise_an_alarm_unless_they_should_be() -> None:
    alike = AnswerFigures(rows=20, missing=0, empty=0, different=3, commonest_rows=18)
    scored = {"tuned": rows([True] * 20)}
    (found,) = alarms(RIGHT, scored, alike, EXPECTED, None)
    assert found.name == "alike"
    assert "18 of 20 answers are one and the same" in found.words
    assert alarms(RIGHT, scored, alike, ["the same"] * 18 + ["a", "b"], None) == ()
    few = AnswerFigures(rows=5, missing=0, empty=0, different=1, commonest_rows=5)
    assert alarms(RIGHT, scored, few, EXPECTED[:5], None) == ()


def test_alarms_hold_a_run_that_has_gates_and_are_told_of_one_that_has_none() -> None:
    alike = AnswerFigures(rows=20, missing=0, empty=0, different=1, commonest_rows=20)
    tuned = rows([True] * 20)
    found = alarms(RIGHT, {"tuned": tuned}, alike, EXPECTED, None)
    passed = judge([GateBlock(metric="right", min=0.5)], [RIGHT], {"tuned": tuned})
    assert [one.split(":")[0] for one in failures(passed, found)] == ["alarm alike"]
    assert list(failures((), found)) == []


def test_what_people_gave_can_be_a_gate_which_fails_until_they_have() -> None:
    gate = GateBlock(metric="audit_mean", min=3.5)
    (unheard,) = judge([gate], [RIGHT], {"tuned": rows([True])})
    assert not unheard.passed
    assert "nobody has scored answers" in unheard.words
    for mean, passes in ((3.5, True), (3.4, False), (float("nan"), False)):
        figures = Figures("audit_mean", mean, 3.0, 4.0, 30)
        (found,) = judge([gate], [RIGHT], {"tuned": rows([True])}, audited=figures)
        assert found.passed is passes
        assert "of 30 rows that people scored, at least 3.5 wanted" in found.words


def test_a_gate_of_people_waits_until_all_that_were_drawn_are_scored() -> None:
    gate = GateBlock(metric="audit_mean", min=3.5)
    one = Figures("audit_mean", 5.0, 5.0, 5.0, 1)
    (found,) = judge([gate], [RIGHT], {"tuned": rows([True])}, audited=one, unscored_rows=29)
    assert not found.passed
    assert "29 more were drawn, and nobody has scored them" in found.words
