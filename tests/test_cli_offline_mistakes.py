"""What people get wrong at a command line, and what a machine does not have: one message each."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import run
from tests.router_spec import ROUTER, SAMPLE, SPEC, changed
from tests.source_tree import ROOT

FULL = Path("/dev/full")


def orchestrator(
    *arguments: str | Path,
    stdout: int | None = subprocess.PIPE,
    preexec: Callable[[], None] | None = None,
    cwd: Path = ROOT,
    **env: str,
) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *map(str, arguments)],
        env={**os.environ, **env},
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
        preexec_fn=preexec,
    )


def only_error(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 2) -> str:
    """What a command that must fail says, on standard error alone."""
    assert run([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "bug" not in err
    return err


# -------------------------------------------------------------------------- where the output goes


def test_without_a_standard_output_a_plan_is_made_all_the_same() -> None:
    done = orchestrator("plan", ROUTER, stdout=None, preexec=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_mistake_has_its_exit_code_even_if_nobody_can_be_told() -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "check", "gone.yaml"],
            cwd=ROOT,
            stderr=full,
            check=False,
        )
    assert done.returncode == 2


def test_a_console_without_an_ellipsis_gets_its_number_instead(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b"{}\n" * 9)
    done = orchestrator("check", ROUTER, "--data", rows, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"\\u2026 and 4 more like these" in done.stdout


def test_a_file_whose_name_is_not_text_is_printed_as_it_is_and_escaped_in_json(
    tmp_path: Path,
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff.jsonl"))
    odd.write_bytes(SAMPLE.read_bytes())
    done = orchestrator("check", ROUTER, "--data", odd, "--only", "form", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(os.fsencode(odd) + b": 40 rows, no errors\n")
    done = orchestrator("check", ROUTER, "--data", odd, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"] == str(odd)


def test_a_plan_in_a_pipe_has_one_line_for_each_of_its_facts() -> None:
    out = orchestrator("plan", ROUTER).stdout.decode()
    facts, splits = out.split("\n\n", 1)
    assert [line.split("  ")[0] for line in facts.splitlines()][-4:] == [
        "evaluation",
        "answers",
        "gates",
        "publish to",
    ]
    assert not any(line.startswith(" ") for line in out.splitlines())
    assert len(splits.splitlines()) == 4


# -------------------------------------------------------------------------------------- the rows


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("rows.yaml", SPEC.encode(), "is YAML\n"),
        ("rows.json", b'{\n  "prompt": "p"\n}\n', "is one JSON object over several lines"),
        ("rows.jsonl", '{"prompt": "p"}\n'.encode("utf-16"), "is UTF-16 text\n"),
        ("rows.parquet", b"PAR1\x15\x04", "is no sound Parquet file"),
    ],
)
def test_a_file_of_another_kind_is_one_error_and_not_one_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    data = tmp_path / name
    data.write_bytes(content)
    err = only_error(capsys, "check", ROUTER, "--data", data)
    assert err.startswith(f"error: {data} {what}")
    assert len(err.splitlines()) == 2


def test_rows_of_another_schema_are_told_how_a_row_looks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(b'{"text": "c"}\n')
    assert run(["check", str(ROUTER), "--data", str(data)]) == 1
    out = capsys.readouterr().out
    assert 'A row is {"prompt": "...", "completion": "..."}. ' in out
    assert "See: orchestrator schema prompt-completion" in out
    assert out.endswith("rows.jsonl: 1 row, 1 error\n")


def test_a_dash_for_the_rows_says_how_standard_input_is_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "--data /dev/stdin" in only_error(capsys, "check", ROUTER, "--data", "-")


@pytest.mark.parametrize("path", ["x" * 5000, ".", "gone.jsonl", "spec.yaml/rows.jsonl"])
def test_a_path_of_rows_that_leads_nowhere_is_named_where_the_spec_says_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, path: str
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(changed("path: sample.jsonl", f"path: {path}"), encoding="utf-8")
    err = only_error(capsys, "plan", spec)
    line = 1 + spec.read_text(encoding="utf-8")[: spec.read_text().index("path: ")].count("\n")
    assert err.startswith(f"error: {spec}:{line}:9: ")
    assert "relative to the spec" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_rows_that_may_not_be_read_are_named_with_the_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(SAMPLE.read_bytes())
    data.chmod(0)
    err = only_error(capsys, "check", ROUTER, "--data", data)
    assert err.startswith(f"error: cannot read {data}: Permission denied\n  Check")


# -------------------------------------------------------------------------------------- the spec


@pytest.mark.parametrize(
    ("found", "replacement", "hint"),
    [
        ("name: router", 'name: "router', "Close the quote that begins here."),
        ("base_model: meta", "base_model: @meta", "Put a value that starts so in quotes."),
        ("  rank: 16", "\trank: 16", "Indent with spaces instead of tabs."),
        ("path: sample", 'path: "C:\\data\\sample', "Use single quotes, where a backslash"),
    ],
)
def test_yaml_that_is_broken_says_where_it_begins_and_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, found: str, replacement: str, hint: str
) -> None:
    spec, text = tmp_path / "spec.yaml", changed(found, replacement)
    line = text[: text.index(replacement)].count("\n") + 1
    spec.write_text(text, encoding="utf-8")
    err = only_error(capsys, "check", spec)
    assert err.startswith(f"error: {spec}:{line}:")
    assert hint in err


def test_rows_in_the_place_of_the_spec_are_told_apart_from_broken_yaml(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "give the rows with --data FILE" in only_error(capsys, "check", SAMPLE)


def test_a_share_in_percent_is_told_how_to_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    for share in ("85", "85%"):
        spec.write_text(changed("train: 0.85", f"train: {share}"), encoding="utf-8")
        assert "0.85 for 85 %" in only_error(capsys, "check", spec)


# ----------------------------------------------------------------------------------- the machine


def test_a_copy_that_does_not_fit_on_the_disk_leaves_no_part_of_itself(tmp_path: Path) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    done = orchestrator("specs", "copy", "router/qwen3-32b", tmp_path, preexec=small)
    assert done.returncode == 2
    assert f"cannot write {tmp_path}/sample.jsonl: File too large" in done.stderr.decode()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_folder_for_a_rehearsal_that_cannot_be_made_is_no_bug(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    for folder in (in_the_way / "kept", tmp_path / ("x" * 300)):
        err = only_error(capsys, "rehearse", ROUTER, "--stand-in", "replay", "--keep", folder)
        assert err.startswith(f"error: cannot make the folder {folder}: ")
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(in_the_way))
    err = only_error(capsys, "rehearse", ROUTER, "--stand-in", "replay")
    assert err.startswith("error: cannot ")
    assert str(in_the_way) in err


def test_the_home_of_a_user_that_does_not_exist_is_no_bug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", "~nobody-of-this-name/data")
    assert "there is no such home" in only_error(capsys, "runs")
