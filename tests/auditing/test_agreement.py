"""Agreement between reviewers, against published examples and other people's libraries."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evaluation.agreement import (
    Level,
    agreement,
    alpha_estimate,
    far_apart,
    krippendorff_alpha,
    mean_estimate,
    point_biserial,
    quadratic_kappa,
)

LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
SCORES = st.integers(0, 5)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=40)
UNITS = st.lists(st.lists(SCORES, max_size=4), min_size=1, max_size=25)

#: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section D: 4 observers.
KRIPPENDORFF = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
#: The example with three coders of Wikipedia's article and of the package `krippendorff`.
THREE_CODERS = (
    ". . . . . 3 4 1 2 1 1 3 3 . 3",
    "1 . 2 1 3 3 4 3 . . . . . . .",
    ". . 2 1 3 4 4 . 2 1 1 3 3 . 4",
)


def units(observers: Sequence[str]) -> list[list[int]]:
    columns = zip(*(line.split() for line in observers), strict=True)
    return [[int(one) for one in column if one != "."] for column in columns]


@pytest.mark.parametrize(
    ("observers", "level", "published"),
    [
        (KRIPPENDORFF, "nominal", 0.743),
        (KRIPPENDORFF, "ordinal", 0.815),
        (KRIPPENDORFF, "interval", 0.849),
        (THREE_CODERS, "nominal", 0.691),
        (THREE_CODERS, "interval", 0.811),
    ],
)
def test_alpha_is_that_of_published_examples(
    observers: Sequence[str], level: Level, published: float
) -> None:
    assert krippendorff_alpha(units(observers), level) == pytest.approx(published, abs=0.0005)


def by_definition(given_units: Sequence[Sequence[int]], level: Level) -> float | None:
    """Alpha by its definition, pair by pair, with nothing saved."""
    kept = [unit for unit in given_units if len(unit) > 1]
    values = [one for unit in kept for one in unit]

    def gap(one: int, other: int) -> float:
        low, high = min(one, other), max(one, other)
        if low == high:
            return 0.0
        if level == "nominal":
            return 1.0
        if level == "interval":
            return float(high - low) ** 2
        between = [values.count(step) for step in range(low, high + 1)]
        return (sum(between) - (between[0] + between[-1]) / 2) ** 2

    expected = sum(gap(a, b) for a, b in itertools.permutations(values, 2))
    if not expected:
        return None
    expected /= len(values) * (len(values) - 1)
    observed = sum(
        sum(gap(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1)
        for unit in kept
    ) / len(values)
    return 1 - observed / expected


@given(UNITS, st.sampled_from(LEVELS))
def test_alpha_is_what_its_definition_says(given_units: list[list[int]], level: Level) -> None:
    assert krippendorff_alpha(given_units, level) == pytest.approx(
        by_definition(given_units, level)
    )


def test_alpha_is_that_of_the_package_of_its_name() -> None:
    package = pytest.importorskip("krippendorff", reason="the package krippendorff is not there")
    draw = random.Random(3)  # noqa: S311 (repeatable, no secret)
    for _ in range(50):
        table = [[draw.choice([0, 1, 2, 3, 4, 5, math.nan]) for _ in range(12)] for _ in range(3)]
        columns = [[one for one in column if one == one] for column in zip(*table, strict=True)]
        for level in LEVELS:
            theirs = package.alpha(reliability_data=table, level_of_measurement=level)
            assert krippendorff_alpha(columns, level) == pytest.approx(theirs)


#: Imported once: it takes a second, and the test below runs for every example.
STATSMODELS = pytest.importorskip("statsmodels.stats.inter_rater")
SCIPY = pytest.importorskip("scipy.stats")


@given(PAIRS)
def test_kappa_is_that_of_statsmodels(pairs: list[tuple[int, int]]) -> None:
    ours = quadratic_kappa(pairs)
    if ours is None:
        assert len({one for pair in pairs for one in pair}) == 1
        return
    table = [[pairs.count((a, b)) for b in range(6)] for a in range(6)]
    theirs = STATSMODELS.cohens_kappa(table, wt="quadratic", return_results=False)
    assert ours == pytest.approx(theirs)


def test_kappa_of_a_small_table_by_hand() -> None:
    # Squared differences: 0, 1, 0, 4; of all 16 pairs of first and second: 21 + 11 + 29 + 15.
    pairs = [(5, 5), (4, 3), (1, 1), (2, 4)]
    everything = sum((a - b) ** 2 for a, _ in pairs for _, b in pairs)
    assert everything == 76
    assert quadratic_kappa(pairs) == pytest.approx(1 - 5 * 4 / 76)


def test_agreement_is_not_defined_where_nothing_varies() -> None:
    assert quadratic_kappa([(3, 3), (3, 3)]) is None
    assert quadratic_kappa([]) is None
    assert krippendorff_alpha([[3, 3], [3, 3]]) is None
    assert krippendorff_alpha([[3], [4], []]) is None
    assert alpha_estimate([[3, 3], [3, 3]]) is None
    assert point_biserial([True, True], [1, 2]) is None
    assert point_biserial([True, False], [2, 2]) is None
    assert agreement({"a": 1}, {"b": 1}) is None


def test_two_who_agree_on_everything_have_all_figures_at_one() -> None:
    found = agreement({"a": 1, "b": 4, "c": 5}, {"a": 1, "b": 4, "d": 0})
    assert found is not None
    assert (found.rows, found.same.value, found.within_one.value, found.kappa) == (2, 1, 1, 1)


def test_one_apart_counts_as_within_one_and_two_apart_does_not() -> None:
    found = agreement({"a": 1, "b": 4, "c": 5}, {"a": 2, "b": 4, "c": 3})
    assert found is not None
    assert (found.same.right, found.within_one.right) == (1, 2)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=3, max_size=40))
def test_the_point_biserial_correlation_is_that_of_scipy(pairs: list[tuple[bool, int]]) -> None:
    right, scores = [one for one, _ in pairs], [float(score) for _, score in pairs]
    ours = point_biserial(right, scores)
    if ours is None:
        assert len(set(right)) == 1 or len(set(scores)) == 1
        return
    assert ours == pytest.approx(float(SCIPY.pointbiserialr(right, scores).statistic))


def test_rows_furthest_apart_come_first() -> None:
    one, two, three = {"a": 1, "b": 5, "c": 3}, {"a": 3, "b": 4, "c": 3}, {"c": 0, "d": 2}
    assert far_apart([one, two, three]) == ("c", "a")


def test_intervals_hold_their_figure_and_come_again() -> None:
    found = alpha_estimate(units(KRIPPENDORFF), seed=1)
    assert found is not None
    assert found.low < found.value < found.high
    assert found == alpha_estimate(units(KRIPPENDORFF), seed=1)
    mean = mean_estimate([0, 5, 5, 5, 4, 3])
    assert mean.value == pytest.approx(22 / 6)
    assert mean.low < mean.value < mean.high
    assert mean_estimate([4.0]).low == mean_estimate([4.0]).high == 4
    with pytest.raises(ValueError, match="no values"):
        mean_estimate([])
