"""The shuffle and the splits are the same everywhere, lose nothing and share out fairly."""

from __future__ import annotations

from collections import Counter
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.jsonl import Row
from orchestrator.dataset.splits import (
    SPLITS,
    Split,
    line_characters,
    prompt_completion_line,
    shuffled,
    split_counts,
    split_rows,
    write_splits,
)

_RATIOS = st.tuples(st.integers(1, 100), st.integers(0, 99)).map(
    lambda ab: (
        ab[0] / 100,
        min(ab[1], 100 - ab[0]) / 100,
        (100 - ab[0] - min(ab[1], 100 - ab[0])) / 100,
    )
)
_LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n"]) | st.binary(max_size=4), max_size=30)
_SEEDS = st.integers(0, 2**32 - 1)


def rows(texts: list[str]) -> list[Row]:
    return [
        Row(number, {"prompt": f"p {text}", "completion": text, "source": "elsewhere"})
        for number, text in enumerate(texts, start=1)
    ]


def lines_of(splits: list[Split]) -> list[bytes]:
    return [line for split in splits for line in split.lines]


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


@given(st.lists(st.text("xyz", max_size=2), max_size=40), _SEEDS, _RATIOS)
def test_splits_hold_every_row_once_and_equal_rows_keep_their_number(
    texts: list[str], seed: int, ratios: tuple[float, float, float]
) -> None:
    data = rows(texts)
    splits = split_rows(data, seed=seed, ratios=ratios)
    assert tuple(split.name for split in splits) == SPLITS
    assert Counter(lines_of(splits)) == Counter(map(prompt_completion_line, data))
    assert [len(split.lines) for split in splits] == split_counts(len(data), ratios)


@given(_LINES, _SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(
    lines: list[bytes], seed: int, random: object
) -> None:
    other = list(lines)
    random.shuffle(other)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert shuffled(lines, seed) == shuffled(other, seed)


@given(_LINES, st.binary(max_size=4), _SEEDS)
def test_a_new_row_leaves_the_others_in_their_order(
    lines: list[bytes], new: bytes, seed: int
) -> None:
    more = shuffled([*lines, new], seed)
    # Of equal lines it cannot be said which one is new: take away the one that makes them equal.
    assert any(
        [*more[:index], *more[index + 1 :]] == shuffled(lines, seed)
        for index, line in enumerate(more)
        if line == new
    )


@given(st.integers(2, 60), st.integers(1, 60), _SEEDS, _RATIOS)
def test_a_smaller_limit_takes_a_prefix_of_the_same_shuffle(
    count: int, limit: int, seed: int, ratios: tuple[float, float, float]
) -> None:
    data = rows([str(number) for number in range(count)])
    everything = lines_of(split_rows(data, seed=seed, ratios=ratios))
    limited = split_rows(data, seed=seed, ratios=ratios, limit=limit)
    assert lines_of(limited) == everything[:limit]
    assert [len(split.lines) for split in limited] == split_counts(min(limit, count), ratios)


def test_the_shuffle_shuffles_and_another_seed_shuffles_otherwise() -> None:
    lines = [b"%d\n" % number for number in range(50)]
    first, second = shuffled(lines, 1), shuffled(lines, 2)
    assert len({tuple(lines), tuple(first), tuple(second)}) == 3


def test_the_order_is_that_of_the_documented_hash() -> None:
    """A digest of the order: a change of it would change what every existing plan trains on."""
    import hashlib

    lines = [b"%d\n" % (number % 7) for number in range(20)]
    numbered = [(line, lines[:index].count(line)) for index, line in enumerate(lines)]
    expected = sorted(
        numbered, key=lambda item: hashlib.sha256(b"42\0%d\0%s" % (item[1], item[0])).digest()
    )
    assert shuffled(lines, 42) == [line for line, _ in expected]


def test_the_service_gets_the_two_fields_and_nothing_else() -> None:
    row = Row(3, {"source": "x", "completion": "c \u00e9", "prompt": "p\n\u2028"})
    line = prompt_completion_line(row)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert list(orjson.loads(line).items()) == [("prompt", "p\n\u2028"), ("completion", "c \u00e9")]


def test_characters_are_those_of_the_text_not_of_its_bytes() -> None:
    line = prompt_completion_line(Row(1, {"prompt": "\u00e9\n\U0001f600", "completion": '"x"'}))
    assert line_characters(line) == 6
    assert Split("train", (line, line)).characters == 12


def test_only_splits_with_rows_are_written(tmp_path: Path) -> None:
    splits = split_rows(rows(list("abcd")), seed=1, ratios=(0.75, 0.25, 0.0))
    files = write_splits(splits, tmp_path)
    assert files == {"train": tmp_path / "train.jsonl", "validation": tmp_path / "validation.jsonl"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["train.jsonl", "validation.jsonl"]
    for split in splits[:2]:
        assert files[split.name].read_bytes() == split.content
        assert split.content.count(b"\n") == len(split.lines)
