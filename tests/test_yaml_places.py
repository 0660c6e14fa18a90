"""YAML is read with the place of every value, and ends in a message whatever it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InputError, Place
from orchestrator.yaml_places import load_yaml, parse_yaml, read_text


def refused(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f.yaml")
    return caught.value


def bomb(levels: int = 9) -> str:
    """Nine aliases to nine aliases to ...: 9 ** levels words in a few lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)
    ]
    return "\n".join(lines)


def test_values_keys_and_list_items_have_their_places() -> None:
    document = parse_yaml("a: 1\nb:\n  c: [x,\n    y]\n", "f.yaml")
    assert document.value == {"a": 1, "b": {"c": ["x", "y"]}}
    assert document.place(("b", "c", 1)) == Place("f.yaml", 4, 5)
    assert document.key_place(("b", "c")) == Place("f.yaml", 3, 3)
    assert document.place(("a",)) == Place("f.yaml", 1, 4)


def test_an_absent_value_has_the_place_of_its_nearest_parent() -> None:
    document = parse_yaml("a: 1\nb:\n  c: 2\n", "f.yaml")
    assert document.place(("b", "missing", "deeper")) == Place("f.yaml", 3, 3)
    assert document.key_place(("missing",)) == Place("f.yaml", 1, 1)


def test_a_document_without_content_still_has_a_place() -> None:
    document = parse_yaml("# only a comment\n", "f.yaml")
    assert document.value is None
    assert document.place(("a",)) == Place("f.yaml")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1e-4", 1e-4), ("1E3", 1e3), ("-2.5e+3", -2500.0), (".5e1", 5.0), ("2.0e-05", 2e-5)],
)
def test_a_number_with_an_exponent_is_a_number(written: str, meant: float) -> None:
    value = parse_yaml(f"a: {written}", "f.yaml").value["a"]
    assert isinstance(value, float)
    assert value == meant


@pytest.mark.parametrize("written", ["'1e-4'", '"1e-4"', "1e-4x", "e4", "1.e"])
def test_quoted_numbers_and_words_stay_text(written: str) -> None:
    value = parse_yaml(f"a: {written}", "f.yaml").value["a"]
    assert value == written.strip("'\"")


@pytest.mark.parametrize(
    "written", ["012", "-012", "+07", "00", "0_1", "01.5", "01e5", "!!int '012'"]
)
def test_a_number_with_a_leading_zero_is_refused_because_yaml_may_read_it_in_base_8(
    written: str,
) -> None:
    error = refused(f"a: 1\nb: {written}\n")
    assert error.where == Place("f.yaml", 2, 4)
    assert "starts with a zero" in error.message
    assert "quotes" in error.hint


@pytest.mark.parametrize("written", ["1:30", "-1:30", "1:30.5", "10:00:00"])
def test_a_number_in_base_60_is_refused(written: str) -> None:
    error = refused(f"a: {written}\n")
    assert error.where == Place("f.yaml", 1, 4)
    assert error.message == f"`{written}` would be read as a number in base 60"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *[("0", 0), ("-0", 0), ("0.5", 0.5), ("0.012", 0.012), ("0e3", 0.0), ("10", 10)],
        *[("0x1F", 31), ("'012'", "012"), ("'1:30'", "1:30"), ("1:x", "1:x"), ("[0]", [0])],
    ],
)
def test_other_numbers_and_quoted_ones_are_read_as_before(written: str, meant: object) -> None:
    value = parse_yaml(f"a: {written}", "f.yaml").value["a"]
    assert value == meant
    assert type(value) is type(meant)


def test_a_key_may_look_like_any_number() -> None:
    assert parse_yaml("012: a\n1:30: b\n", "f.yaml").value == {"012": "a", "1:30": "b"}


def test_a_key_given_twice_is_refused_where_it_stands_again() -> None:
    error = refused("a: 1\nb: 2\na: 3\n")
    assert error.where == Place("f.yaml", 3, 1)
    assert error.message == "`a` is given twice (first on line 1)"
    assert error.hint == "Remove one of them."


def test_a_key_given_twice_in_an_inner_block_is_refused() -> None:
    assert refused("a:\n  b: 1\n  b: 1\n").where == Place("f.yaml", 3, 3)


def test_the_same_key_in_two_blocks_is_no_repetition() -> None:
    value = parse_yaml("a: {k: 1}\nb: {k: 2}\n", "f.yaml").value
    assert value == {"a": {"k": 1}, "b": {"k": 2}}


def test_aliases_that_multiply_end_in_a_message() -> None:
    error = refused(bomb())
    assert error.message == "too deeply nested or too large"
    assert error.where is not None
    assert error.where.line
    assert error.hint


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a\n  b: *a"])
def test_an_alias_to_itself_ends_in_a_message(text: str) -> None:
    assert refused(text).message == "too deeply nested or too large"


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 60 + "]" * 60, "{a: " * 30_000, "- " * 30_000, "? " * 5_000],
    ids=["open lists", "closed lists", "mappings", "dashes", "keys"],
)
def test_deep_nesting_ends_in_a_message_and_does_not_crash(text: str) -> None:
    error = refused(text)
    assert error.message == "too deeply nested or too large"
    assert error.where is not None
    assert error.where.line == 1


def test_an_alias_used_honestly_is_resolved() -> None:
    assert parse_yaml("a: &x [1]\nb: *x\n", "f.yaml").value == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\n  b: 2\n", 2, "mapping values are not allowed"),
        ("a:\n\tb: 2\n", 2, "cannot start any token"),
        ("a: [1,\nb: 2\n", 3, "did not find expected"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document in the stream"),
        ("a: 'x\n\n", 1, "unexpected end of stream"),
        ("a: 1\nb: \x07\n", 2, "control characters are not allowed"),
        ("é: 1\nb: é\x07\n", 2, "control characters are not allowed"),
        ("a: 1\nb: !!python/object/apply:os.system [x]\nc: !foo 1\n", 3, "constructor"),
        ("? [a]\n: 1\n", 1, "a key must be a word"),
        ("a: 1\nb: 2026-13-45\n", 2, "month must be in 1..12"),
        ("a: 1\nb: " + "9" * 5000, 2, "cannot read this value"),
        ("a: !!bool maybe", 1, "it is not a bool"),
        ("a: !!timestamp soon", 1, "it is not a timestamp"),
        ("a: !!int x", 1, "cannot read this value"),
        ("a: !!binary é", 1, "not valid YAML"),
    ],
)
def test_what_is_not_yaml_is_named_with_its_line_and_a_remedy(
    text: str, line: int, part: str
) -> None:
    error = refused(text)
    assert error.where is not None
    assert error.where.line == line
    assert part in error.message
    assert error.hint
    assert error.exit_code == 2


def test_tags_never_construct_objects(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    refused(f"a: !!python/object/apply:os.mkdir '{witness}'")
    value = parse_yaml(f"a: !!python/object/apply:os.mkdir ['{witness}']", "f.yaml").value
    assert value == {"a": [str(witness)]}
    assert not witness.exists()


def test_a_byte_order_mark_of_an_editor_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_yaml(file).value == {"a": 1}


def test_windows_line_ends_count_as_one_line(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"a: 1\r\nb: 2\r\n")
    assert load_yaml(file).place(("b",)).line == 2


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(InputError) as caught:
        load_yaml(file, "spec.yaml")
    assert caught.value.where == Place("spec.yaml", 2)
    assert "not UTF-8" in caught.value.message
    assert caught.value.hint


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file gone") as missing:
        read_text(tmp_path / "gone", "gone")
    with pytest.raises(InputError, match="dir is a folder, not a file") as folder:
        read_text(tmp_path, "dir")
    assert missing.value.hint
    assert folder.value.hint


def test_a_path_through_a_file_and_a_name_too_long_end_in_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot read x: "):
        read_text(tmp_path / "file" / "spec.yaml", "x")
    with pytest.raises(InputError, match="cannot read x: "):
        read_text(tmp_path / ("n" * 5000), "x")
