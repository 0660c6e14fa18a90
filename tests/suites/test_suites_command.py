"""`orchestrator suites`: the list, and the rows of a suite from files and from the Hub."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from orchestrator.data_addresses import DatasetAddress, RemoteAddress, RemoteRows
from orchestrator.data_sources import Fetch
from orchestrator.errors import InputError
from orchestrator.suites.catalog import suite_named, suites
from orchestrator.suites.reading import read_suite
from tests.suites import samples

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run(["suites", *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return call


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def jsonl(file: Path, rows: Iterable[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


class Network(Fetch):
    """One file at one commit, as a dataset on the Hub holds it."""

    def __init__(self, files: dict[str, Path], commit: str | None = "c" * 40) -> None:
        self.files = files
        self.newest = commit
        self.asked: list[str] = []

    def commit(self, address: DatasetAddress) -> str | None:
        return self.newest

    def find(self, address: RemoteAddress) -> tuple[RemoteRows, ...]:
        self.asked.append(str(address))
        assert isinstance(address, DatasetAddress)
        assert address.pinned
        version = str(address.revision)
        return tuple(
            RemoteRows(address, path, version, 1, "git", "0" * 40)
            for path in self.files
            if path == address.path
        )

    def bring(self, rows: RemoteRows) -> Path:
        return self.files[rows.path]


def test_the_list_names_scorer_rows_and_licence_of_every_suite(shell: Shell) -> None:
    code, out, err = shell()
    assert (code, err) == (0, "")
    for suite in suites().values():
        assert f"\n{suite.name}\n" in f"\n{out}"
        assert suite.licence in out
    code, out, _ = shell("--json")
    assert [one["name"] for one in json.loads(out)] == list(suites())


@pytest.mark.parametrize("name", list(samples.SUITES))
def test_rows_of_every_suite_are_written_as_score_and_generate_read_them(
    shell: Shell, tmp_path: Path, name: str
) -> None:
    from orchestrator.answer_files import alone, match, read_answers
    from orchestrator.training import generate, sft_rows

    assert generate.__file__
    source = jsonl(tmp_path / "rows.jsonl", [samples.SUITES[name]])
    out = tmp_path / "out" / "suite.jsonl"
    code, printed, err = shell("rows", name, "--from", source, "--out", out)
    assert (code, printed.strip()) == (0, str(out))
    assert f"1 row of {name} from {source}" in err
    assert f"--scorer {suite_named(name).scorer}" in err
    (row,) = lines(out)
    (read,) = sft_rows.read_rows(out)
    assert (read.prompt, read.completion) == (row["prompt"], row["completion"])
    expected = read_answers(out, "expected")
    assert expected[0].answer == row["expected"]
    (matched,) = match(expected, read_answers(out, "predicted")).rows
    assert matched.predicted == row["completion"][0]["content"]
    assert alone(read_answers(out, "predicted")).rows[0].expected == row["expected"]


def test_tables_and_packed_files_are_read_too(shell: Shell, tmp_path: Path) -> None:
    table = tmp_path / "aqua.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, [*samples.AQUA])
        writer.writeheader()
        writer.writerow({**samples.AQUA, "options": json.dumps(samples.AQUA["options"])})
    packed = tmp_path / "gsm8k.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(samples.GSM8K).encode()))
    for name, file in (("aqua", table), ("gsm8k", packed)):
        out = tmp_path / f"{name}.out"
        assert shell("rows", name, "--from", file, "--out", out)[0] == 0
        assert lines(out)[0]["id"] == f"{name}-0"


def test_possible_answers_are_found_beside_the_rows_or_named(shell: Shell, tmp_path: Path) -> None:
    rows = jsonl(tmp_path / "simple.json", [samples.BFCL])
    out = tmp_path / "out.jsonl"
    code, _, err = shell("rows", "bfcl", "--from", rows, "--out", out)
    assert (code, out.exists()) == (2, False)
    assert "possible_answer/simple.json" in err
    answers = jsonl(tmp_path / "possible_answer" / "simple.json", [samples.BFCL_ANSWER])
    assert shell("rows", "bfcl", "--from", rows, "--out", out)[0] == 0
    assert [tool["function"]["name"] for tool in lines(out)[0]["tools"]] == ["music.play", "stop"]
    other = answers.rename(tmp_path / "answers.json")
    assert shell("rows", "bfcl", "--from", rows, "--answers", other, "--out", out)[0] == 0
    jsonl(other, [{**samples.BFCL_ANSWER, "id": "simple_1"}])
    code, _, err = shell("rows", "bfcl", "--from", rows, "--answers", other, "--out", out)
    assert (code, f"{rows}:1: there is no answer with the id" in err) == (2, True)


def test_a_limit_draws_the_same_rows_each_time_and_keeps_their_ids(
    shell: Shell, tmp_path: Path
) -> None:
    rows = [{**samples.GSM8K, "answer": f"#### {n}"} for n in range(50)]
    source = jsonl(tmp_path / "rows.jsonl", rows)
    drawn = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / f"{number}.jsonl"
        shell("rows", "gsm8k", "--from", source, "--out", out, "--limit", "5", "--seed", str(seed))
        drawn.append(lines(out))
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5
    for row in drawn[0]:
        assert row["id"] == f"gsm8k-{row['expected']}"


def test_what_is_asked_for_can_be_replaced_or_left_out(tmp_path: Path) -> None:
    source = str(jsonl(tmp_path / "rows.jsonl", [samples.GSM8K]))
    for ask, end in (("Answer.", "\n\nAnswer."), ("", "left?"), (None, "into \\boxed{}.")):
        found = read_suite(suite_named("gsm8k"), source, Network({}), ask=ask)
        assert found.rows[0].turns[0]["content"].endswith(end)


# -------------------- the Hub


def test_rows_come_from_the_suite_s_own_commit(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "test.jsonl", [samples.MATH_500])
    network = Network({"test.jsonl": file})
    found = read_suite(suite_named("math-500"), None, network)
    assert network.asked == [suite_named("math-500").address]
    assert found.files == ("hf://datasets/HuggingFaceH4/MATH-500@6e4ed1a/test.jsonl",)
    assert found.rows[0].expected == "2,-2"


def test_another_address_on_the_hub_is_pinned_before_it_is_read(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "rows.jsonl", [samples.BFCL])
    answers = jsonl(tmp_path / "answers.jsonl", [samples.BFCL_ANSWER])
    network = Network({"a/b.json": file, "a/possible_answer/b.json": answers})
    found = read_suite(suite_named("bfcl"), "hf://datasets/o/n/a/b.json", network)
    pinned = f"hf://datasets/o/n@{'c' * 40}/a"
    assert network.asked == [f"{pinned}/b.json", f"{pinned}/possible_answer/b.json"]
    assert found.rows[0].id == samples.BFCL["id"]
    with pytest.raises(InputError, match="names no commit, and offline"):
        read_suite(suite_named("bfcl"), "hf://datasets/o/n/a/b.json", Network({}, None))


def test_every_address_is_one_commit_of_a_dataset() -> None:
    from orchestrator.data_addresses import parse_address

    for suite in suites().values():
        if suite.address is not None:
            address = parse_address(suite.address)
            assert isinstance(address, DatasetAddress)
            assert address.pinned
            assert suite.source.endswith(address.repo)


# -------------------- mistakes


def test_a_suite_without_an_address_asks_for_its_rows(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("rows", "mathqa", "--out", tmp_path / "x")
    assert (code, "mathqa: no file of it on the Hub is known for certain" in err) == (2, True)
    assert "--from FILE" in err


def test_a_misspelt_suite_names_the_nearest(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("rows", "gsm8", "--out", tmp_path / "x")
    assert (code, "there is no suite 'gsm8'" in err, "Did you mean gsm8k?" in err) == (
        2,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([samples.GSM8K, samples.AQUA], "rows.jsonl:2: this row has no `answer`, so it is none of"),
        ([samples.GSM8K, {**samples.GSM8K, "answer": "5"}], "rows.jsonl:2: `answer` has no number"),
        ([], "rows.jsonl"),
    ],
)
def test_rows_of_something_else_are_named_by_their_line(
    shell: Shell, tmp_path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    source, out = jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out.jsonl"
    code, _, err = shell("rows", "gsm8k", "--from", source, "--out", out)
    assert (code, out.exists()) == (2, False)
    assert words in err


def test_two_rows_of_one_id_cannot_be_told_apart(shell: Shell, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "rows.jsonl", [samples.SVAMP, samples.SVAMP])
    code, _, err = shell("rows", "svamp", "--from", source, "--out", tmp_path / "x")
    assert (code, "rows.jsonl:2: this row has the id 'chal-1'" in err) == (2, True)


def test_answers_belong_to_suites_that_have_them_apart(shell: Shell, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "rows.jsonl", [samples.GSM8K])
    given = ("--from", source, "--answers", source, "--out", tmp_path / "x")
    code, _, err = shell("rows", "gsm8k", *given)
    assert (code, "leave --answers out" in err) == (2, True)
    assert shell("--json", "rows", "gsm8k", *given)[0] == 2
