"""Files that people fill in: harmless in a spreadsheet, and every mistake in them told at once."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.audit_files import (
    LONGEST_CELL,
    AuditRow,
    FilledRow,
    inert,
    read_filled,
    rubric_file,
    write_sample,
)
from orchestrator.errors import InputError
from orchestrator.evaluation.rubric import ANSWER_QUALITY

KEYS = ("=cmd", "b", "ü")
SAMPLE = "0123456789ab"


def rows(predicted: Sequence[str | None] = ("x", None, "z"), **more: object) -> list[AuditRow]:
    values = {"prompt": "What?", "expected": "that", "sample": SAMPLE, **more}
    return [
        AuditRow(row=number, predicted=said, key=key, **values)  # type: ignore[arg-type]
        for number, (key, said) in enumerate(zip(KEYS, predicted, strict=True), 1)
    ]


def read(file: Path) -> list[FilledRow]:
    return read_filled(file, ANSWER_QUALITY, {SAMPLE: KEYS, "other": ("o",)})


def filled_csv(file: Path, scores: Sequence[str], *, delimiter: str = ",", **more: str) -> Path:
    """As a spreadsheet saves it: the columns that count, and whatever else."""
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(["prompt", "score", "note", "key", "sample"])
        for key, score in zip(KEYS, scores, strict=True):
            writer.writerow(["two\nlines", score, more.get("note", ""), inert(key), SAMPLE])
    return file


def problems(file: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(file)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_what_was_written_comes_back_filled_in(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"audit{suffix}"
    assert write_sample(file, rows(), ANSWER_QUALITY) == 0
    text = file.read_text(encoding="utf-8-sig")
    if suffix == ".csv":
        text = text.replace("x,,,", 'x,4,"so, it is",').replace(",,,,'b", ",,4,,'b")
    else:
        text = text.replace('"score": null', '"score": 4', 2).replace('"note": ""', '"note": "n"')
    file.write_text(text, encoding="utf-8")
    assert [(one.key, one.score) for one in read(file)] == [("=cmd", 4), ("b", 4), ("ü", None)]


def test_the_rubric_lies_beside_the_answers(tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"
    write_sample(file, rows(), ANSWER_QUALITY)
    text = rubric_file(file).read_text(encoding="utf-8")
    assert "answer-quality@1" in text
    assert all(line in text for line in ANSWER_QUALITY.lines())


@given(st.sampled_from("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"), st.text(max_size=20))
def test_no_cell_begins_like_a_formula(first: str, rest: str) -> None:
    assert inert(first + rest) == f"'{first}{rest}"
    assert inert(f"a{first}") == f"a{first}"


def test_no_text_of_a_row_is_a_formula_or_a_control_sequence(tmp_path: Path) -> None:
    evil = ('=HYPERLINK("http://x";"y")', "-2+3+cmd|' /C calc'!A0", "\x1b[31mred\u202e")
    file = tmp_path / "audit.csv"
    write_sample(file, rows(evil, prompt="@SUM(A1)", expected="+1"), ANSWER_QUALITY)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        for record in csv.DictReader(stream):
            for cell in record.values():
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
                assert "\x1b" not in cell
                assert "\u202e" not in cell


def test_a_text_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    for suffix in (".csv", ".jsonl"):
        file = tmp_path / f"audit{suffix}"
        write_sample(file, rows(["\ud800", "y", "z"]), ANSWER_QUALITY)
        assert "\\ud800" in file.read_text(encoding="utf-8-sig")


def test_a_blind_reviewer_sees_no_expected_answer(tmp_path: Path) -> None:
    for suffix in (".csv", ".jsonl"):
        file = tmp_path / f"audit{suffix}"
        write_sample(file, rows(expected=None), ANSWER_QUALITY)
        assert "expected" not in file.read_text(encoding="utf-8-sig")


def test_scores_are_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"
    file.write_text("my scores", encoding="utf-8")
    with pytest.raises(InputError, match=r"there already.*\n.*--out"):
        write_sample(file, rows(), ANSWER_QUALITY)
    assert file.read_text(encoding="utf-8") == "my scores"
    with pytest.raises(InputError, match="neither CSV nor JSON lines"):
        write_sample(tmp_path / "audit.xlsx", rows(), ANSWER_QUALITY)


def test_a_text_that_excel_would_cut_is_told(tmp_path: Path) -> None:
    said = ["x" * (LONGEST_CELL + 1), "y", "z"]
    assert write_sample(tmp_path / "audit.csv", rows(said), ANSWER_QUALITY) == 1
    assert write_sample(tmp_path / "audit.jsonl", rows(said), ANSWER_QUALITY) == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_files_of_spreadsheets_are_read_whatever_parts_their_cells(
    tmp_path: Path, delimiter: str
) -> None:
    file = filled_csv(tmp_path / "a.csv", [" 5 ", "", "0"], delimiter=delimiter, note="n")
    found = read(file)
    assert [(one.key, one.score, one.note) for one in found] == [
        ("=cmd", 5, "n"),
        ("b", None, "n"),
        ("ü", 0, "n"),
    ]
    assert [one.place.line for one in found] == [2, 4, 6]


def test_every_problem_is_told_at_once_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "key,score,sample,note\n"
        f"b,6,{SAMPLE},\n"
        f"b,3,{SAMPLE},\n"
        f"c,4.5,{SAMPLE},\n"
        "o,-1,elsewhere,\n"
        f"ü,3,{SAMPLE}\n"
        f"ü,٣,{SAMPLE},{'n' * 4001}\n",
        encoding="utf-8",
    )
    told = problems(file)
    for line, words in (
        (2, "column `score`: '6' is no whole number from 0 to 5"),
        (3, "column `key`: the same row as on line 2"),
        (4, "column `score`: '4.5' is no whole number"),
        (4, "column `key`: 'c' is no row of the sample"),
        (5, "column `score`: '-1' is no whole number"),
        (5, "column `sample`: 'elsewhere' is no sample of these answers"),
        (6, "3 cells where the header has 4"),
        (7, "column `score`: '٣' is no whole number"),
        (7, "column `note`: it is no text of at most 4000 characters"),
    ):
        assert f"{file}:{line}: {words}" in told
    assert "9 problems" in told


@pytest.mark.parametrize("score", [True, 4.0, 6, -1, [], "four"])
def test_a_score_in_json_is_a_whole_number(tmp_path: Path, score: object) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"key": "b", "sample": SAMPLE, "score": score}), encoding="utf-8")
    assert f"{file}:1: column `score`" in problems(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no column `key`"),
        ("key,sample\nb,x\n", "there is no column `score`"),
        ('{"key": "b"}\n[1]\n', "this line is no JSON object"),
        ('{"key": "b", "score": 3}\n', "there is no `sample`"),
        (f'key,score,sample\n"b,3,{SAMPLE}\n', "this is no CSV"),
        (f"key,score,sample\nb,,{SAMPLE}\n", "has no scores yet"),
        (f"key,score,sample\nb,3,{SAMPLE}\no,3,other\n", "has rows of 2 samples"),
    ],
)
def test_what_is_no_file_of_scores_is_said_to_be_none(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text, encoding="utf-8")
    assert words in problems(file)


def test_a_file_of_another_encoding_is_named_as_such(tmp_path: Path) -> None:
    file = filled_csv(tmp_path / "a.csv", ["1", "2", "3"])
    file.write_bytes(file.read_text(encoding="utf-8-sig").encode("latin-1"))
    assert "is not UTF-8" in problems(file)
    assert "cannot read" in problems(tmp_path / "gone.csv")


@given(st.binary(max_size=300))
def test_no_file_ends_in_another_error(tmp_path_factory: pytest.TempPathFactory, b: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(b"key,score,sample\n" + b)
    problems(file)
