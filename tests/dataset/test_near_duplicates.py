"""Near-duplicates are found as counting by hand finds them, whatever the order."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.nearness.near_duplicates import NearDuplicates
from orchestrator.dataset.nearness.wording import (
    differ_in_numbers_only,
    shared_runs,
    similarity,
    without_shared,
    words,
)

INSTRUCTION = (
    "You are the router of a team of specialists for mathematics, code and search. Given the "
    "query of a user, respond with a JSON object that describes the whole plan. Use double quotes "
    "and no comments, and keep the phrasing of the user wherever that is possible.\n\nQuery: "
)


def groups(texts: Sequence[str], threshold: float = 0.8, seed: int = 42) -> list[tuple[int, ...]]:
    near = NearDuplicates(threshold, seed)
    for index, text in enumerate(texts):
        near.add(index, text)
    return near.groups()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "How do I reset the password of my account today?",
            "how do i reset the password of my account",
        ),
        (
            "Where can I find the invoice for my last order",
            "Where can I find the invoice of my last order",
        ),
        ("Battery status please.", "battery status, please"),
        ("What is the weather like?", "Like, what is the weather?"),
        ("今天北京的天气怎么样呢", "今天北京的天气怎么样啊"),
    ],
)
def test_a_word_changed_added_or_moved_is_found(first: str, second: str) -> None:
    assert groups([first, "Something that is wholly different", second]) == [(0, 2)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("How far have I gone?", "How much have I paid?"),
        ("Turn on the light in the kitchen", "Turn on the heating in the bathroom"),
        ("What's my current speed?", "What's my current altitude?"),
        ("a a a a b", "a b b b b"),
    ],
)
def test_short_questions_about_something_else_are_not(first: str, second: str) -> None:
    assert groups([first, second]) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Add 3 and 4.", "Add 3 and 5."),
        (
            "What is 12 + 7 times 3 in base 10, please?",
            "What is 12 - 7 times 3 in base 10, please?",
        ),
        ("Subtract 3 from 4 and tell me the result", "Subtract 4 from 3 and tell me the result"),
        ("3 + 4 + 5 + 6 + 7 + 8", "3 + 4 + 5 + 6 + 7 + 9"),
        ("Calculate -7 + -16 + 31 - 5 now", "Calculate 8 - 3 + 11 - 19 now"),
    ],
)
def test_questions_that_differ_in_numbers_only_are_of_one_template(first: str, second: str) -> None:
    near = NearDuplicates(0.6, 42)
    near.add(7, second)
    near.add(3, first)
    assert near.groups() == []
    templates = near.templates()
    assert (templates.rows, templates.templates, templates.largest) == (2, 1, ((3, 2),))


def test_a_number_that_only_one_has_is_a_word_like_any_other() -> None:
    assert groups(
        ["What is the weather like today at noon", "What is the weather like today at 5 noon"]
    )


def test_rows_of_one_template_are_no_pair_even_where_a_third_row_links_them() -> None:
    end = "and 4 and tell me the result of it"
    texts = [f"add 3 {end}", f"add 5 {end} please", f"add 5 {end}"]
    near = NearDuplicates(0.7, 42)
    for index, text in enumerate(texts):
        near.add(index, text)
    assert near.groups() == [(0, 1, 2)]
    found = list(near.pairs([0, 1, 1].__getitem__))
    assert [(pair.earlier, pair.later) for pair in found] == [(0, 1)]


def test_numbers_that_are_equal_do_not_hide_a_near_duplicate() -> None:
    texts = [
        "A train leaves at 7 and drives 300 km in 3 hours. How fast is the train?",
        "A train leaves at 7 and drives 300 km in 3 hours. How fast is this train?",
    ]
    assert groups(texts) == [(0, 1)]


def test_a_long_instruction_that_all_share_makes_nothing_similar() -> None:
    topics = ["rivers", "prime numbers", "sorting", "the moon", "taxes", "violins", "bread", "snow"]
    texts = [f"{INSTRUCTION}Explain {topic} to {topic} lovers." for topic in topics]
    copy = f"{INSTRUCTION}Explain violins to the violins lovers"
    assert groups([*texts, copy], 0.6) == [(5, 8)]


def test_each_of_several_instructions_is_shared_wording() -> None:
    tasks = [
        INSTRUCTION,
        INSTRUCTION[::-1].replace(".", " x "),
        " ".join(f"w{chr(97 + n)}" for n in range(26)),
    ]
    rng = random.Random(1)  # noqa: S311 (no secret)
    names = ["river", "stone", "cloud", "lamp", "door", "fish", "road", "tree"]
    texts = [f"{task} {' '.join(rng.choices(names, k=6))} {n}" for n in range(40) for task in tasks]
    runs = shared_runs([words(text) for text in texts])
    assert all(len(without_shared(words(text), runs)) < 16 for text in texts)


def test_texts_that_are_nothing_but_shared_wording_are_compared_as_they_are() -> None:
    bare = [INSTRUCTION + end for end in ("", "?", "!", "…")]
    assert groups([*bare, INSTRUCTION + "What is snow made of?"]) == [(0, 1, 2, 3)]


def test_the_threshold_decides_and_is_inclusive() -> None:
    first, second = "one two three four five", "one two three four"
    assert similarity(words(first), words(second)) == 0.8
    assert groups([first, second], 0.8) == [(0, 1)]
    assert groups([first, second], 0.81) == []


def test_threshold_1_finds_equal_texts_alone() -> None:
    assert groups(["a b c", "A b, c", "a b c"], 1.0) == [(0, 2)]


def test_texts_without_words_are_near_nothing() -> None:
    assert groups(["", "???", "…", "", "\ud800"]) == [(0, 3)]


def _by_hand(texts: Sequence[str], threshold: float) -> list[tuple[int, ...]]:
    """Groups by comparing all pairs, with counters in place of numbered words."""
    runs = shared_runs([words(text) for text in dict.fromkeys(texts)])
    split = [words(text) for text in texts]
    own = [Counter(without_shared(text, runs)) for text in split]
    group = list(range(len(texts)))
    for one, other in itertools.combinations(range(len(texts)), 2):
        both, either = own[one] & own[other], own[one] | own[other]
        near = either and both.total() / either.total() >= threshold - 1e-12
        if texts[one] == texts[other] or (
            near and not differ_in_numbers_only(split[one], split[other])
        ):
            low, high = sorted((group[one], group[other]))
            group = [low if number == high else number for number in group]
    return sorted(
        members
        for root in set(group)
        if len(members := tuple(n for n, number in enumerate(group) if number == root)) > 1
    )


_WORDS = ["the", "a", "of", "river", "stone", "lamp", "door", "in", "is", "what"]
_NUMBERS = ["3", "4", "17", "+"]
_TEXT = st.lists(st.sampled_from([*_WORDS, *_NUMBERS]), max_size=9).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(_TEXT, max_size=25), st.sampled_from([0.6, 0.75, 0.8, 0.9]), st.randoms())
def test_groups_are_those_of_comparing_all_pairs_in_any_order(
    texts: list[str], threshold: float, rng: random.Random
) -> None:
    expected = _by_hand(texts, threshold)
    assert groups(texts, threshold) == expected
    shuffled = list(enumerate(texts))
    rng.shuffle(shuffled)
    near, rest = NearDuplicates(threshold, 42), NearDuplicates(threshold, 42)
    cut = rng.randint(0, len(shuffled))
    for index, text in shuffled[:cut]:
        near.add(index, text)
    for index, text in shuffled[cut:]:
        rest.add(index, text)
    near.merge(rest)
    assert near.groups() == expected


def _changed(rng: random.Random, vocabulary: Sequence[str]) -> tuple[str, str]:
    text = rng.choices(vocabulary, k=rng.randint(18, 30))
    other = list(text)
    other[rng.randrange(len(other))] = "changed"
    return " ".join(text), " ".join(other)


def test_of_a_thousand_changed_texts_nearly_all_are_found_and_no_other() -> None:
    rng = random.Random(7)  # noqa: S311 (no secret)
    vocabulary = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(3000)]
    couples = [_changed(rng, vocabulary) for _ in range(1000)]
    alone = [_changed(rng, vocabulary)[0] for _ in range(3000)]
    texts = [text for couple in couples for text in couple] + alone
    expected = [(2 * n, 2 * n + 1) for n in range(1000)]
    for seed in (42, 7):
        found = groups(texts, 0.8, seed)
        assert set(found) <= set(expected)
        assert len(found) >= 995


def test_a_crowd_of_one_template_stays_quick_and_finds_the_copies_in_it() -> None:
    texts = [f"Add the numbers {n} and {n * 7} and write down the sum" for n in range(3000)]
    texts += ["Add the numbers 5 and 35 and write down the sum!"]
    near = NearDuplicates(0.8, 42)
    for index, text in enumerate(texts):
        near.add(index, text)
    assert near.groups() == [(5, 3000)]
    assert near.templates().largest[0] == (0, 3001)


def test_pairs_show_the_closest_row_of_an_earlier_split() -> None:
    texts = [
        "how do i reset the password of my account",
        "how do i reset the password of my old account",
        "How do I reset the password of my account?",
        "where is my parcel with the blue shoes",
        "where is my parcel with the blue shoes now",
    ]
    near = NearDuplicates(0.8, 42)
    for index, text in enumerate(texts):
        near.add(index, text)
    found = list(near.pairs([0, 0, 1, 1, 1].__getitem__))
    assert [(pair.earlier, pair.later, pair.similarity) for pair in found] == [(0, 2, 1.0)]


def test_an_excerpt_begins_after_what_all_share() -> None:
    near = NearDuplicates(0.8, 42)
    for index, topic in enumerate(["rivers", "lamps", "big\ndoors", "roads", "fish"]):
        near.add(index, f"{INSTRUCTION}{topic} of iron and wood")
    assert near.excerpt(2) == "big doors of iron and wood"
    assert near.excerpt(2, 12) == "big doors o…"


_PRINT_GROUPS = """
import json, sys
from orchestrator.dataset.nearness.near_duplicates import NearDuplicates
near = NearDuplicates(0.7, 42)
for index, text in enumerate(json.load(sys.stdin)):
    near.add(index, text)
print(json.dumps([near.groups(), near.templates().largest]))
"""


def test_hash_randomisation_changes_nothing() -> None:
    rng = random.Random(3)  # noqa: S311 (no secret)
    texts = json.dumps([" ".join(rng.choices([*_WORDS, *_NUMBERS], k=9)) for _ in range(600)])
    said = {
        subprocess.run(
            [sys.executable, "-c", _PRINT_GROUPS],
            input=texts,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(said) == 1
    assert len(json.loads(said.pop())[0]) > 3


def _questions(folder: Path, name: str) -> list[str]:
    if name == "cycling-copilot":
        with (folder / name / "rows.csv").open(encoding="utf-8", newline="") as file:
            return [row["user_message"] for row in csv.DictReader(file)]
    file_of = {"math": "benchmarks.jsonl"}
    with (folder / name / file_of.get(name, "rows.jsonl")).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    if name == "math":
        return [row["body"]["messages"][-1]["content"] for row in rows]
    return [row["user_content" if name == "support-router" else "prompt"] for row in rows]


@pytest.mark.parametrize(
    ("name", "found", "templates"),
    [
        ("support-router", 0, 0),
        ("cycling-copilot", 38, 16),
        ("route-plan", 0, 0),
        ("math", 58, 59),
    ],
)
def test_outside_data_has_the_groups_that_people_see(name: str, found: int, templates: int) -> None:
    if not (outside := os.environ.get("ORCHESTRATOR_DATA")):
        pytest.skip("ORCHESTRATOR_DATA is not set: the outside data is not here")
    texts = _questions(Path(outside), name)
    near = NearDuplicates(0.8, 42)
    for index, text in enumerate(texts):
        near.add(index, text)
    assert len(near.groups()) == found
    assert near.templates().templates == templates
