"""Rows are shared out as wanted, strata evenly, and groups are never torn apart."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.preparing.splits import (
    LEFT_OUT,
    apportioned,
    assign,
    joined,
    row_key,
    split_counts,
    wanted_rows,
)
from orchestrator.errors import InputError
from orchestrator.spec_data import SplitBlock

_RATIOS = st.tuples(st.integers(1, 100), st.integers(0, 99)).map(
    lambda ab: (
        ab[0] / 100,
        min(ab[1], 100 - ab[0]) / 100,
        (100 - ab[0] - min(ab[1], 100 - ab[0])) / 100,
    )
)


@st.composite
def _grouped_rows(draw: st.DrawFn) -> tuple[list[int], dict[int, tuple[int, ...]]]:
    """Numbers of rows wanted, and some groups among the rows."""
    wanted = draw(st.lists(st.integers(0, 30), min_size=4, max_size=4).filter(any))
    rows = list(range(sum(wanted)))
    labels = draw(st.lists(st.integers(0, 12), min_size=len(rows), max_size=len(rows)))
    members: dict[int, list[int]] = {}
    for row, label in zip(rows, labels, strict=True):
        members.setdefault(label, []).append(row)
    found = {rows[0]: tuple(rows) for label, rows in members.items() if label < 9 and len(rows) > 1}
    return wanted, found


@given(st.integers(0, 5000), _RATIOS)
def test_rows_are_shared_out_by_largest_remainder(
    count: int, ratios: tuple[float, float, float]
) -> None:
    """Against the method written down another way: in decimals, one seat at a time."""
    exact = [Decimal(str(ratio)) * count for ratio in ratios]
    expected = [int(share.to_integral_value(ROUND_FLOOR)) for share in exact]
    left = [share - whole for share, whole in zip(exact, expected, strict=True)]
    while sum(expected) < count:
        winner = left.index(max(left))
        expected[winner] += 1
        left[winner] = Decimal(-1)
    assert split_counts(count, ratios) == expected


@pytest.mark.parametrize(
    ("count", "ratios", "expected"),
    [
        (322, (0.85, 0.10, 0.05), [274, 32, 16]),
        (40, (0.85, 0.10, 0.05), [34, 4, 2]),
        (10, (0.85, 0.10, 0.05), [9, 1, 0]),
        (1, (0.85, 0.10, 0.05), [1, 0, 0]),
        (0, (0.85, 0.10, 0.05), [0, 0, 0]),
        (50, (0.01, 0.07, 0.92), [1, 3, 46]),
        (3, (0.3333333333, 0.3333333333, 0.3333333334), [1, 1, 1]),
    ],
)
def test_known_numbers_of_rows(
    count: int, ratios: tuple[float, float, float], expected: list[int]
) -> None:
    assert split_counts(count, ratios) == expected


def test_the_order_is_that_of_the_documented_hash() -> None:
    """A change of it would change what every existing spec trains on."""
    assert row_key(42, 3, b"line\n") == hashlib.sha256(b"42\x003\x00line\n").digest()


def test_numbers_of_rows_are_taken_as_they_are_and_the_rest_is_left_out() -> None:
    split = SplitBlock(train=9000, validation=1000, test=0)
    assert wanted_rows(10_000, split, limited=False) == [9000, 1000, 0, 0]
    assert wanted_rows(10_007, split, limited=False) == [9000, 1000, 0, 7]


def test_too_few_rows_for_the_numbers_wanted_are_an_error() -> None:
    split = SplitBlock(train=9000, validation=1000, test=0)
    with pytest.raises(
        InputError, match=r"wants 10000 rows .9000 for train, 1000 for validation.*9"
    ):
        wanted_rows(9_999, split, limited=False)


def test_numbers_of_rows_are_shares_where_a_limit_made_the_rows_fewer() -> None:
    split = SplitBlock(train=9000, validation=1000, test=0)
    assert wanted_rows(20, split, limited=True) == [18, 2, 0, 0]


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any))
def test_without_groups_splits_are_cuts_of_the_order(wanted: list[int]) -> None:
    expected = b"".join(bytes([number]) * count for number, count in enumerate(wanted))
    assert assign(wanted, {}) == expected


@given(_grouped_rows())
def test_groups_stay_whole_and_every_row_is_somewhere(
    case: tuple[list[int], dict[int, tuple[int, ...]]],
) -> None:
    wanted, groups = case
    into = assign(wanted, groups)
    assert len(into) == sum(wanted)
    assert set(into) <= set(range(LEFT_OUT + 1))
    assert all(len({into[row] for row in rows}) == 1 for rows in groups.values())


@given(_grouped_rows())
def test_totals_are_as_wanted_where_the_groups_allow_it(
    case: tuple[list[int], dict[int, tuple[int, ...]]],
) -> None:
    """No split has more than wanted by a whole group, and single rows fill what is left."""
    wanted, groups = case
    into = assign(wanted, groups)
    counts = [into.count(number) for number in range(4)]
    largest = max(map(len, groups.values()), default=1)
    singles = sum(wanted) - sum(map(len, groups.values()))
    over = sum(max(0, count - want) for count, want in zip(counts, wanted, strict=True))
    assert all(count - want < largest for count, want in zip(counts, wanted, strict=True))
    if singles and len(groups) <= 1 and largest <= max(wanted):
        assert counts == wanted
    if not groups:
        assert over == 0


def test_a_group_larger_than_its_share_leaves_the_rest_in_proportion() -> None:
    group = tuple(range(95))
    into = assign([85, 10, 5, 0], {0: group})
    assert [into.count(number) for number in range(4)] == [95, 3, 2, 0]


def test_a_group_goes_where_its_first_row_stands_if_there_is_room() -> None:
    into = assign([8, 4, 0, 0], {8: (8, 10)})
    assert into == bytes([0] * 8 + [1] * 4)
    into = assign([8, 4, 0, 0], {7: (7, 8)})  # over the border
    assert [into[row] for row in (7, 8)] == [0, 0]
    assert into == bytes([0] * 6 + [1] + [0] * 2 + [1] * 3)  # row 6 makes room for row 8


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=200),
    st.sampled_from([(0.85, 0.10, 0.05), (0.7, 0.3, 0.0), (0.34, 0.33, 0.33)]),
)
def test_every_stratum_gets_its_share_within_two_rows_and_the_totals_are_exact(
    labels: list[int], ratios: tuple[float, float, float]
) -> None:
    wanted = [*split_counts(len(labels), ratios), 0]
    into = assign(wanted, {}, array("L", labels))
    assert [into.count(number) for number in range(4)] == wanted
    for label, size in Counter(labels).items():
        own = Counter(into[row] for row, other in enumerate(labels) if other == label)
        for number in range(3):
            share = Fraction(wanted[number] * size, len(labels))
            assert abs(own[number] - share) <= 2


def test_strata_of_one_row_each_are_spread_over_the_splits() -> None:
    into = assign([85, 10, 5, 0], {}, array("L", range(100)))
    assert [into.count(number) for number in range(3)] == [85, 10, 5]


@given(_grouped_rows(), st.integers(1, 5))
def test_strata_do_not_tear_groups_apart(
    case: tuple[list[int], dict[int, tuple[int, ...]]], labels: int
) -> None:
    wanted, groups = case
    strata = array("L", (row % labels for row in range(sum(wanted))))
    into = assign(wanted, groups, strata)
    assert all(len({into[row] for row in rows}) == 1 for rows in groups.values())
    assert len(into) == sum(wanted)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_connected_pairs_are_one_group_whatever_their_order(pairs: list[tuple[int, int]]) -> None:
    found = joined(pairs)
    assert found == joined([*reversed(pairs)]) == joined([(b, a) for a, b in pairs])
    member_of = {row: first for first, rows in found.items() for row in rows}
    assert all(a == b or member_of[a] == member_of[b] for a, b in pairs)
    assert sum(map(len, found.values())) == len(member_of)
    assert all(first == rows[0] == min(rows) for first, rows in found.items())


def test_apportioning_by_weights_adds_up() -> None:
    assert apportioned(7, [Fraction(1), Fraction(1), Fraction(1)]) == [3, 2, 2]
