"""`orchestrator score`: files of any form, matched row by row, and the table that comes of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import cli
from orchestrator.answer_files import prompt_sha256
from orchestrator.calls import Syntax, ToolCall, render
from orchestrator.cli import run
from orchestrator.evaluation.scorers import SCORERS
from orchestrator.training import generate, generate_prompts
from orchestrator.training.sft_rows import Row
from tests.jail.machine import jail_or_skip
from tests.router_spec import SAMPLE

assert generate.__file__  # imported first: it puts its folder where the others find each other
Shell = Callable[..., tuple[int, str, str]]
PLAY = render([ToolCall("play", {"artist": "Bach"})], Syntax.HERMES)
STOP = render([ToolCall("stop", {})], Syntax.HERMES)


@pytest.fixture
def score(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setitem(cli._COMMANDS, "score", "Score answers.")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run(["score", *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return call


def _file(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def _expected(folder: Path) -> Path:
    rows = [
        {"prompt": "a", "completion": PLAY, "difficulty": "easy"},
        {"prompt": "b", "completion": PLAY, "difficulty": "hard"},
        {"prompt": "c", "completion": STOP, "difficulty": "hard"},
    ]
    return _file(folder / "rows.jsonl", rows)


def _predicted(folder: Path, **answers: str | None) -> Path:
    rows = [{"prompt_sha256": prompt_sha256(p), "predicted": said} for p, said in answers.items()]
    return _file(folder / "predictions.jsonl", rows)


def _metrics(out: str) -> dict[str, float]:
    return {one["name"]: one["value"] for one in json.loads(out)["metrics"]}


# -------------------- matching


def test_rows_are_matched_by_the_prompt_s_digest_whatever_their_order(
    score: Shell, tmp_path: Path
) -> None:
    said = _predicted(tmp_path, c=STOP, a=PLAY, b=STOP)
    code, out, err = score(
        *("--expected", _expected(tmp_path), "--predicted", said),
        *("--scorer", "calls", "--json"),
    )
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert _metrics(out)["calls_exact"] == pytest.approx(2 / 3)
    assert (document["rows"], document["matched_by"]) == (3, "prompt's digest")
    assert [one["cause"] for one in document["causes"]] == [
        "tool missing: play",
        "tool not expected: stop",
    ]
    assert document["causes"][0]["example"] == prompt_sha256("b")


def test_a_missing_prediction_counts_as_wrong_and_is_told(score: Shell, tmp_path: Path) -> None:
    said = _predicted(tmp_path, a=PLAY, b=None)
    code, out, err = score(
        *("--expected", _expected(tmp_path), "--predicted", said),
        *("--scorer", "calls", "--json"),
    )
    assert code == 0
    assert _metrics(out)["calls_exact"] == pytest.approx(1 / 3)
    assert json.loads(out)["missing"] == 2
    assert (
        f"2 rows have no prediction, and count as wrong (the first: {tmp_path}/rows.jsonl:2)"
        in (err)
    )


def test_a_prediction_without_a_row_is_told_and_does_not_count(
    score: Shell, tmp_path: Path
) -> None:
    said = _predicted(tmp_path, a=PLAY, b=PLAY, c=STOP, d=PLAY)
    code, out, err = score(
        *("--expected", _expected(tmp_path), "--predicted", said),
        *("--scorer", "calls", "--json"),
    )
    assert (code, _metrics(out)["calls_exact"], json.loads(out)["without_row"]) == (0, 1.0, 1)
    assert "1 prediction belongs to no expected row, and does not count" in err
    assert f"{said}:4" in err


def test_ids_go_before_prompts_where_all_rows_have_one(score: Shell, tmp_path: Path) -> None:
    rows = _file(
        tmp_path / "rows.jsonl",
        [
            {"id": 1, "prompt": "same", "completion": PLAY},
            {"id": 2, "prompt": "same", "completion": STOP},
        ],
    )
    said = _file(
        tmp_path / "said.jsonl",
        [{"id": "2", "predicted": STOP}, {"id": "1", "predicted": PLAY}],
    )
    code, out, _ = score("--expected", rows, "--predicted", said, "--scorer", "calls", "--json")
    assert (code, _metrics(out)["calls_exact"]) == (0, 1.0)
    assert json.loads(out)["matched_by"] == "`id`"


@pytest.mark.parametrize("twice", ["expected", "predicted"])
def test_rows_that_are_there_twice_are_refused_with_both_lines(
    score: Shell, tmp_path: Path, twice: str
) -> None:
    files = {"expected": _expected(tmp_path), "predicted": _predicted(tmp_path, a=PLAY, b=PLAY)}
    lines = files[twice].read_text().splitlines(keepends=True)
    files[twice].write_text("".join([*lines, lines[1]]))
    code, out, err = score(
        *("--expected", files["expected"], "--predicted", files["predicted"]),
        *("--scorer", "calls"),
    )
    assert (code, out) == (2, "")
    assert f"{files[twice]}:{len(lines) + 1}: this row has the same prompt's digest as" in err
    assert "the one on line 2" in err


def test_files_of_other_rows_are_refused_rather_than_scored_as_all_wrong(
    score: Shell, tmp_path: Path
) -> None:
    said = _predicted(tmp_path, x=PLAY)
    code, _, err = score(
        "--expected", _expected(tmp_path), "--predicted", said, "--scorer", "calls"
    )
    assert code == 2
    assert "no prediction belongs to any of the expected rows" in err


def test_rows_with_neither_id_nor_prompt_cannot_be_matched(score: Shell, tmp_path: Path) -> None:
    said = _file(tmp_path / "said.jsonl", [{"predicted": PLAY}])
    code, _, err = score(
        "--expected", _expected(tmp_path), "--predicted", said, "--scorer", "calls"
    )
    assert code == 2
    assert f"{said}:1: this row has no `prompt_sha256`" in err


# -------------------- forms of files


def test_predictions_alone_are_enough_where_they_carry_what_is_expected(
    score: Shell, tmp_path: Path
) -> None:
    rows = [
        {"row": n, "prompt_sha256": "0" * 64, "expected": PLAY, "predicted": said}
        for n, said in enumerate([PLAY, STOP, PLAY])
    ]
    said = _file(tmp_path / "predictions.jsonl", rows)
    code, out, _ = score("--predicted", said, "--scorer", "calls", "--json")
    assert code == 0
    assert _metrics(out)["tool"] == pytest.approx(2 / 3)
    assert json.loads(out)["causes"][0]["example"] == "1"
    _file(said, [*rows, rows[0]])
    code, _, err = score("--predicted", said, "--scorer", "calls")
    assert code == 2
    assert f"{said}:4: this row has the same `row` as the one on line 1" in err


def test_predictions_that_carry_nothing_expected_ask_for_the_rows(
    score: Shell, tmp_path: Path
) -> None:
    said = _predicted(tmp_path, a=PLAY)
    code, _, err = score("--predicted", said, "--scorer", "calls")
    assert code == 2
    assert f"{said}:1: this prediction does not say what is `expected`" in err
    assert "--expected FILE" in err


def _csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _gzip(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress("".join(f"{json.dumps(r)}\n" for r in rows).encode()))
    return path


def _json(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [("r.csv", _csv), ("r.parquet", _parquet), ("r.jsonl.gz", _gzip), ("r.json", _json)],
)
def test_files_are_read_in_every_form_of_the_dataset_module(
    score: Shell,
    tmp_path: Path,
    name: str,
    write: Callable[[Path, list[dict[str, Any]]], Path],
) -> None:
    rows = [{"prompt": "a", "completion": PLAY}, {"prompt": "b", "completion": STOP}]
    file = write(tmp_path / name, rows)
    code, out, _ = score("--expected", file, "--predicted", file, "--scorer", "calls", "--json")
    assert (code, _metrics(out)["calls_exact"], json.loads(out)["rows"]) == (0, 1.0, 2)


def test_calls_of_chats_are_scored_against_answers_in_the_model_s_syntax(
    score: Shell, tmp_path: Path
) -> None:
    call = {"type": "function", "function": {"name": "play", "arguments": {"artist": "Bach"}}}
    tools = [{"type": "function", "function": {"name": "play"}}]
    asked = [{"role": "user", "content": "Bach, please."}]
    answer = {"role": "assistant", "content": "", "tool_calls": [call]}
    said = _file(
        tmp_path / "said.jsonl",
        [{"prompt_sha256": prompt_sha256(asked, tools), "predicted": f"{PLAY}<|im_end|>"}],
    )
    for row in ({"messages": [*asked, answer]}, {"prompt": asked, "completion": [answer]}):
        rows = _file(tmp_path / "rows.jsonl", [{**row, "tools": tools}])
        code, out, _ = score("--expected", rows, "--predicted", said, "--scorer", "calls", "--json")
        assert (code, _metrics(out)["calls_exact"]) == (0, 1.0)


_TURNS = st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": st.text()}), min_size=1, max_size=3
)


@given(
    st.text() | _TURNS,
    st.none() | st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.floats())),
)
def test_the_digest_is_the_one_that_generate_py_writes(prompt: Any, tools: Any) -> None:
    assert prompt_sha256(prompt, tools) == generate_prompts.prompt_sha256(
        Row("here", prompt, "answer", tools)
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "is cut off"),
        ('{"prompt": "a"}', "holds no expected answer"),
        ('{"prompt": "a", "completion": null}', "does not say what is expected"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "ends with the assistant's"),
        ('{"prompt": "a", "completion": "x", "tools": "["}', "`tools` is a text that is not JSON"),
        ('{"prompt": "a", "completion": "<tool_call>{}</tool_call>"}', "a call that is broken"),
    ],
)
def test_bad_rows_are_refused_with_their_line(
    score: Shell, tmp_path: Path, row: str, message: str
) -> None:
    rows = _expected(tmp_path)
    rows.write_text(f'{{"prompt": "z", "completion": "x"}}\n{row}\n')
    said = _predicted(tmp_path, z=PLAY)
    code, out, err = score("--expected", rows, "--predicted", said, "--scorer", "calls")
    assert (code, out) == (2, "")
    assert f"{rows}:2:" in err
    assert message in err


def test_files_that_are_not_there_and_files_of_other_kinds_are_refused(
    score: Shell, tmp_path: Path
) -> None:
    code, _, err = score("--predicted", tmp_path / "none.jsonl", "--scorer", "calls")
    assert (code, "there is no file" in err) == (2, True)
    (tmp_path / "a.txt").write_text("hello\n")
    code, _, err = score("--predicted", tmp_path / "a.txt", "--scorer", "calls")
    assert (code, "plain text" in err) == (2, True)


# -------------------- usage


def test_a_misspelt_scorer_names_the_nearest(score: Shell, tmp_path: Path) -> None:
    code, _, err = score("--predicted", tmp_path / "none", "--scorer", "call")
    assert code == 2
    assert "there is no scorer 'call'" in err
    assert f"Did you mean calls? Scorers: {', '.join(SCORERS)}." in err


def test_one_form_of_output_at_a_time_and_a_syntax_only_for_calls(
    score: Shell, tmp_path: Path
) -> None:
    said = _predicted(tmp_path, a=PLAY)
    for wrong in (("--json", "--csv"), ("--csv", "--markdown")):
        code, _, err = score("--predicted", said, "--scorer", "calls", *wrong)
        assert (code, "exclude each other" in err) == (2, True)
    code, _, err = score("--predicted", said, "--scorer", "text", "--syntax", "hermes")
    assert (code, "--syntax is for --scorer calls and bfcl alone" in err) == (2, True)


def test_a_syntax_that_is_given_goes_before_the_expected_answer_s(
    score: Shell, tmp_path: Path
) -> None:
    said = _predicted(tmp_path, a=PLAY, b=PLAY, c=STOP)
    files = ("--expected", _expected(tmp_path), "--predicted", said, "--scorer", "calls")
    assert _metrics(score(*files, "--json")[1])["parse_failures"] == 0.0
    _, out, _ = score(*files, "--json", "--syntax", "functiongemma")
    assert _metrics(out)["parse_failures"] == 1.0


# -------------------- output


def test_the_table_shows_intervals_slices_causes_and_the_constant_answer(
    score: Shell, tmp_path: Path
) -> None:
    said = _predicted(tmp_path, a=PLAY, b="SECRET WORDS", c=STOP)
    code, out, _ = score(
        "--expected", _expected(tmp_path), "--predicted", said, "--scorer", "calls"
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "3 rows, scorer calls, 95 % intervals"
    exact = next(line for line in lines if line.startswith("calls_exact"))
    assert exact.split() == ["calls_exact", "0.667", "[0.208,", "0.939]", "3", "0.667"]
    failed = next(line for line in lines if line.startswith("parse_failures"))
    assert failed.split()[-1] == "lower"
    assert "the best constant answer for these very rows" in out
    assert any(line.startswith("difficulty: hard") for line in lines)
    assert any(line.startswith("tool: play") for line in lines)
    cause = next(line for line in lines if line.startswith("text instead of a call"))
    assert cause.split()[-2:] == ["1", prompt_sha256("b")]
    assert "SECRET" not in out
    assert "Bach" not in out


def test_the_constant_answer_is_the_commonest_one_given_to_every_row(
    score: Shell, tmp_path: Path
) -> None:
    said = _predicted(tmp_path, a="", b="", c="")
    _, out, _ = score(
        *("--expected", _expected(tmp_path), "--predicted", said),
        *("--scorer", "calls", "--json"),
    )
    document = json.loads(out)
    constant = {one["name"]: one["constant"] for one in document["metrics"]}
    assert constant["calls_exact"] == pytest.approx(2 / 3)
    assert document["constant"]["expected_by"] == 2
    assert _metrics(out)["empty_turns"] == 1.0


def test_csv_and_markdown_hold_the_figures_of_the_document(score: Shell, tmp_path: Path) -> None:
    said = _predicted(tmp_path, a=PLAY, b=STOP, c=STOP)
    files = ("--expected", _expected(tmp_path), "--predicted", said, "--scorer", "calls")
    document = json.loads(score(*files, "--json")[1])
    rows = list(csv.DictReader(io.StringIO(score(*files, "--csv")[1])))
    whole = {row["metric"]: row for row in rows if not row["slice"]}
    for one in document["metrics"]:
        assert float(whole[one["name"]]["value"]) == pytest.approx(one["value"], abs=1e-5)
        assert float(whole[one["name"]]["low"]) == pytest.approx(one["low"], abs=1e-5)
        assert whole[one["name"]]["rows"] == str(one["rows"])
    assert len(rows) == len(document["metrics"]) + sum(
        len(part["metrics"]) for part in document["slices"]
    )
    markdown = score(*files, "--markdown")[1].splitlines()
    assert markdown[0].startswith("| slice | of | metric | value |")
    assert sum(line.startswith("|  |  | calls_exact |") for line in markdown) == 1


def test_names_from_rows_break_no_table(score: Shell, tmp_path: Path) -> None:
    name = "=cmd|'/c x'!A1\n| evil | <b>\x1b[2J"
    rows = _file(
        tmp_path / "rows.jsonl",
        [{"id": "a|b\n", "completion": PLAY, "slices": {"kind": name}}],
    )
    files = ("--expected", rows, "--predicted", rows, "--scorer", "calls")
    for form in ("--csv", "--markdown", "--json", None):
        code, out, _ = score(*files, *([form] if form else []))
        assert code == 0
        assert "\x1b" not in out
    (row,) = [
        row
        for row in csv.DictReader(io.StringIO(score(*files, "--csv")[1]))
        if row["slice"] == "kind" and row["metric"] == "tool"
    ]
    assert row["of"].startswith("'=cmd")
    for line in score(*files, "--markdown")[1].splitlines():
        assert "<b>" not in line
        if line.startswith("|"):
            assert len(re.split(r"(?<!\\)\|", line)) == 11


@pytest.mark.parametrize("name", list(SCORERS))
def test_every_scorer_of_the_table_can_be_used(score: Shell, tmp_path: Path, name: str) -> None:
    if name == "code":
        jail_or_skip()
    right = {
        "route-plan": json.loads(SAMPLE.read_text(encoding="utf-8").splitlines()[0])["completion"],
        "calls": PLAY,
        "math": "So it is \\boxed{3}.",
        "code": "def three():\n    return 3\n\nassert three() == 3",
        "text": "It is three.",
        "bfcl": '[{"play": {"artist": ["Bach", "J.S. Bach"]}}]',
        "latency": "It is three.",
    }[name]
    line = {"expected": right, "predicted": right, "latency_s": 1.0}
    said = _file(tmp_path / "said.jsonl", [{"id": n, **line} for n in range(2)])
    code, out, err = score("--predicted", said, "--scorer", name, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert (document["scorer"], document["rows"]) == (name, 2)
    first = document["metrics"][0]
    assert first["value"] == 1.0


def test_what_lines_say_of_tools_and_time_reaches_the_scorers(score: Shell, tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("play", "stop")]
    invented = render([ToolCall("sing", {})], Syntax.HERMES)
    rows = _file(
        tmp_path / "rows.jsonl",
        [{"prompt": text, "completion": PLAY, "tools": tools} for text in "ab"],
    )
    lines = [
        {
            "prompt_sha256": prompt_sha256(text, tools),
            "predicted": said,
            "latency_s": seconds,
            "new_tokens": 10,
            "stopped_by": "max_new_tokens",
        }
        for text, said, seconds in (("a", PLAY, 1.0), ("b", invented, 4.0))
    ]
    files = ("--expected", rows, "--predicted", _file(tmp_path / "said.jsonl", lines))
    code, out, _ = score(*files, "--scorer", "calls", "--json")
    assert (code, _metrics(out)["tools_not_offered"]) == (0, 0.5)
    assert "tool not offered: sing" in out
    code, out, _ = score(*files, "--scorer", "latency", "--json")
    assert _metrics(out)["latency_s"] == 2.5
    assert (_metrics(out)["tokens_per_s"], _metrics(out)["cut"]) == (4.0, 1.0)
    keys = ("prompt_sha256", "predicted")
    untimed = [{key: line[key] for key in keys} for line in lines]
    said = _file(tmp_path / "untimed.jsonl", untimed)
    code, _, err = score("--expected", rows, "--predicted", said, "--scorer", "latency")
    assert (code, "no prediction says how long it took" in err) == (2, True)


def test_a_wrong_expected_row_is_named_by_its_line_whoever_finds_it(
    score: Shell, tmp_path: Path
) -> None:
    plan = json.loads(SAMPLE.read_text(encoding="utf-8").splitlines()[0])["completion"]
    for name, right, wrong in (("route-plan", plan, "{}"), ("text", "three", " ")):
        rows = [
            {"id": n, "expected": one, "predicted": one} for n, one in enumerate((right, wrong))
        ]
        said = _file(tmp_path / "said.jsonl", rows)
        code, _, err = score("--predicted", said, "--scorer", name)
        assert (code, f"{said}:2: row 1:" in err) == (2, True), err
