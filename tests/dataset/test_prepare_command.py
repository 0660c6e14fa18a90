"""`orchestrator prepare`: what it prints, writes and refuses; and what is masked where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.cli import run
from orchestrator.dataset.example import Call, Example, Message
from orchestrator.dataset.privacy.redaction import redacted
from orchestrator.sandbox.vertex.rows import read_rows
from tests.dataset.preparing import write_rows
from tests.router_spec import ROUTER, SAMPLE, SPEC, changed


def prepared(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    assert run(["prepare", *map(str, arguments), "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


def test_the_files_are_what_the_service_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = prepared(capsys, ROUTER, "--out", tmp_path / "out")
    assert found["made"] is True
    assert found["folder"] == str(tmp_path / "out")
    for split in found["splits"]:
        lines = (tmp_path / "out" / f"{split['name']}.jsonl").read_bytes().splitlines()
        assert len(read_rows(lines)) == split["rows"]
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary == {name: found[name] for name in summary}


def test_a_second_time_nothing_is_done_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prepare", str(ROUTER), "--out", str(tmp_path / "out")]
    assert run(arguments) == 0
    first = capsys.readouterr()
    assert run(arguments) == 0
    again = capsys.readouterr()
    assert "nothing to do" not in first.err
    assert "nothing to do" in again.err
    assert again.out == first.out
    (tmp_path / "out" / "train.jsonl").write_text("mine")
    assert run(arguments) == 0
    assert "prepared again: train.jsonl was changed" in capsys.readouterr().err


def test_the_plan_takes_what_was_prepared(capsys: pytest.CaptureFixture[str]) -> None:
    found = prepared(capsys, ROUTER, "--limit", "20")
    assert run(["plan", str(ROUTER), "--limit", "20", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [split["sha256"] for split in plan["splits"]] == [s["sha256"] for s in found["splits"]]
    assert prepared(capsys, ROUTER, "--limit", "20")["made"] is False


def test_rows_that_are_wrong_are_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(SAMPLE.read_bytes() + b'{"prompt": "p", "completion": "not JSON"}\n')
    told = prepared(capsys, ROUTER, "--data", bad, "--out", tmp_path / "out", code=1)
    assert f"{bad}:41" in told
    assert "1 error in 41 rows" in told
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    told = prepared(capsys, ROUTER, "--out", tmp_path, code=2)
    assert "mine.txt" in told
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_folder_that_one_is_in_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (".", tmp_path):
        told = prepared(capsys, ROUTER.absolute(), "--out", out, code=2)
        assert "is the folder that you are in" in told
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stands_for_the_folder_that_it_points_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], exists: bool
) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    if exists:
        real.mkdir()
    link.symlink_to(real)
    for limit, made in ((20, True), (20, False), (10, True)):
        assert prepared(capsys, ROUTER, "--out", link, "--limit", limit)["made"] is made
    assert link.is_symlink()
    assert (real / "summary.json").is_file()


def test_a_column_that_no_row_has_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = "format: prompt-completion\n  mapping: {columns: {prompt: question}}"
    spec = tmp_path / "spec.yaml"
    spec.write_text(changed("format: prompt-completion", mapping))
    told = prepared(capsys, spec, "--data", SAMPLE, code=2)
    assert told.count("question") == 1
    assert "Columns that there are: prompt" in told


def test_tools_of_the_command_line_go_before_those_of_the_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = json.dumps([{"name": "add", "arguments": {}}])
    rows = [{"user_message": f"add {n}", "tool_calls": calls} for n in range(40)]
    write_rows(tmp_path / "rows.jsonl", rows)
    spec = tmp_path / "spec.yaml"
    text = changed("format: prompt-completion", "format: tool-calls\n  tools: other.json")
    spec.write_text(text.replace("answer: route-plan", "answer: text"))
    for file, tool in (("other.json", "subtract"), ("tools.json", "add")):
        function = {"name": tool, "description": "d", "parameters": {"type": "object"}}
        (tmp_path / file).write_bytes(orjson.dumps([{"type": "function", "function": function}]))
    data = ("--data", str(tmp_path / "rows.jsonl"))
    assert "subtract" in prepared(capsys, spec, *data, code=1)
    tools = ("--tools", str(tmp_path / "tools.json"))
    found = prepared(capsys, spec, *data, *tools)
    assert found["splits"][0]["tools"] == [{"name": "add", "rows": 34}]
    assert run(["plan", str(spec), *data, *tools, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["tools_sha256"] == found["tools_sha256"]
    for command in ("submit", "rehearse"):
        assert run([command, str(spec), *data, "--tools", str(tmp_path / "none.json")]) == 2
        assert "--tools: there is no file" in capsys.readouterr().err


def test_dropping_rows_without_a_tokenizer_exits_2_for_prepare_and_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("  epochs: 3\n", "  epochs: 3\n  too_long: drop\n"))
    for command in ("prepare", "plan"):
        assert run([command, str(spec), "--data", str(SAMPLE)]) == 2
        assert "an estimate must not decide" in capsys.readouterr().err


def test_the_model_of_another_service_is_prepared_and_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SPEC[: SPEC.index("tuning:")].replace("name: vertex", "name: hf-jobs")
    text = text.replace("meta/llama3_1@llama-3.1-8b-instruct", "google/functiongemma-270m-it")
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    found = prepared(capsys, spec, "--data", SAMPLE, "--out", tmp_path / "out")
    assert found["rows"] == 40
    assert run(["plan", str(spec), "--data", str(SAMPLE)]) == 0
    assert "hf-jobs, t4-small" in capsys.readouterr().out


def shout(text: str) -> str:
    return text.replace("secret", '["MASKED"]')


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("a secret", 'a ["MASKED"]'),
        ('{"secret" : "x secret"}', '{"[\\"MASKED\\"]" : "x [\\"MASKED\\"]"}'),
        ('{"a":  [1.50, "b"]}', '{"a":  [1.50, "b"]}'),
        ("{secret", '{["MASKED"]'),
    ],
)
def test_texts_are_masked_and_documents_stay_documents(text: str, masked: str) -> None:
    made = redacted(Example("f", 1, "p", text, {}), shout)
    assert made.answer == masked
    if text.endswith("}"):
        json.loads(str(made.answer))


def test_calls_are_masked_in_their_values_and_rows_without_secrets_stay_the_same() -> None:
    call = Call("secret", {"secret": ["my secret", 1, {"in": "secret"}]})
    answer = (Message("assistant", "secret", (call,), thinking="secret"),)
    made = redacted(Example("f", 1, (Message("user", "secret"),), answer, {}), shout)
    mask = '["MASKED"]'
    assert made.prompt == (Message("user", mask),)
    kept = Call("secret", {"secret": [f"my {mask}", 1, {"in": mask}]})
    assert made.answer == (Message("assistant", mask, (kept,), thinking=mask),)
    plain = Example("f", 1, "p", "c", {})
    assert redacted(plain, shout) is plain
