"""In crowds of like texts no pair is lost, and what was not compared is said."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.checks.leaks import LeaksCheck
from orchestrator.dataset.nearness import index, near_duplicates
from orchestrator.dataset.nearness.crowds import lists_to_compare
from orchestrator.dataset.nearness.near_duplicates import NearDuplicates
from orchestrator.dataset.nearness.wording import similarity_of_tokens
from orchestrator.dataset.report import Level
from tests.dataset.checked_rows import checked, row, rules_of

_TOKENS = st.frozensets(st.sampled_from("abcdefghij"), min_size=1, max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.lists(_TOKENS, max_size=30), st.sampled_from([0.5, 0.6, 0.75, 0.8, 0.9]))
def test_each_pair_that_is_similar_enough_is_in_a_list(
    texts: list[frozenset[str]], threshold: float
) -> None:
    lists = list(lists_to_compare(range(len(texts)), texts.__getitem__, threshold, short=2))
    listed = {pair for one in lists for pair in itertools.combinations(one, 2)}
    for one, other in itertools.combinations(range(len(texts)), 2):
        if similarity_of_tokens(texts[one], texts[other]) >= threshold:
            assert (one, other) in listed


def test_lists_are_far_fewer_pairs_than_all_of_a_template() -> None:
    rng = random.Random(5)  # noqa: S311 (no secret)
    texts = [
        frozenset(["play", "the", "song", "by", "now", *(f"n{rng.randrange(3000)}" for _ in "abc")])
        for _ in range(2000)
    ]
    lists = lists_to_compare(range(2000), texts.__getitem__, 0.8, short=64)
    assert sum(len(one) * (len(one) - 1) // 2 for one in lists) < 2000 * 1999 // 2 / 50


def _songs(rows: int) -> list[str]:
    rng = random.Random(3)  # noqa: S311 (no secret)
    names = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(3000)]
    rooms = ["kitchen", "garden", "bathroom", "cellar", "hall"]
    return [
        f"please play the song {rng.choice(names)} by {rng.choice(names)} in the "
        f"{rng.choice(rooms)} right now"
        for _ in range(rows)
    ]


def test_one_changed_word_in_a_crowd_of_one_template_is_a_leak_across_files() -> None:
    train = _songs(1500)
    copies = [train[n].replace("right now", "today now") for n in range(0, 1500, 50)]
    near = NearDuplicates(0.8, 42)
    for number, text in enumerate([*train, *copies]):
        near.add(number, text)
    found = {pair.later: pair.earlier for pair in near.pairs(lambda number: int(number >= 1500))}
    assert found == {1500 + number: 50 * number for number in range(30)}
    assert near.not_compared == 0


def test_what_is_too_alike_to_compare_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_CROWD", 1)
    monkeypatch.setattr(index, "_MOST_LISTED", 1)
    monkeypatch.setattr(near_duplicates, "_MOST_COMPARISONS", 0)
    monkeypatch.setattr(near_duplicates, "_LEAST_PARTNERS", 1)
    words = [f"{letter}word" for letter in "abcdefghijkl"]
    texts = [" ".join([*words[:7], a, b]) for a, b in itertools.combinations(words[7:], 2)]
    rows = [row(n, text, split="train" if n < 8 else "test") for n, text in enumerate(texts * 2, 1)]
    report = checked(LeaksCheck(rules_of(near_duplicates=0.8)), rows)
    codes = {group.code: group for group in report.findings if group.level is Level.WARNING}
    assert "so alike that not every pair" in codes["not-all-compared"].examples[0].message
    assert codes["leak-not-ruled-out"].examples[0].place.line is not None


@pytest.mark.parametrize("digits", ["٣ + ٤", "\uff13 + \uff14", "३ + ४"])
def test_digits_of_another_script_are_the_same_numbers(digits: str) -> None:
    near = NearDuplicates(0.8, 42)
    near.add(0, "What is 3 + 4, and why is it so")
    near.add(1, f"What is {digits}, and why is it so")
    assert near.groups() == [(0, 1)]
