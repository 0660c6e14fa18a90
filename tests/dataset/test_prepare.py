"""Prepared rows are the same everywhere, lose nothing, and tear no duplicates apart."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from orchestrator.dataset.preparing.machinery import need_exact_counts
from orchestrator.dataset.preparing.prepared import DataError
from orchestrator.dataset.preparing.sorting import SortedRecords
from orchestrator.dataset.report import Finding, Level
from orchestrator.dataset.rules import SplitName
from orchestrator.errors import InputError, Place
from tests.dataset.preparing import (
    WordCounter,
    pairs,
    parts,
    prepare_in,
    prepared_lines,
    prompts,
    question,
    rules,
    write_rows,
)


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def in_order(folder: Path) -> list[bytes]:
    lines = prepared_lines(folder)
    return [line for name in ("train", "validation", "test") for line in lines.get(name, [])]


@given_any(
    st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.binary(max_size=20)), max_size=60),
    st.integers(0, 2000),
)
def test_records_come_sorted_whether_or_not_they_went_to_disk(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[bytes, bytes]], most: int
) -> None:
    folder = tmp_path_factory.mktemp("sort") / "records"
    kept = SortedRecords(folder, most)
    for key, payload in records:
        kept.add(key, payload)
    assert list(kept) == list(kept) == sorted(records)
    kept.close()
    assert not folder.exists()


def test_every_row_is_in_one_split_and_the_counts_are_the_shares(tmp_path: Path) -> None:
    rows = pairs(range(100))
    written = prepare_in(tmp_path / "out", rows)
    assert [split.rows for split in written.splits] == [85, 10, 5]
    assert Counter(in_order(tmp_path / "out")) == Counter(map(orjson.dumps, rows))


def test_equal_rows_keep_their_number_and_one_split(tmp_path: Path) -> None:
    rows = [*pairs(range(40)), *pairs([3] * 7)]
    written = prepare_in(tmp_path / "out", rows)
    assert Counter(in_order(tmp_path / "out")) == Counter(map(orjson.dumps, rows))
    assert written.kept_together.groups == 1
    assert written.kept_together.rows == written.kept_together.largest == 8
    found = [name for name, asked in prompts(tmp_path / "out").items() if question(3) in asked]
    assert len(found) == 1


@pytest.mark.parametrize("most_bytes", [0, 5_000, 10**9])
def test_order_of_rows_and_memory_make_no_difference(
    tmp_path: Path, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*pairs(range(60)), *pairs([1, 1, 2])]
    prepare_in(tmp_path / "one", rows)
    rows = rows[1::2] + rows[::-2]
    monkeypatch.setattr(SortedRecords.__init__, "__defaults__", (most_bytes,))
    half = [write_rows(tmp_path / f"{n}.jsonl", rows[n::2]) for n in (0, 1)]
    prepare_in(tmp_path / "other", half)
    assert digests(tmp_path / "one") == digests(tmp_path / "other")


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_writes_the_same_bytes(tmp_path: Path, hash_seed: str) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.dataset.preparing import *\n"
        "rows = pairs([*range(50), 4, 4], tags=['a', 'b', 'c'])\n"
        "prepare_in(Path(sys.argv[1]), rows, given=rules(split={'stratify_by': 'completion'}))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
    )
    given_rules = rules(split={"stratify_by": "completion"})
    rows = pairs([*range(50), 4, 4], tags=["a", "b", "c"])
    prepare_in(tmp_path / "here", rows, given=given_rules)
    assert digests(tmp_path / "here") == digests(tmp_path / "there")


def test_another_seed_is_another_order(tmp_path: Path) -> None:
    prepare_in(tmp_path / "one", pairs(range(50)))
    prepare_in(tmp_path / "two", pairs(range(50)), given=rules(seed=43))
    assert prompts(tmp_path / "one")["test"] != prompts(tmp_path / "two")["test"]


def test_a_new_row_leaves_the_others_in_their_order(tmp_path: Path) -> None:
    prepare_in(tmp_path / "one", pairs(range(50)))
    prepare_in(tmp_path / "two", pairs(range(51)))
    (new,) = pairs([50])
    assert [line for line in in_order(tmp_path / "two") if line != orjson.dumps(new)] == in_order(
        tmp_path / "one"
    )


@pytest.mark.parametrize("limit", [1, 10, 49, 50, 60])
def test_a_limit_takes_the_first_rows_of_the_same_order(tmp_path: Path, limit: int) -> None:
    prepare_in(tmp_path / "all", pairs(range(50)))
    written = prepare_in(tmp_path / "some", pairs(range(50)), limit=limit)
    assert in_order(tmp_path / "some") == in_order(tmp_path / "all")[:limit]
    assert written.left_out.limit == max(0, 50 - limit)


def test_nearly_equal_questions_go_into_one_split(tmp_path: Path) -> None:
    close = [
        {"prompt": f"{question(n)} {end}", "completion": f"{n} {end}"}
        for n in range(30)
        for end in ("please", "now")
    ]
    written = prepare_in(tmp_path / "out", [*close, *pairs(range(100, 140))])
    assert written.kept_together.groups == 30
    sides = prompts(tmp_path / "out")
    for number in range(30):
        mine = [name for name, asked in sides.items() if f"{question(number)} please" in asked]
        other = [name for name, asked in sides.items() if f"{question(number)} now" in asked]
        assert mine == other
    assert [split.rows for split in written.splits] == [85, 10, 5]
    apart = prepare_in(
        tmp_path / "apart", [*close, *pairs(range(100, 140))], given=rules(near_duplicates=1.0)
    )
    assert apart.kept_together.groups == 0


def test_equal_prompts_with_other_answers_stay_together(tmp_path: Path) -> None:
    rows = [{"prompt": question(n // 2), "completion": f"{n}"} for n in range(80)]
    written = prepare_in(tmp_path / "out", rows, given=rules(near_duplicates=1.0))
    sides = list(prompts(tmp_path / "out").values())
    assert sum(len(asked) for asked in sides) == 40
    assert written.kept_together.groups == 40


def test_strata_are_spread_over_the_splits(tmp_path: Path) -> None:
    rows = [
        {"prompt": question(n), "completion": f"{n}", "agent": {"name": "ab"[n % 10 == 0]}}
        for n in range(200)
    ]
    split = {"train": 0.8, "validation": 0.1, "test": 0.1, "stratify_by": "agent.name"}
    written = prepare_in(tmp_path / "out", rows, given=rules(split=split))
    assert [part.rows for part in written.splits] == [160, 20, 20]
    rare = {question(n) for n in range(0, 200, 10)}
    counts = [len(asked & rare) for asked in prompts(tmp_path / "out").values()]
    assert sorted(counts) == [2, 2, 16]


def test_a_row_without_the_field_that_is_spread_is_named(tmp_path: Path) -> None:
    rows = [*pairs(range(3), agent="a"), *pairs([5])]
    with pytest.raises(
        InputError, match=r"no field `agent` for data\.split\.stratify_by"
    ) as caught:
        prepare_in(tmp_path / "out", rows, given=rules(split={"stratify_by": "agent"}))
    assert caught.value.where == Place("out-rows.jsonl", 4)
    assert caught.value.hint == "It has: prompt, completion."


def test_files_of_splits_stay_what_they_are(tmp_path: Path) -> None:
    given: list[tuple[SplitName, Iterable[int]]] = [
        ("train", range(20)),
        ("validation", [20, 21, 3]),
    ]
    files = [
        dataclasses.replace(write_rows(tmp_path / f"{name}.jsonl", pairs(numbers)), split=name)
        for name, numbers in given
    ]
    given_rules = rules(split={"files": {"train": "t", "validation": "v"}})
    written = prepare_in(tmp_path / "out", files, given=given_rules)
    assert [split.rows for split in written.splits] == [20, 3, 0]
    assert prompts(tmp_path / "out")["validation"] == {question(n) for n in (20, 21, 3)}
    assert written.kept_together.straddling == 1


def test_numbers_of_rows_leave_the_others_out(tmp_path: Path) -> None:
    split = {"train": 20, "validation": 5, "test": 0}
    written = prepare_in(tmp_path / "out", pairs(range(40)), given=rules(split=split))
    assert [part.rows for part in written.splits] == [20, 5, 0]
    assert written.left_out.numbers_wanted == 15
    assert not (tmp_path / "out" / "test.jsonl").exists()


def test_rows_that_lose_their_answer_are_dropped_only_where_the_spec_says_so(
    tmp_path: Path,
) -> None:
    rows = [*pairs(range(30)), {"prompt": "word " * 50, "completion": "late"}]
    machinery = parts(WordCounter())
    for too_long, left in (("drop", 30), ("cut", 31), ("error", 31)):
        given_rules = rules(too_long=too_long, max_length=40)
        written = prepare_in(tmp_path / too_long, rows, given=given_rules, machinery=machinery)
        assert sum(split.rows for split in written.splits) == left
        assert written.left_out.too_long == 31 - left
        assert written.too_long.answers_lost == (0 if too_long == "drop" else 1)


def test_rows_that_are_all_dropped_are_said_to_be(tmp_path: Path) -> None:
    given = rules(too_long="drop", max_length=1, max_length_source="tuning.max_length")
    said = r"all 20 rows lose their answer at 1 tokens \(tuning\.max_length\)"
    with pytest.raises(InputError, match=said):
        prepare_in(tmp_path / "out", pairs(range(20)), given=given, machinery=parts(WordCounter()))
    assert not (tmp_path / "out").exists()


def test_an_estimate_drops_nothing() -> None:
    with pytest.raises(InputError, match="an estimate must not decide") as caught:
        need_exact_counts(rules(too_long="drop"), WordCounter(exact=False))
    assert "tokenizer:" in caught.value.hint
    need_exact_counts(rules(too_long="drop"), WordCounter())
    need_exact_counts(rules(too_long="cut"), WordCounter(exact=False))


def test_figures_are_those_of_the_files(tmp_path: Path) -> None:
    rows = [
        row | {"tags": ["even", "x"] if n % 2 == 0 else ["x"], "difficulty": "hard"}
        for n, row in enumerate(pairs(range(50)))
    ]
    written = prepare_in(tmp_path / "out", rows, machinery=parts(WordCounter()))
    for split in written.splits:
        content = (tmp_path / "out" / f"{split.name}.jsonl").read_bytes()
        found = [orjson.loads(line) for line in content.splitlines()]
        assert (split.rows, split.size_bytes) == (len(found), len(content))
        assert split.sha256 == hashlib.sha256(content).hexdigest()
        lengths = [len(row["prompt"]) + len(row["completion"]) for row in found]
        whole = split.characters.whole
        assert (whole.total, whole.least, whole.most) == (sum(lengths), min(lengths), max(lengths))
        for one in whole.bins:
            assert one.rows == sum(one.low <= length <= one.high for length in lengths)
        assert sum(one.rows for one in whole.bins) == split.rows
        assert split.tokens is not None
        words = [len(row["prompt"].split()) for row in found]
        assert split.tokens.prompt.total == sum(words)
        assert {one.name: one.rows for one in split.tags}["x"] == split.rows
        assert [(one.name, one.rows) for one in split.difficulties] == [("hard", split.rows)]
    assert sum(one.rows for s in written.splits for one in s.tags if one.name == "even") == 25


def test_wrong_rows_are_all_reported_and_nothing_is_written(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", pairs(range(300)))
    with file.path.open("ab") as stream:
        stream.write(b"broken\n")

    def examine(examples: Any) -> list[Finding]:
        return [
            Finding("form", Level.ERROR, "bad", one.place, "bad", "")
            for one in examples
            if one.line in (2, 299)
        ]

    with pytest.raises(DataError, match=r"rows\.jsonl: 3 errors in 301 rows") as caught:
        prepare_in(tmp_path / "out", [file], machinery=parts(examine=examine))
    assert caught.value.exit_code == 1
    lines = [one.place.line for group in caught.value.report.findings for one in group.examples]
    assert sorted(lines, key=str) == [2, 299, 301]
    assert not (tmp_path / "out").exists()


def test_warnings_refuse_nothing(tmp_path: Path) -> None:
    warning = Finding("form", Level.WARNING, "odd", Place("x", 1), "odd", "")
    written = prepare_in(
        tmp_path / "out", pairs(range(10)), machinery=parts(examine=lambda _: [warning])
    )
    assert written.rows == 10


def test_no_rows_for_training_are_an_error(tmp_path: Path) -> None:
    split = {"train": 0.1, "validation": 0.0, "test": 0.9}
    with pytest.raises(InputError, match="1 rows leave none for training") as caught:
        prepare_in(tmp_path / "out", pairs(range(9)), given=rules(split=split), limit=1)
    assert caught.value.hint


def test_nothing_but_the_splits_is_left_even_of_rows_that_went_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SortedRecords.__init__, "__defaults__", (1000,))
    prepare_in(tmp_path / "out", [*pairs(range(100)), *pairs([1, 1])])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
