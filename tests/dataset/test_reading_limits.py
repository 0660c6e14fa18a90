"""Rows that are too long, or hold what JSON cannot, are found; reading goes on after them."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.reading import csv_rows, json_list, jsonl, rows
from orchestrator.dataset.reading.opening import read_rows
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.report import Finding
from orchestrator.dataset.rules import RowsFile
from orchestrator.dataset.running.engine import check_files, check_in_parts
from tests.dataset.checked_rows import rules_of
from tests.dataset.test_reading_kinds import PACKINGS, found, read


def test_what_json_cannot_hold_is_named_in_the_row_and_found(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": ["a", "b"],
            "completion": ["x", "y"],
            "score": [1.5, float("nan")],
            "inside": [{"image": b"\xff\xd8", "name": "n"}, {"image": b"text", "name": "n"}],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    first, second = read_rows(RowsFile(tmp_path / "t.parquet", "t"))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.value["inside"] == {"name": "n"}
    assert first.lost == ("`inside`: bytes that are no text were left out",)
    assert second.value["score"] is None
    assert second.lost == ("`score`: NaN or infinity became null",)
    report = check_files([RowsFile(tmp_path / "t.parquet", "t")], rules_of(), ["form"])
    (group,) = report.findings
    assert (report.rows, group.code, group.level, group.count) == (2, "lost-value", "warning", 2)
    assert [example.place.line for example in group.examples] == [1, 2]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_row_that_is_too_long_is_found_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for module in (rows, jsonl, csv_rows):
        monkeypatch.setattr(module, "MAX_ROW_BYTES", 50)
    monkeypatch.setattr(rows, "_SKIPPED_BYTES", 7)
    long = b"y" * 200
    content = b'{"a":1}\n{"a":"' + long + b'"}\n{"a":"' + b"x" * 41 + b'"}\n'
    file = tmp_path / f"rows.jsonl{suffix}"
    file.write_bytes(PACKINGS[suffix](content))
    found_rows = list(read_rows(RowsFile(file, "rows")))
    assert [type(row) for row in found_rows] == [Row, Finding, Row]
    assert [str(row.place) for row in found_rows if isinstance(row, Finding)] == ["rows:2"]
    for part_bytes in (10, 1000):
        report = check_in_parts(
            [RowsFile(file, "rows")], rules_of(), ["form"], part_bytes=part_bytes, workers=1
        )
        codes = {group.code: group.count for group in report.findings}
        assert (report.rows, codes["too-long-row"]) == (3, 1)
    table = b"a,b\n1,2\n3," + long + b"\n5,6\n"
    assert found(tmp_path, "rows.csv", table) == [("too-long-row", 3)]


def test_a_row_of_a_list_that_never_ends_is_not_read_to_the_end_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_list, "MAX_ROW_BYTES", 50)
    monkeypatch.setattr(json_list, "_CHUNK_BYTES", 20)
    content = b'[\n{"a":1},\n{"a":"' + b"x" * 500
    assert found(tmp_path, "rows.json", content) == [("too-long-row", 3)]


def test_reading_csv_leaves_the_limit_of_other_readers_as_it_is(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    items = read(tmp_path, "rows.csv", b"a,b\n1," + b"x" * (before + 1) + b"\n")
    assert isinstance(items[0], Row)
    assert csv.field_size_limit() == before
