"""Rows are read from JSONL, JSON, CSV and Parquet, plain and compressed, with what is wrong."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.reading import json_list
from orchestrator.dataset.reading.opening import read_rows
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.report import Finding, Level
from orchestrator.dataset.rules import RowsFile
from orchestrator.errors import InputError

ROWS: list[dict[str, Any]] = [{"a": "one", "b": "x"}, {"a": 'é, "q"\nnext', "b": ""}]


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_json(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, indent=1).encode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def read(folder: Path, name: str, content: bytes) -> list[Row | Finding]:
    (folder / name).write_bytes(content)
    return list(read_rows(RowsFile(folder / name, name)))


def found(folder: Path, name: str, content: bytes) -> list[tuple[str, int | None]]:
    rows = read(folder, name, content)
    findings = [row for row in rows if isinstance(row, Finding)]
    assert all(f.level is Level.ERROR and f.kind == "form" and f.hint for f in findings)
    return [(f.code, f.place.line) for f in findings]


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": lambda data: zstandard.compress(data),
    ".members.gz": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
    ".frames.zst": lambda data: zstandard.compress(data[:9]) + zstandard.compress(data[9:]),
    "-without-suffix": gzip.compress,
}
KINDS = {"jsonl": as_jsonl, "json": as_json, "csv": as_csv, "parquet": as_parquet}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_plain_and_packed(tmp_path: Path, kind: str, packing: str) -> None:
    name = f"rows.{kind}{packing}" if kind == "csv" or "-" not in packing else f"rows{packing}"
    if kind == "csv" and packing not in ("", ".gz", ".zst"):
        name = f"rows.csv{'.gz' if 'gz' in packing or '-' in packing else '.zst'}"
    rows = read(tmp_path, name, PACKINGS[packing](KINDS[kind](ROWS)))
    assert [row.value for row in rows if isinstance(row, Row)] == ROWS
    first, second = {"jsonl": (1, 2), "json": (2, 6), "csv": (2, 3), "parquet": (1, 2)}[kind]
    assert [row.line for row in rows if isinstance(row, Row)] == [first, second]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "json"])
def test_a_cut_archive_is_named_where_it_was_reached(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    rows = [{"a": str(n**9 % 99991), "b": str(n**7)} for n in range(9000)]
    packed = PACKINGS[suffix](KINDS[kind](rows))
    found_rows = read(tmp_path, f"rows.{kind}{suffix}", packed[: len(packed) * 2 // 3])
    last = found_rows[-1]
    assert isinstance(last, Finding)
    assert last.code == "cut-archive"
    assert all(isinstance(row, Row) for row in found_rows[:-1])
    before = found_rows[-2]
    assert isinstance(before, Row)
    assert last.place.line == before.line + 1


def test_a_damaged_archive_is_told_from_a_cut_one(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(as_jsonl(ROWS * 5000)))
    packed[-6] ^= 0xFF  # the checksum
    assert found(tmp_path, "rows.jsonl.gz", bytes(packed))[-1][0] == "broken-archive"


# --------------------------------------------------------------------------------------- JSON


@settings(max_examples=40)
@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=30)), min_size=1, max_size=6),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.integers(1, 40),
)
def test_a_list_is_read_back_whatever_the_window_is(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, str]],
    indent: int | None,
    ascii_only: bool,
    window: int,
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_list, "_CHUNK_BYTES", window)
        items = read(tmp_path_factory.mktemp("rows"), "rows.json", text.encode())
    assert [item.value for item in items if isinstance(item, Row)] == rows
    if indent is not None:
        starts = [n for n, line in enumerate(text.split("\n"), 1) if line.lstrip()[:1] == "{"]
        assert [item.line for item in items if isinstance(item, Row)] == starts


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[\n{"a":1,"a":2},\n{"a":3}]', [("duplicate-key", 2)]),
        (b'[\n{"a":NaN},\n{"a":3}]', [("not-json", 2)]),
        (b'[\n{"a":"\xff"},\n{"a":3}]', [("not-utf8", 2)]),
        (b'[\n{"a":1},\n7,\n{"a":3}]', [("not-object", 3)]),
        (b'[\n{"a":1},\n{"a" 3}]', [("not-json", 3)]),
        (b'[\n{"a":1},\n{"a": "x', [("cut", 3)]),
        (b'[\n{"a":1}\n{"a":2}]', [("not-json", 3)]),
        (b'[\n{"a":1},\n]', [("not-json", 3)]),
        (b'[\n{"a":1}\n', [("cut", 3)]),
        (b'[\n{"a":1}\n]\n{"a":2}', [("trailing-text", 4)]),
        (b'[\n{"a":"\\ud800"}\n]', [("not-json", 2)]),
    ],
)
def test_a_broken_list_is_named_at_its_line(
    tmp_path: Path, content: bytes, expected: list[tuple[str, int]]
) -> None:
    assert found(tmp_path, "rows.json", content) == expected


# ---------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'a,b\n1,"x\ny"\n2\n3,4\n', [("ragged-row", 4)]),
        (b"a,b\n1,2,3\n", [("ragged-row", 2)]),
        (b"a,b\n1,\xff\n3,4\n", [("not-utf8", 2)]),
        (b"a,b\n1,x\0\n3,4\n", [("nul-byte", 2)]),
        (b'a,b\n1,2\n3,"open\n5,6\n', [("open-quote", 3)]),
        (b'a,b\n1,"x"y\n3,4\n', [("not-csv", 2)]),
        (b"a,b\n1,x\ry\n3,4\n", [("not-csv", 2)]),
    ],
)
def test_a_broken_record_is_named_at_its_first_line(
    tmp_path: Path, content: bytes, expected: list[tuple[str, int]]
) -> None:
    assert found(tmp_path, "rows.csv", content) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,a\n1,2\n", "two columns are named 'a'"),
        (b"a,\n1,2\n", "no header"),
        (b"12,hello\n1,2\n", "no header"),
        (b'"{""a"": 1}",x\n1,2\n', "no header"),
        (b"", "holds no rows"),
        (b"a,b\n", "holds no rows"),
    ],
)
def test_a_file_without_a_header_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, "rows.csv", content)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.tsv", b"a\tb\n1,5\t2\n"),
        ("rows.csv", b"a;b\n1,5;2\n"),
        ("rows.csv", b'\xef\xbb\xbfa,b\r\n"1,5",2\r\n\r\n'),
    ],
)
def test_other_separators_and_the_mark_of_spreadsheets_are_taken(
    tmp_path: Path, name: str, content: bytes
) -> None:
    assert read(tmp_path, name, content) == [Row(2, {"a": "1,5", "b": "2"})]


# ------------------------------------------------------------------------------------ Parquet


def test_values_that_only_tables_have_become_those_of_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": [dt.datetime(2026, 1, 2, tzinfo=dt.UTC)],
            "price": pa.array([Decimal("1.50")]),
            "nan": [float("nan")],
            "text": [b"bytes"],
            "image": [b"\xff\xd8"],
            "messages": [[{"role": "user", "content": "x"}]],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    (row,) = read_rows(RowsFile(tmp_path / "t.parquet", "t"))
    assert isinstance(row, Row)
    assert row.value == {
        "when": "2026-01-02T00:00:00+00:00",
        "price": 1.5,
        "nan": None,
        "text": "bytes",
        "messages": [{"role": "user", "content": "x"}],
    }


def test_a_cut_parquet_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sound Parquet file") as caught:
        read(tmp_path, "rows.parquet", as_parquet(ROWS)[:-20])
    assert caught.value.hint


# ----------------------------------------------------------------------------------- the kind


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", '{"a": 1}\n'.encode("utf-16"), "UTF-16"),
        ("rows.jsonl", b"PK\x03\x04abc", "zip"),
        ("rows.yaml", b"a: 1\n", "YAML"),
        ("rows.json", b'{\n  "data": [\n    {"a": 1}\n  ]\n}\n', "one JSON object over several"),
        ("rows.json", b"hello", "not JSON"),
        ("rows.parquet", b"hello", "no Parquet"),
        ("rows.json", b"[]", "holds no rows"),
        ("rows.jsonl.gz", gzip.compress(b"", mtime=0), "holds no rows"),
    ],
)
def test_a_file_of_another_kind_is_one_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, name, content)
    assert caught.value.hint


def test_content_goes_before_the_suffix(tmp_path: Path) -> None:
    assert read(tmp_path, "rows.csv", as_jsonl(ROWS)) == [Row(1, ROWS[0]), Row(2, ROWS[1])]
    assert [r.value for r in read(tmp_path, "x.jsonl", as_json(ROWS)) if isinstance(r, Row)] == ROWS


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'{"a": 1, "b": {"c": 1, "d": [{"c": 2, "c": 3}]}}', "c"),
        (b'{"a" : 1, "a" : 1}', "a"),
        (b'{"a": "x:y", "\\u0061": ":"}', "a"),
    ],
)
def test_a_key_that_stands_twice_is_named(tmp_path: Path, line: bytes, key: str) -> None:
    (finding,) = read(tmp_path, "rows.jsonl", line)
    assert isinstance(finding, Finding)
    assert finding.code == "duplicate-key"
    assert repr(key) in finding.message


@settings(max_examples=150)
@given(st.binary(max_size=80), st.sampled_from(["jsonl", "json", "csv", "tsv", "parquet"]))
def test_whatever_bytes_a_file_holds_nothing_but_our_errors_come(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str
) -> None:
    for start in (b"", b"[{", b"a,b\n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1"):
        try:
            items: list[Any] | None = read(
                tmp_path_factory.mktemp("rows"), f"rows.{kind}", start + content
            )
        except InputError as error:
            items = [] if error.hint else None
        assert items is not None


def test_every_byte_that_was_read_is_told(tmp_path: Path) -> None:
    for kind, write in KINDS.items():
        for suffix in ("", ".gz"):
            file = tmp_path / f"rows.{kind}{suffix}"
            file.write_bytes(PACKINGS[suffix](write(ROWS * 50)))
            told: list[int] = []
            list(read_rows(RowsFile(file, "rows"), told.append))
            if not (kind == "parquet" and suffix):
                assert sum(told) == file.stat().st_size, file
