"""Each line of a JSONL file is a row, or a finding that says what the line is instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.reading.jsonl import Row, read_jsonl
from orchestrator.dataset.report import Finding, Level
from orchestrator.errors import InputError, Place


def read(folder: Path, content: bytes) -> list[Row | Finding]:
    file = folder / "rows.jsonl"
    file.write_bytes(content)
    return list(read_jsonl(file, "rows.jsonl"))


def only_finding(folder: Path, line: bytes) -> Finding:
    """The finding for a line that stands third, between sound rows."""
    before, second, found, after = read(folder, b'{"a":1}\n{"a":2}\n' + line + b'\n{"a":4}\n')
    assert [row.value for row in (before, second, after) if isinstance(row, Row)] == [
        {"a": 1},
        {"a": 2},
        {"a": 4},
    ]
    assert isinstance(found, Finding)
    assert found.place == Place("rows.jsonl", 3)
    assert found.level is Level.ERROR
    assert found.hint
    return found


@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        (b'{"a": "x', "cut", "cut off after 8 characters"),
        (b'{"a": {"b": "}', "cut", "cut off after 14 characters"),
        (b'{"a": tru', "cut", "cut off"),
        (b"{", "cut", "cut off"),
        ('{"a": "\u00e9\u00e9'.encode(), "cut", "cut off after 9 characters"),
        (b'{"a":1}{"a":2}', "two-rows", "the second starts at character 8"),
        (b'{"a":1} {"a":2}', "two-rows", "the second starts at character 9"),
        (b'{"a":1}\r{"a":2}', "two-rows", "the second starts at character 9"),
        (b'{"a":1},', "trailing-text", "','"),
        (b'{"a":1}}', "trailing-text", "'}'"),
        (b'{"a":1} // note', "trailing-text", "'// note'"),
        (b'{"a": "\xff"}', "not-utf8", "byte 8 of the line is not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "not-utf8", "byte 1"),
        (b'{"a": "\xed\xa0\x80"}', "not-utf8", "byte 8"),
        (b'{"a": NaN}', "not-json", "NaN"),
        (b'{"a": -Infinity}', "not-json", "Infinity"),
        (b'{"a": 1e999}', "not-json", "out of range"),
        (b'{"a": "\\ud800"}', "not-json", "broken Unicode escape"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not-json", "too many digits"),
        (b'{"a": 18446744073709551616}', "long-number", "more than 64 bits"),
        (b'{"a": {"b": [-9223372036854775809]}}', "long-number", "more than 64 bits"),
        (b'{"a": ' + b"[" * 250 + b"]" * 250 + b"}", "nested", "deeper than 201 levels"),
        (b"{'a': 1}", "not-json", "double quotes (character 2)"),
        (b'{"a": 1,}', "not-json", "character 9"),
        (b'{"a": "\t"}', "not-json", "control character"),
        (b"hello", "not-json", "character 1"),
        (b'{"a":' * 100_000, "nested", "too deeply"),
        (b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", "nested", "too deeply"),
        (b"[1, 2]", "not-object", "this is a list"),
        (b'"text"', "not-object", "this is a string"),
        (b"null", "not-object", "this is null"),
        (b"true", "not-object", "this is true or false"),
        (b"1.5", "not-object", "this is a number"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_line_that_is_no_row_is_named_with_its_cause(
    tmp_path: Path, line: bytes, code: str, part: str
) -> None:
    found = only_finding(tmp_path, line)
    assert found.code == code
    assert part in found.message


def test_a_byte_order_mark_is_found_on_the_first_line_only(tmp_path: Path) -> None:
    mark, row = read(tmp_path, b'\xef\xbb\xbf{"a":1}\n{"a":2}\n')
    assert isinstance(mark, Finding)
    assert (mark.code, mark.place) == ("bom", Place("rows.jsonl", 1))
    assert row == Row(2, {"a": 2})


def test_blank_lines_are_skipped_and_still_counted(tmp_path: Path) -> None:
    rows = read(tmp_path, b'\n{"a":1}\n  \t\n\r\n{"a":2}\n\n\n')
    assert rows == [Row(2, {"a": 1}), Row(5, {"a": 2})]


def test_windows_line_ends_and_a_last_line_without_an_end_are_taken(tmp_path: Path) -> None:
    assert read(tmp_path, b'{"a":1}\r\n{"a":2}') == [Row(1, {"a": 1}), Row(2, {"a": 2})]


def test_a_line_separator_inside_a_string_ends_no_line(tmp_path: Path) -> None:
    text = '{"a":"one\u2028two\u0085three"}\n'
    assert read(tmp_path, text.encode()) == [Row(1, {"a": "one\u2028two\u0085three"})]


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\r\n"])
def test_a_file_without_rows_is_an_error_of_its_own(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl holds no rows") as caught:
        read(tmp_path, content)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_a_missing_file_a_folder_and_a_path_through_a_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path, message in [
        (tmp_path / "gone", "there is no file x"),
        (tmp_path, "x is a folder, not a file"),
        (tmp_path / "file" / "rows", "cannot read x: "),
    ]:
        with pytest.raises(InputError) as caught:
            list(read_jsonl(path, "x"))
        assert caught.value.message.startswith(message)
        assert caught.value.hint


def test_every_byte_that_was_read_is_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    content = b'{"a":1}\n\nbroken\r\n{"a":2}'
    file.write_bytes(content)
    seen: list[bytes] = []
    list(read_jsonl(file, "rows.jsonl", on_line=seen.append))
    assert b"".join(seen) == content


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.text(max_size=4), _VALUES, max_size=4), min_size=1, max_size=8))
def test_rows_that_were_written_are_read_back_on_their_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    read_back = read(tmp_path_factory.mktemp("rows"), content)
    assert read_back == [Row(number, row) for number, row in enumerate(rows, start=1)]


@given(st.binary(min_size=1, max_size=60))
def test_whatever_bytes_a_line_holds_it_is_a_row_a_finding_or_blank(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    line = content.replace(b"\n", b" ")
    found = read(tmp_path_factory.mktemp("rows"), b'{"a":1}\n' + line + b"\n")
    assert found[0] == Row(1, {"a": 1})
    assert len(found) == (2 if line.strip() else 1)
    assert all(isinstance(item, Row) or item.place.line == 2 for item in found[1:])


@given(st.integers(min_value=1, max_value=10**6))
def test_a_row_cut_anywhere_is_found_as_cut(
    tmp_path_factory: pytest.TempPathFactory, where: int
) -> None:
    row = json.dumps({"prompt": 'a {b} [c] \\ "d"', "completion": '{"x": [1, {"y": null}]}'})
    cut = row[: 1 + where % (len(row) - 1)]
    (found,) = read(tmp_path_factory.mktemp("rows"), cut.encode())
    assert isinstance(found, Finding)
    assert found.code == "cut"
