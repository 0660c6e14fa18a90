"""Gates beside an outside library, in both directions, and on figures that are no numbers."""

from __future__ import annotations

import json
import math
import random

import pytest

from orchestrator.evaluation.evidence import (
    ConditionFigures,
    Difference,
    Evidence,
    Figures,
    GateVerdict,
    SliceFigures,
)
from orchestrator.evaluation.scores import MetricKind, Part, RowScores, yes
from orchestrator.gates import judge
from orchestrator.spec import GateBlock

stats = pytest.importorskip("scipy.stats")


def scores(values: list[float]) -> list[RowScores]:
    return [RowScores(str(key), {"m": Part(value)}) for key, value in enumerate(values)]


def rights(values: list[bool]) -> list[RowScores]:
    return [RowScores(str(key), {"m": yes(value)}) for key, value in enumerate(values)]


@pytest.mark.parametrize("higher", [True, False])
def test_right_and_wrong_answers_are_judged_as_scipys_exact_test_judges_them(higher: bool) -> None:
    kind, rng = MetricKind("m", "a share", higher), random.Random(7)  # noqa: S311 (a test's rows)
    verdicts = set()
    for _ in range(150):
        rows, share = rng.randint(1, 80), rng.choice((0.3, 0.6, 0.9))
        confidence = rng.choice((0.8, 0.9, 0.95, 0.99))
        tuned = [rng.random() < share for _ in range(rows)]
        base = [rng.random() < 0.5 for _ in range(rows)]
        gate = GateBlock(metric="m", better_than="base", confidence=confidence)
        other = rights(base)
        rng.shuffle(other)  # rows are found by their keys
        (found,) = judge([gate], [kind], {"tuned": rights(tuned), "base": other})
        gained = sum(now and not was for now, was in zip(tuned, base, strict=True))
        lost = sum(was and not now for now, was in zip(tuned, base, strict=True))
        good, bad = (gained, lost) if higher else (lost, gained)
        test = stats.binomtest(good, good + bad, 0.5, alternative="greater") if good else None
        sure = test is not None and bool(test.pvalue < 1 - confidence)
        assert found.passed is sure, found.words
        verdicts.add(found.passed)
    assert verdicts == {True, False}


@pytest.mark.parametrize("higher", [True, False])
def test_clear_differences_of_figures_are_judged_as_scipys_paired_test_judges_them(
    higher: bool,
) -> None:
    kind, rng = MetricKind("m", "a figure", higher), random.Random(3)  # noqa: S311 (a test's rows)
    verdicts = []
    for step in (-0.6, 0.0, 0.6) * 5:
        base = [rng.gauss(0, 1) for _ in range(40)]
        tuned = [value + (step if higher else -step) + rng.gauss(0, 0.4) for value in base]
        side = "greater" if higher else "less"
        p_value = stats.ttest_rel(tuned, base, alternative=side).pvalue
        if 0.02 < p_value < 0.08:
            continue  # two tests may differ at the edge
        gate = GateBlock(metric="m", better_than="base")
        (found,) = judge([gate], [kind], {"tuned": scores(tuned), "base": scores(base)})
        assert found.passed is bool(p_value < 0.05), found.words
        verdicts.append(found.passed)
    assert {*verdicts} == {True, False}


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_passes_no_gate(value: float, higher: bool) -> None:
    kind = MetricKind("m", "a figure", higher)
    tuned, base = scores([value, *[0.5] * 19]), scores([0.4] * 20)
    gates = [
        GateBlock(metric="m", min=0.1),
        GateBlock(metric="m", max=0.9),
        GateBlock(metric="m", better_than="base"),
    ]
    for verdict in judge(gates, [kind], {"tuned": tuned, "base": base}):
        assert not verdict.passed
        assert "no number" in verdict.words


def test_an_infinite_figure_goes_into_the_ledger_and_out_again_as_json() -> None:
    figures = Figures("perplexity", math.inf, math.inf, math.inf, 3)
    condition = ConditionFigures(
        "tuned", "a note", (figures,), (SliceFigures("a", "b", 3, (figures,)),)
    )
    compared = Difference("perplexity", "base", 3, 1.0, math.inf, math.inf, math.inf, math.inf, 0.5)
    verdict = GateVerdict("perplexity", False, "too high", max=3.0, value=math.inf)
    made = Evidence(
        "text", "test", 3, "0" * 64, 1, (), (condition,), (compared,), (verdict,), (), ("too high",)
    )
    text = json.dumps(made.to_json(), allow_nan=False)
    assert Evidence.from_json(json.loads(text)) == made
