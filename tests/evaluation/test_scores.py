"""Metrics of rows, their intervals, and the bootstrap behind them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.evaluation.intervals import wilson
from orchestrator.evaluation.resampling import draws, percentile_interval
from orchestrator.evaluation.scores import (
    Answered,
    MetricKind,
    Part,
    RowScores,
    by_slice,
    metric_of,
    metrics_of,
    yes,
)

RIGHT = MetricKind("right", "Rows that are right.")
RECALL = MetricKind("recall", "Tools found through tools expected.")
LOSS = MetricKind("loss", "Nats by token.", higher_is_better=False)
PERPLEXITY = MetricKind("loss", "e to the loss.", higher_is_better=False, scale="exp")


@dataclass(frozen=True)
class Tools:
    """A scorer of the numbers that rows already have."""

    name: str = "tools"
    metrics: tuple[MetricKind, ...] = (RIGHT, RECALL, LOSS)

    def score(self, row: Answered) -> RowScores:
        return RowScores(row.key, {})


def rows_of(name: str, *parts: Part) -> list[RowScores]:
    return [RowScores(f"row {n:05}", {name: part}) for n, part in enumerate(parts)]


COUNTS = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda p: Part(min(p), max(p)))
SOME = st.lists(COUNTS, min_size=1, max_size=30).filter(lambda p: any(one.below for one in p))


def test_a_metric_is_the_sum_above_through_the_sum_below() -> None:
    found = metric_of(RECALL, rows_of("recall", Part(1, 4), Part(2, 2), Part(0, 0)))
    assert found is not None
    assert (found.value, found.rows) == (3 / 6, 2)


def test_a_share_has_the_interval_of_wilson() -> None:
    found = metric_of(RIGHT, rows_of("right", yes(True), yes(False), yes(True)))
    assert found is not None
    assert (found.low, found.high) == wilson(2, 3)


@pytest.mark.parametrize(("above", "value"), [(0.0, 0.0), (1.0, 1.0)])
def test_few_rows_that_are_all_alike_are_not_sure(above: float, value: float) -> None:
    found = metric_of(RECALL, rows_of("recall", Part(2 * above, 2), Part(3 * above, 3)))
    assert found is not None
    assert (found.value, found.low, found.high) == (value, *wilson(int(2 * value), 2))


def test_a_row_without_a_part_does_not_count() -> None:
    rows = [*rows_of("right", yes(True)), RowScores("other", {})]
    found = metric_of(RIGHT, rows)
    assert found is not None
    assert found.rows == 1
    assert metric_of(RECALL, rows) is None


def test_a_perplexity_is_e_to_the_loss_of_all_tokens() -> None:
    rows = rows_of("loss", Part(2.0, 10), Part(9.0, 30))
    loss, perplexity = metric_of(LOSS, rows), metric_of(PERPLEXITY, rows)
    assert loss is not None
    assert perplexity is not None
    assert perplexity.value == pytest.approx(math.exp(11 / 40))
    assert perplexity.low == pytest.approx(math.exp(loss.low))


@pytest.mark.parametrize("loss", [math.inf, 1e6])
def test_a_broken_loss_is_shown_as_it_is(loss: float) -> None:
    found = metric_of(PERPLEXITY, rows_of("loss", Part(loss, 1), Part(loss, 1)))
    assert found is not None
    assert found.value == found.high == math.inf


def test_a_scale_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="no scale is called 'log'"):
        MetricKind("x", "x", scale="log")


@settings(max_examples=20)
@given(SOME, st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_their_repetition_moves_a_value(
    parts: list[Part], order: random.Random
) -> None:
    rows = rows_of("recall", *parts)
    turned = order.sample(rows, len(rows))
    once, again, twice = (metric_of(RECALL, some) for some in (rows, turned, rows * 2))
    assert once == again
    assert once is not None
    assert twice is not None
    assert twice.value == pytest.approx(once.value)
    assert twice.rows == 2 * once.rows


@settings(max_examples=20)
@given(SOME)
def test_a_ratio_and_its_interval_stay_from_0_to_1(parts: list[Part]) -> None:
    found = metric_of(RECALL, rows_of("recall", *parts))
    assert found is not None
    assert 0 <= found.low <= found.high <= 1
    assert 0 <= found.value <= 1


def test_metrics_together_are_as_each_alone() -> None:
    draw = random.Random(5)  # noqa: S311 (repeatable, no secret)
    rows = [
        RowScores(
            f"row {n}",
            {
                "right": yes(draw.random() < 0.5),
                "recall": Part(draw.randint(0, 3), 3),
                **({"loss": Part(draw.random(), 7)} if n % 3 else {}),
            },
        )
        for n in range(60)
    ]
    alone = tuple(metric_of(kind, rows) for kind in Tools.metrics)
    assert metrics_of(Tools(), rows) == alone
    assert [one.rows for one in metrics_of(Tools(), rows)] == [60, 60, 40]
    assert metrics_of(Tools(), rows, seed=1) != alone


def test_each_draw_is_the_sum_of_as_many_rows() -> None:
    drawn = list(draws([[1.0] * 7, [0.5, 2.5, -3.25, 0, 1e-3, 9, 1e6], [5.0] * 7], seed=0))
    assert {one[0] for one in drawn} == {7.0}
    assert {one[2] for one in drawn} == {35.0}
    assert all(7 * -3.25 <= one[1] <= 7e6 for one in drawn)


@pytest.mark.parametrize("rows", [50, 4001, 12_345])
def test_the_spread_of_the_draws_is_that_of_a_mean(rows: int) -> None:
    draw = random.Random(rows)  # noqa: S311 (repeatable, no secret)
    column = [draw.gauss(3, 2) for _ in range(rows)]
    sums = [one / rows for (one,) in draws([column], seed=1)]
    mean = math.fsum(column) / rows
    error = math.sqrt(math.fsum((one - mean) ** 2 for one in column)) / rows
    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in sums) / len(sums))
    # A standard deviation of 1,000 draws is itself known to about 2.2 %.
    assert spread == pytest.approx(error, rel=0.1)
    assert math.fsum(sums) / len(sums) == pytest.approx(mean, abs=error / 5)


@pytest.mark.parametrize("rows", [3, 3999, 4001, 12_345])
def test_every_draw_has_as_many_rows_as_there_are(rows: int) -> None:
    right = [row % 3 == 0 for row in range(rows)]
    wrong = [not one for one in right]
    assert {sum(one) for one in draws([right, wrong], seed=0, resamples=60)} == {rows}


def test_the_interval_of_draws_ends_where_numpy_puts_it() -> None:
    assert percentile_interval(range(101), 0.9) == pytest.approx((5.0, 95.0))
    assert percentile_interval([4.0]) == (4.0, 4.0)
    assert percentile_interval([0.0, 1.0], 0.5) == (0.25, 0.75)


def test_rows_are_grouped_by_slice_in_the_order_of_names() -> None:
    easy = RowScores("a", {}, {"level": "easy", "kind": "x"})
    hard = RowScores("b", {}, {"level": "hard"})
    groups = by_slice([hard, easy])
    assert list(groups) == [("kind", "x"), ("level", "easy"), ("level", "hard")]
    assert groups["level", "hard"] == [hard]


def test_wilson_and_the_bootstrap_agree_with_outside_references() -> None:
    np = pytest.importorskip("numpy")
    stats = pytest.importorskip("scipy.stats")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for right, rows in ((0, 20), (7, 9), (81, 263), (10_000, 10_000)):
        reference = proportion.proportion_confint(right, rows, method="wilson")
        assert wilson(right, rows) == pytest.approx(reference, abs=1e-12)
    draw = random.Random(2)  # noqa: S311 (repeatable, no secret)
    for size in (40, 500, 5000):
        parts = [Part(draw.randint(0, 4), draw.randint(4, 8)) for _ in range(size)]
        found = metric_of(RECALL, rows_of("recall", *parts))
        assert found is not None
        above, below = ([getattr(one, side) for one in parts] for side in ("above", "below"))
        reference = stats.bootstrap(
            (above, below),
            lambda a, b, axis: np.sum(a, axis=axis) / np.sum(b, axis=axis),
            paired=True,
            method="percentile",
            n_resamples=4000,
            batch=100,
            rng=np.random.default_rng(1),
        )
        width = reference.confidence_interval.high - reference.confidence_interval.low
        # Ends of 1,000 draws are known to a few percent of the width.
        assert found.low == pytest.approx(reference.confidence_interval.low, abs=0.06 * width)
        assert found.high == pytest.approx(reference.confidence_interval.high, abs=0.06 * width)
