"""How long answers took: `orchestrator score --scorer latency`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.evaluation.answer_facts import timing_of, tool_names
from orchestrator.evaluation.comparison import compare
from orchestrator.evaluation.latency import P50, P95, LatencyScorer
from orchestrator.evaluation.scales import quantile
from orchestrator.evaluation.scores import Answered, RowScores, Timing, metric_of, metrics_of
from orchestrator.evaluation.table import score_table

SCORER = LatencyScorer()


def rows_of(seconds: Sequence[float], **more: object) -> list[RowScores]:
    timings = [replace(Timing(latency_s=one), **more) for one in seconds]  # type: ignore[arg-type]  # any field
    return [
        SCORER.score(Answered(f"{number:05}", "right", "said", timing=timing))
        for number, timing in enumerate(timings)
    ]


def values(rows: Sequence[RowScores]) -> dict[str, float]:
    return {one.name: one.value for one in metrics_of(SCORER, rows)}


def test_every_metric_is_what_its_rows_come_to() -> None:
    timings = [
        Timing(1.0, 10, 100, "eos"),
        Timing(3.0, 50, 200, "max_new_tokens"),
        Timing(1.0, 20, 300, "length"),
    ]
    rows = [
        SCORER.score(Answered(str(n), "x", "said", timing=one)) for n, one in enumerate(timings)
    ]
    assert values(rows) == {
        "latency_s": pytest.approx(5 / 3),
        "latency_s_p50": 1.0,
        "latency_s_p95": 3.0,
        "tokens_per_s": 16.0,
        "new_tokens": pytest.approx(80 / 3),
        "prompt_tokens": 200.0,
        "cut": pytest.approx(2 / 3),
    }
    assert [row.causes for row in rows] == [(), *[("cut at the most tokens allowed",)] * 2]


def test_what_is_not_known_is_no_part_of_any_figure() -> None:
    rows = rows_of([2.0, 4.0])
    unknown = [Answered("a", "x", None), Answered("b", "x", "said")]
    untimed = [SCORER.score(one) for one in unknown]
    assert values([*rows, *untimed]) == values(rows)
    assert [row.causes[0] for row in untimed] == ["no answer", "nothing is known of its time"]
    assert "tokens_per_s" not in values(rows)
    assert values([*rows, *rows_of([], new_tokens=3)]) == values(rows)


def test_predictions_of_which_nothing_is_known_are_refused() -> None:
    with pytest.raises(InputError, match="no prediction says how long"):
        LatencyScorer.of([Answered("a", "x", "said"), Answered("b", "x", None)])
    assert LatencyScorer.of([Answered("a", "x", "said", timing=Timing(1.0))]) == SCORER


def test_a_constant_answer_took_no_time_that_could_be_compared() -> None:
    answered = [Answered(str(n), "right", "right", timing=Timing(float(n + 1))) for n in range(3)]
    table = score_table(SCORER, answered)
    assert table.metrics[0].value == 2.0
    assert table.constant.metrics == ()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0101, 590.0), min_size=1, max_size=60))
def test_quantiles_are_within_seven_percent_of_the_nearest_rank(seconds: list[float]) -> None:
    ordered = sorted(round(one, 4) for one in seconds)
    rows = rows_of(ordered)
    for kind, share in ((P50, 0.5), (P95, 0.95)):
        rank = ordered[max(0, -int(-share * len(ordered) // 1)) - 1]
        found = kind.value_of([kind.parts_of(row) or () for row in rows])
        assert found == pytest.approx(rank, rel=0.071, abs=1e-4)


def test_what_is_faster_or_slower_than_all_bins_still_counts() -> None:
    found = values(rows_of([0.0, 0.0001, 5000.0]))
    assert found["latency_s_p50"] == pytest.approx(0.00005)
    assert found["latency_s_p95"] == 5000.0


def test_the_interval_of_a_quantile_is_that_of_rows_drawn_again() -> None:
    draw = random.Random(3)  # noqa: S311 (repeatable, no secret)
    covered = 0
    for _ in range(8):
        median = metric_of(P50, rows_of([draw.expovariate(1.0) + 0.01 for _ in range(80)]))
        assert median is not None
        assert median.low < median.value < median.high
        covered += median.low * 0.93 <= 0.7031 <= median.high * 1.07
    assert covered >= 7  # ln 2 + 0.01, in intervals of 95 %


def test_a_run_that_is_faster_on_every_row_is_better() -> None:
    draw = random.Random(3)  # noqa: S311 (repeatable, no secret)
    seconds = [draw.uniform(1, 4) for _ in range(60)]
    found = compare(P50, rows_of(seconds), rows_of([one / 2 for one in seconds]))
    assert found is not None
    assert found.difference < 0
    assert found.high < 0
    assert found.p_value < 0.01


def test_a_quantile_of_bins_counts_what_is_in_them() -> None:
    bins = [(0.0, 0.0), (10.0, 10.0), (0.0, 0.0), (20.0, 10.0)]
    assert quantile(bins, 0.5) == 1.0
    assert quantile(bins, 0.51) == 2.0
    assert quantile(bins, 1.0) == 2.0
    with pytest.raises(ValueError, match="no bin"):
        quantile([(0.0, 0.0)], 0.5)


@pytest.mark.parametrize(
    ("line", "timing"),
    [
        ({"latency_s": 1.5, "new_tokens": 3}, Timing(1.5, 3)),
        ({"latency_s": None, "stopped_by": "eos"}, Timing(stopped_by="eos")),
        ({"latency_s": True, "new_tokens": "3", "stopped_by": 1}, None),
        ({"latency_s": -1, "new_tokens": -1}, None),
        ({"latency_s": 10**400, "new_tokens": 10**400}, None),
        ({"latency_s": float("inf"), "prompt_tokens": 2.5}, None),
        ({}, None),
    ],
)
def test_odd_figures_in_a_line_are_unknown(line: dict[str, object], timing: Timing | None) -> None:
    assert timing_of(line) == timing


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        ([{"type": "function", "function": {"name": "a"}}, {"name": "b"}], ("a", "b")),
        ('[{"name": "a"}]', ("a",)),
        ("[", ()),
        (None, ()),
        ([{"function": 3}, "x", {"name": 4}], ()),
    ],
)
def test_the_names_of_tools_are_read_from_both_forms(tools: object, names: object) -> None:
    assert tool_names(tools) == names
