"""Which answers people get: by a seed, in proportion, whatever the order of a file."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evaluation.audit_sampling import Group, draw, groups, is_right
from orchestrator.evaluation.scores import MetricKind, Part, RowScores, yes

GROUPS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.tuples(st.sampled_from(["right", "wrong"]), st.sampled_from(["easy", "hard", ""])),
    min_size=1,
    max_size=60,
)
KIND = MetricKind("exact", "exact")


@given(GROUPS, st.integers(1, 70), st.integers(0, 5))
def test_every_group_is_drawn_in_proportion(
    by_key: dict[str, Group], count: int, seed: int
) -> None:
    found = draw(by_key, count, seed=seed)
    assert len(set(found)) == len(found) == min(count, len(by_key))
    drawn, every = Counter(map(by_key.__getitem__, found)), Counter(by_key.values())
    for group, size in every.items():
        assert abs(drawn[group] - len(found) * size / len(by_key)) < 1


@given(GROUPS, st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(
    by_key: dict[str, Group], count: int, shuffler: random.Random
) -> None:
    items = list(by_key.items())
    shuffler.shuffle(items)
    assert draw(dict(items), count, seed=0) == draw(by_key, count, seed=0)


def test_another_seed_draws_other_rows() -> None:
    by_key = {f"row {number}": ("right", "") for number in range(200)}
    assert set(draw(by_key, 20, seed=0)) != set(draw(by_key, 20, seed=1))


def test_a_sample_is_the_same_in_every_release() -> None:
    by_key = {f"row {number}": (("wrong", "right")[number % 3 > 0], "") for number in range(12)}
    assert draw(by_key, 4, seed=0) == ("row 10", "row 3", "row 5", "row 7")


@pytest.mark.parametrize(
    ("part", "higher", "right"),
    [
        (Part(1), True, True),
        (Part(2, 3), True, False),
        (Part(0), False, True),
        (Part(1), False, False),
        (Part(0, 0), True, None),
    ],
)
def test_a_row_is_right_when_it_has_all_that_is_asked(
    part: Part, higher: bool, right: bool | None
) -> None:
    kind = MetricKind("exact", "exact", higher)
    assert is_right(kind, RowScores("k", {"exact": part})) is right


def test_rows_are_grouped_by_the_first_slice_that_tells_any_apart() -> None:
    rows = [
        RowScores("a", {"exact": yes(True)}, {"calls": "one", "tool": "x"}),
        RowScores("b", {"exact": yes(False)}, {"calls": "one", "tool": "y"}),
        RowScores("c", {}, {"calls": "one"}),
    ]
    assert groups(KIND, rows) == {"a": ("right", "x"), "b": ("wrong", "y"), "c": ("unknown", "")}
