"""A part of a large set: the same whatever the order, fair to rows, and small in memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.preparing.rows import prepare_rows
from orchestrator.dataset.preparing.sorting import SortedRecords
from orchestrator.dataset.preparing.subset import Bound
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.report import Finding
from orchestrator.dataset.rules import RowsFile
from orchestrator.errors import InputError
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


def subset(rows: int, by: str = "reservoir", **changes: Any) -> Any:
    return rules(subset={"rows": rows, "by": by}, **changes)


def taken(folder: Path) -> set[str]:
    return set().union(*prompts(folder).values())


def test_a_reservoir_does_not_depend_on_the_order_of_the_rows(tmp_path: Path) -> None:
    rows = pairs(range(500))
    written = prepare_in(tmp_path / "one", rows, given=subset(40))
    prepare_in(tmp_path / "two", rows[::-1], given=subset(40))
    assert prepared_lines(tmp_path / "one") == prepared_lines(tmp_path / "two")
    assert sum(split.rows for split in written.splits) == 40
    assert written.left_out.subset == 460


def test_a_reservoir_of_parts_is_that_of_the_whole(tmp_path: Path) -> None:
    rows = pairs(range(300))
    halves = [write_rows(tmp_path / f"{n}.jsonl", rows[n::2]) for n in (0, 1)]
    prepare_in(tmp_path / "parts", halves, given=subset(30))
    prepare_in(tmp_path / "whole", rows, given=subset(30))
    assert taken(tmp_path / "parts") == taken(tmp_path / "whole")


def test_another_seed_draws_other_rows(tmp_path: Path) -> None:
    prepare_in(tmp_path / "one", pairs(range(300)), given=subset(30))
    prepare_in(tmp_path / "two", pairs(range(300)), given=subset(30, seed=1))
    assert taken(tmp_path / "one") != taken(tmp_path / "two")


def test_every_row_is_drawn_about_equally_often_however_often_it_stands_there(
    tmp_path: Path,
) -> None:
    """Row 0 stands there twenty times: drawn line by line, it would be there nearly always."""
    drawn = 0
    for seed in range(60):
        out = tmp_path / str(seed)
        rows = [*pairs(range(40)), *pairs([0] * 19)]
        prepare_in(out, rows, given=subset(10, seed=seed))
        assert len(taken(out)) == 10
        drawn += question(0) in taken(out)
    assert 5 <= drawn <= 27  # a quarter of 60, give or take; the other way about 59


def test_equal_rows_fill_what_different_ones_leave(tmp_path: Path) -> None:
    rows = [*pairs(range(8)), *pairs([1] * 5)]
    written = prepare_in(tmp_path / "out", rows, given=subset(11))
    assert sum(split.rows for split in written.splits) == 11
    assert len(taken(tmp_path / "out")) == 8


def test_dropped_rows_take_no_place_in_the_subset(tmp_path: Path) -> None:
    long = [{"prompt": f"{question(n)} {'word ' * 40}", "completion": "x"} for n in range(1000)]
    given_rules = subset(30, too_long="drop", max_length=20, near_duplicates=1.0)
    left_out = []
    for name, rows in (("one", [*long, *pairs(range(60))]), ("two", [*pairs(range(60)), *long])):
        written = prepare_in(
            tmp_path / name, rows, given=given_rules, machinery=parts(WordCounter())
        )
        assert sum(split.rows for split in written.splits) == 30
        left_out.append(written.left_out)
    assert left_out[0] == left_out[1]
    assert prepared_lines(tmp_path / "one") == prepared_lines(tmp_path / "two")


def test_head_takes_the_first_rows_and_reads_no_further(tmp_path: Path) -> None:
    read: list[int] = []
    drawn: list[str] = []
    closed: list[bool] = []

    def files() -> Iterator[RowsFile]:
        for name in ("a", "b", "c"):
            drawn.append(name)
            yield RowsFile(tmp_path / name, name)

    def rows(file: RowsFile) -> Iterator[Row | Finding]:
        try:
            for number, row in enumerate(pairs(range(100)), start=1):
                read.append(number)
                yield Row(number, {**row, "prompt": f"{file.name} {row['prompt']}"})
        finally:
            closed.append(True)

    written = prepare_rows(
        files(), subset(130, "head"), parts(read=rows), tmp_path / "out", limit=None
    )
    assert drawn == ["a", "b"]
    assert (len(read), closed) == (130, [True, True])
    assert sum(split.rows for split in written.splits) == written.rows == 130
    first = {f"a {question(n)}" for n in range(100)} | {f"b {question(n)}" for n in range(30)}
    assert taken(tmp_path / "out") == first


def test_head_of_a_smaller_set_is_all_of_it(tmp_path: Path) -> None:
    written = prepare_in(tmp_path / "out", pairs(range(12)), given=subset(50, "head"))
    assert sum(split.rows for split in written.splits) == 12


def test_a_subset_of_rows_that_somebody_has_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not go together"):
        prepare_in(tmp_path / "out", pairs([1]), given=subset(5, split={"files": {"train": "t"}}))


def test_the_bound_admits_all_rows_that_may_be_drawn() -> None:
    digests = [hashlib.sha256(b"%d" % number).digest() for number in range(2000)]
    bound, admitted = Bound(50), set()
    for digest in [*digests, *digests]:
        if bound.admits(digest):
            admitted.add(digest)
            bound.take(digest)
    assert set(sorted(digests)[:50]) <= admitted
    assert len(admitted) < 50 * 8


@pytest.mark.parametrize(
    "given_rules", [subset(500), rules(near_duplicates=1.0)], ids=["subset", "whole"]
)
def test_memory_does_not_grow_with_rows(
    tmp_path: Path, given_rules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15,000 rows take more than 8 MB in memory; here they must not."""
    monkeypatch.setattr(SortedRecords.__init__, "__defaults__", (250_000,))

    def generated(_: RowsFile) -> Iterator[Row]:
        for number in range(15_000):
            yield Row(number + 1, {"prompt": question(number), "completion": "yes"})

    file = RowsFile(Path("f"), "f")
    # What the first call imports is no memory of rows: it comes before the measuring.
    prepare_rows([file], given_rules, parts(read=generated), tmp_path / "first", limit=20)
    tracemalloc.start()
    prepare_rows([file], given_rules, parts(read=generated), tmp_path / "out", limit=None)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4_000_000
