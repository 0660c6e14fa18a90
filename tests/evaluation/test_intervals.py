"""How sure a share is."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evaluation.intervals import Paired, Share, paired, share_of, wilson


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_published_examples(
    right: int, rows: int, low: float, high: float
) -> None:
    assert wilson(right, rows) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_mirrors_that_of_the_wrong_rows(
    counts: tuple[int, int],
) -> None:
    right, rows = counts
    low, high = wilson(right, rows)
    assert 0 <= low <= right / rows <= high <= 1
    assert low < high
    assert wilson(rows - right, rows) == pytest.approx((1 - high, 1 - low))


def test_more_rows_make_the_interval_narrower() -> None:
    widths = [high - low for low, high in (wilson(n // 2, n) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("right", "rows"), [(0, 0), (2, 1), (-1, 4)])
def test_what_is_no_share_is_refused(right: int, rows: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(right, rows)
    with pytest.raises(ValueError, match="is no share"):
        Share(right, rows)


def test_a_share_counts_what_is_right() -> None:
    share = share_of([True, False, True, True])
    assert (share.right, share.rows, share.value) == (3, 4, 0.75)
    assert share.interval == wilson(3, 4)


def test_rows_answered_twice_are_compared_row_by_row() -> None:
    before = [True, True, False, False, False]
    after = [True, False, True, True, False]
    assert paired(before, after) == Paired(both=1, gained=2, lost=1, neither=1)


def test_both_answers_must_be_of_the_same_rows() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([True, True], [True])


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"),
    [(0, 0, 1.0), (5, 5, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (8, 1, 20 / 512)],
)
def test_an_uneven_change_is_as_unlikely_as_so_many_heads(
    gained: int, lost: int, p_value: float
) -> None:
    assert Paired(7, gained, lost, 3).p_value == pytest.approx(p_value)


def test_thousands_of_changes_are_no_trouble() -> None:
    tail = sum(math.comb(3000, n) for n in range(1401))
    expected = float(Fraction(2 * tail, 2**3000))
    assert Paired(0, 1600, 1400, 0).p_value == pytest.approx(expected)
    assert Paired(0, 3000, 0, 0).p_value >= 0
