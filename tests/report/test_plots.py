"""Curves and bars: what they hold, what they draw, and the tables beside them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.evaluation.evidence import ConditionFigures, Figures, SliceFigures
from orchestrator.ledger import Metric
from orchestrator.report.bars import conditions_plot, draw_bars, slice_plots
from orchestrator.report.card_plots import card_plots
from orchestrator.report.curves import Point, curve_plots, draw_curves, evenly, thinned
from orchestrator.report.pictures import NARROW, WIDE, Box, Dot, Line, Words
from tests.report.runs import METRIC, evidence, outcomes, training


def test_curves_that_belong_together_share_a_plot() -> None:
    plots = curve_plots(training())
    assert [(plot.name, [c.name for c in plot.curves]) for plot in plots] == [
        ("loss", ["loss", "eval_loss"]),
        ("accuracy", ["mean_token_accuracy"]),
        ("learning-rate", ["learning_rate"]),
        ("gradient-norm", ["grad_norm"]),
    ]
    loss = plots[0]
    assert loss.curves[1].lowest == Point(40, 0.61, 2.0)
    assert "lowest 0.610 at step 40" in loss.words()


def test_without_metrics_there_are_no_curves() -> None:
    assert curve_plots([]) == ()
    assert curve_plots([Metric("train_runtime", 1, 3.0)]) == ()


def test_the_table_has_every_step_with_gaps_where_nothing_was_logged() -> None:
    (plot,) = curve_plots([Metric("loss", 1, 2.0, 0.5), Metric("eval_loss", 2, 0.0123, 1.0)])
    assert plot.header == ("step", "epoch", "loss", "eval_loss")
    assert plot.rows() == [("1", "0.50", "2.000", "–"), ("2", "1.00", "–", "0.0123")]
    assert plot.note() == ""


def test_a_long_table_says_what_it_leaves_out() -> None:
    (plot,) = curve_plots([Metric("loss", step, 1.0) for step in range(1, 1001)])
    rows = plot.rows()
    assert (rows[0][0], rows[-1][0], len(rows)) == ("1", "1,000", 40)
    assert plot.note() == "40 of 1,000 steps, evenly chosen."


def test_a_thinned_curve_keeps_its_peaks() -> None:
    points = [Point(step, 9.0 if step == 777 else 1.0) for step in range(5000)]
    kept = thinned(points, 400)
    assert len(kept) <= 400
    assert Point(777, 9.0) in kept
    assert [p.step for p in kept] == sorted(p.step for p in kept)


def test_evenly_chosen_values_begin_and_end_with_the_first_and_last() -> None:
    assert evenly(range(100), 3) == [0, 50, 99]
    assert evenly([4, 5], 3) == [4, 5]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_curves_stay_inside_their_picture(width: float) -> None:
    for plot in curve_plots(training()):
        picture = draw_curves(plot, width)
        for shape in picture.shapes:
            if isinstance(shape, Line):
                assert all(0 <= x <= width and 0 <= y <= picture.height for x, y in shape.points)
        series = [
            s for s in picture.shapes if isinstance(s, Line) and s.role in ("first", "second")
        ]
        assert series


def test_one_point_is_drawn_as_a_dot() -> None:
    (plot,) = curve_plots([Metric("loss", 1, 2.0)])
    assert any(isinstance(shape, Dot) for shape in draw_curves(plot, WIDE).shapes)


def boxes(picture: Any) -> list[Box]:
    return [shape for shape in picture.shapes if isinstance(shape, Box)]


def test_bars_are_as_long_as_their_values_and_carry_their_intervals() -> None:
    found = evidence(outcomes())
    plot = conditions_plot(found, METRIC)
    assert plot is not None
    assert plot.conditions == ("tuned", "base", "constant")
    picture = draw_bars(plot, WIDE)
    values = [bar.value for bar in plot.groups[0].bars]
    widths = [box.width for box in boxes(picture)]
    assert [w / widths[0] for w in widths] == pytest.approx(
        [v / values[0] for v in values], rel=0.01
    )
    whiskers = [s for s in picture.shapes if isinstance(s, Line) and s.role == "whisker"]
    assert len(whiskers) == 3 * len(values)
    low, high = whiskers[0].points
    assert low[0] < boxes(picture)[0].width + boxes(picture)[0].x < high[0]


def test_slices_stand_before_and_after_with_their_rows() -> None:
    (plot,) = slice_plots(evidence(outcomes()), METRIC)
    assert plot.title == f"{METRIC} by archetype: before and after"
    assert plot.header == ("rows of", "rows", "base", "tuned")
    line = plot.table()[1]
    assert line[:2] == ("four-step", "10")
    assert line[3].startswith("0.200 [")
    assert all("[" in cell for cell in line[2:])


def test_without_a_base_the_slices_show_what_there_is() -> None:
    found = evidence(outcomes())
    alone = evidence(outcomes(), conditions=found.conditions[:1])
    (plot,) = slice_plots(alone, METRIC)
    assert plot.header == ("rows of", "rows", "tuned")
    assert slice_plots(evidence(outcomes(), conditions=found.conditions[1:]), METRIC) == ()
    assert conditions_plot(found, "nothing") is None


def test_of_very_many_slices_the_table_has_all_and_the_picture_says_how_many_more() -> None:
    slices = tuple(
        SliceFigures("tool", f"tool-{n}", 3, (Figures(METRIC, 0.5, 0.1, 0.9, 3),))
        for n in range(40)
    )
    tuned = ConditionFigures("tuned", "", (Figures(METRIC, 0.5, 0.4, 0.6, 40),), slices)
    (plot,) = slice_plots(evidence(outcomes(), conditions=(tuned,)), METRIC)
    picture = draw_bars(plot, NARROW)
    assert len(plot.table()) == 40
    assert len(boxes(picture)) == 24
    assert any(isinstance(s, Words) and s.text.startswith("and 16 more") for s in picture.shapes)


def test_bars_below_nothing_and_far_above_one_fit() -> None:
    figures = (Figures(METRIC, -2.0, -3.0, 50.0, 9),)
    only = evidence([(True, True)], conditions=(ConditionFigures("tuned", "", figures),))
    plot = conditions_plot(only, METRIC)
    assert plot is not None
    for shape in draw_bars(plot, NARROW).shapes:
        if isinstance(shape, Line):
            assert all(0 <= x <= NARROW for x, _ in shape.points)


@pytest.mark.parametrize(
    "ends", [(math.inf,) * 3, (1.0, 0.5, math.inf), (math.nan,) * 3, (5e-324, 0.0, 5e-324)]
)
def test_bars_beyond_all_numbers_end_where_the_picture_does(
    ends: tuple[float, float, float],
) -> None:
    found = ConditionFigures("tuned", "", (Figures(METRIC, *ends, 9),))
    plot = conditions_plot(evidence([(True, True)], conditions=(found,)), METRIC)
    assert plot is not None
    for box in boxes(draw_bars(plot, NARROW)):
        assert 0 <= box.x <= box.x + box.width <= NARROW


def test_a_name_beside_a_bar_is_cut_where_the_picture_ends() -> None:
    found = ConditionFigures("a-name-of-ones-own" * 5, "", (Figures(METRIC, 0.5, 0.4, 0.6, 9),))
    plot = conditions_plot(evidence([(True, True)], conditions=(found,)), METRIC)
    assert plot is not None
    words = [s for s in draw_bars(plot, NARROW).shapes if isinstance(s, Words)]
    assert all(s.anchor != "start" or s.x + len(s.text) * 6.72 <= NARROW for s in words)


@pytest.mark.parametrize("values", [[math.nan] * 3, [math.inf, 1.0], [1e308, -1e308], [1e-320]])
def test_what_no_plot_could_show_is_left_out_of_curves(values: list[float]) -> None:
    points = [Metric("loss", step, value) for step, value in enumerate(values, 1)]
    for plot in curve_plots(points):
        assert all(abs(value) < 1e300 for value in plot.curves[0].values)
        draw_curves(plot, WIDE)


def test_the_last_step_is_written_inside_the_picture() -> None:
    (plot,) = curve_plots([Metric("loss", step, 1 / step) for step in (1, 10_000)])
    (last,) = [
        s for s in draw_curves(plot, WIDE).shapes if isinstance(s, Words) and s.text == "10,000"
    ]
    assert (last.anchor, last.x) == ("end", WIDE)


def test_the_card_gets_its_plots_with_words_and_tables() -> None:
    plots = card_plots(training(), evidence(outcomes()))
    assert [plot.file_name for plot in plots] == [
        "plots/loss.png",
        "plots/accuracy.png",
        "plots/learning-rate.png",
        "plots/conditions.png",
        "plots/slices-archetype.png",
    ]
    for plot in plots:
        assert plot.png().startswith(b"\x89PNG")
        assert len(plot.png()) < 60_000
        assert len(plot.alt) > 30
        assert {len(row) for row in plot.rows} == {len(plot.header)}


def test_a_card_without_an_evaluation_has_the_curves_alone() -> None:
    assert [p.file_name for p in card_plots(training(), None)][-1] == "plots/learning-rate.png"
    assert card_plots([], None) == ()


def test_slices_whose_names_are_one_file_name_do_not_overwrite_each_other() -> None:
    metric = (Figures(METRIC, 0.5, 0.4, 0.6, 9),)
    names = ("../a b", "a-B", "中")
    slices = tuple(SliceFigures(name, of, 9, metric) for name in names for of in "xy")
    tuned = ConditionFigures("tuned", "", metric, slices)
    plots = card_plots([], evidence(outcomes(), conditions=(tuned,)))
    assert [p.file_name for p in plots[1:]] == ["plots/slices-a-b.png", "plots/slices-other.png"]


def test_a_slice_of_all_rows_is_not_drawn_again() -> None:
    metric = (Figures(METRIC, 0.5, 0.4, 0.6, 9),)
    tuned = ConditionFigures("tuned", "", metric, (SliceFigures("calls", "one", 9, metric),))
    assert slice_plots(evidence(outcomes(), conditions=(tuned,)), METRIC) == ()
