"""`check`, `plan` and the command line itself: output, exit codes, and what is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

import orchestrator.cli.check
from orchestrator import __version__
from orchestrator.cli import run
from orchestrator.errors import LedgerError
from tests.router_spec import ROUTER, SAMPLE, SPEC, changed

ROOT = Path(__file__).parent.parent
COMMANDS = [
    "specs",
    "check",
    "prepare",
    "plan",
    "submit",
    "poll",
    "runs",
    "show",
    "logs",
    "cancel",
    "resolve",
    "adopt",
    "evaluate",
    "audit",
    "compare",
    "publish",
    "rollback",
    "publish-data",
    "gc",
    "rehearse",
    "report",
    "suites",
    "score",
    "schema",
    "sandbox",
]


class Shell:
    """Runs commands in this process; `out` and `err` are what the last one printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        code = run([str(argument) for argument in arguments])
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def json(self) -> Any:
        """The one document on standard output: `loads` fails if there is more than one."""
        return json.loads(self.out)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def process(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env={**os.environ, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def spec_file(folder: Path, text: str) -> Path:
    file = folder / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def rows_file(folder: Path, content: bytes) -> Path:
    file = folder / "rows.jsonl"
    file.write_bytes(content)
    return file


# ------------------------------------------------------------------------------------------- check


def test_check_of_sound_rows_says_so_and_exits_0(shell: Shell) -> None:
    assert shell("check", ROUTER) == 0
    assert shell.out.splitlines()[-1].startswith(f"{SAMPLE}: 40 rows, no errors")
    assert "error:" not in shell.out
    assert shell.err == ""


def test_check_names_every_bad_row_with_file_line_and_remedy(shell: Shell, tmp_path: Path) -> None:
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:99] + b"\n"
    data = rows_file(tmp_path, b"".join(lines) + b'{"prompt": "p", "completion": "no json"}')
    assert shell("check", ROUTER, "--data", data, "--only", "form") == 1
    assert f"error: {data}:3: the row is cut off after 99 characters\n  Write" in shell.out
    assert f"error: {data}:41: the answer is not JSON" in shell.out
    assert shell.out.endswith(f"{data}: 41 rows, 2 errors\n")


def test_check_shows_a_few_examples_and_the_exact_count(shell: Shell, tmp_path: Path) -> None:
    data = rows_file(tmp_path, b"{}\n" * 1000)
    assert shell("check", ROUTER, "--data", data) == 1
    assert shell.out.count("error: ") == 5
    assert "and 995 more" in shell.out
    assert "1,000 rows, 1,000 errors" in shell.out


def test_check_json_is_one_document_of_a_known_shape(shell: Shell, tmp_path: Path) -> None:
    data = rows_file(tmp_path, SAMPLE.read_bytes() + b'{"a": 1}{"a": 2}\n')
    assert shell("check", ROUTER, "--data", data, "--json", "--only", "form") == 1
    document = shell.json()
    assert document["rows"] == 41
    (finding,) = document["findings"]
    (example,) = finding.pop("examples")
    assert finding == {"kind": "form", "level": "error", "code": "two-rows", "count": 1}
    assert (example["file"], example["line"]) == (str(data), 41)
    assert "two rows on one line" in example["message"]
    assert shell.err == ""


def test_check_json_of_sound_rows_has_no_findings(shell: Shell) -> None:
    assert shell("check", ROUTER, "--json", "--only", "form,duplicates,leaks") == 0
    document = shell.json()
    assert (document["rows"], document["findings"]) == (40, [])


@pytest.mark.skipif(
    "ORCHESTRATOR_DATA" not in os.environ, reason="ORCHESTRATOR_DATA does not name outside data"
)
def test_check_of_the_outside_rows_finds_no_errors(shell: Shell) -> None:
    data = Path(os.environ["ORCHESTRATOR_DATA"]) / "route-plan" / "rows.jsonl"
    assert shell("check", ROUTER, "--data", data) == 0
    assert shell.out.endswith(f"{data}: 322 rows, no errors\n")


# -------------------------------------------------------------------------------------------- plan


def test_plan_shows_rate_multiplier_baseline_cost_and_digest(shell: Shell) -> None:
    assert shell("plan", ROUTER, "--json") == 0
    document = shell.json()
    assert shell("plan", ROUTER) == 0
    for part in (
        document["digest"],
        "0.00014  (0.7 × baseline 0.0002)",
        "rank 16, ADAPTER_SIZE_SIXTEEN",
        "41,943,040 parameters, about 83.9 MB",
        f"about {document['estimate']['tokens']:,} billed",
        "tokens per character",
        document["splits"][0]["sha256"],
        "llama3.1",
    ):
        assert part in shell.out
    assert "refuse" not in shell.out
    assert shell.err == ""


def test_plan_json_holds_the_figures(shell: Shell) -> None:
    assert shell("plan", ROUTER, "--json", "--limit", "20") == 0
    document = shell.json()
    hyper = document["hyperparameters"]
    assert hyper["learning_rate"] == 0.00014
    assert hyper["baseline_learning_rate"] * 0.7 == pytest.approx(0.00014)
    assert [split["rows"] for split in document["splits"]] == [17, 2, 1]
    assert document["data"]["limit"] == 20


def test_plan_names_what_the_service_would_refuse_and_exits_1(shell: Shell, tmp_path: Path) -> None:
    split = "train: 0.85, validation: 0.10, test: 0.05"
    spec = spec_file(tmp_path, changed(split, "train: 0.7, validation: 0.3, test: 0.0"))
    assert shell("plan", spec, "--data", SAMPLE) == 1
    assert "the service would refuse this: the validation file is " in shell.out
    assert "at most 25%" in shell.out
    assert shell("plan", spec, "--data", SAMPLE, "--json") == 1
    assert len(shell.json()["refusals"]) == 1


def test_plan_of_bad_rows_names_them_on_standard_error(shell: Shell, tmp_path: Path) -> None:
    data = rows_file(tmp_path, SAMPLE.read_bytes() + b"[]\n")
    assert shell("plan", ROUTER, "--data", data, "--json") == 1
    assert shell.out == ""
    assert f"error: {data}:41: a row must be a JSON object" in shell.err
    assert "1 error in 41 rows" in shell.err


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_a_limit_must_be_a_positive_number(shell: Shell, limit: str) -> None:
    assert shell("plan", ROUTER, "--limit", limit) == 2
    assert "--limit" in shell.err


# --------------------------------------------------------------------------------------- bad input


def _bad_specs() -> list[tuple[str, bytes, str]]:
    return [
        ("unknown key", changed("seed: 42", "seeed: 42").encode(), "Did you mean `seed`?"),
        ("a list", b"- version: 1\n", "this file holds a list"),
        ("empty", b"", "this file holds nothing"),
        ("broken", b"version: [1\nname: x\n", "not valid YAML"),
        ("not UTF-8", b"version: 1\nname: \xff\n", ":2: byte 17 is not UTF-8"),
        ("twice", (SPEC + "seed: 1\n").encode(), "`seed` is given twice"),
        ("nested", b"[" * 100_000, "too deeply nested"),
        ("rank", changed("rank: 16", "rank: 3").encode(), "It takes: 1, 4, 8, 16, 32."),
        ("model", changed("8b-instruct", "8b-instrukt").encode(), "Did you mean `meta/llama3_1@"),
        ("location", changed("us-central1", "moon").encode(), "Locations: global, us-central1"),
        ("mode", changed("mode: peft", "mode: lora").encode(), "must be 'peft' or 'full'"),
    ]


@pytest.mark.parametrize("command", ["check", "plan"])
@pytest.mark.parametrize(
    ("content", "part"),
    [pytest.param(content, part, id=name) for name, content, part in _bad_specs()],
)
def test_a_bad_spec_is_named_with_its_place_and_exits_2(
    shell: Shell, tmp_path: Path, command: str, content: bytes, part: str
) -> None:
    spec = tmp_path / "bad.yaml"
    spec.write_bytes(content)
    assert shell(command, spec, "--data", SAMPLE, "--json") == 2
    assert shell.out == ""
    assert shell.err.startswith(f"error: {spec}")
    assert part in shell.err
    assert len(shell.err.splitlines()) <= 3


def test_several_problems_of_a_spec_are_listed_together(shell: Shell, tmp_path: Path) -> None:
    text = changed("seed: 42", "seeed: 42").replace("epochs: 3", "epochs: 0")
    spec = spec_file(tmp_path, text)
    assert shell("check", spec) == 2
    assert shell.err.count("error: ") == 2
    for key in ("seeed", "epochs: 0"):
        line = next(n for n, text in enumerate(text.splitlines(), 1) if key in text)
        assert f"{spec}:{line}:" in shell.err


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_missing_spec_a_folder_and_missing_rows_are_told_apart(
    shell: Shell, tmp_path: Path, command: str
) -> None:
    for arguments, part in [
        ((tmp_path / "gone.yaml",), f"there is no file {tmp_path / 'gone.yaml'}"),
        ((tmp_path,), f"{tmp_path} is a folder, not a file"),
        ((ROUTER, "--data", tmp_path / "gone"), f"there is no file {tmp_path / 'gone'}"),
        ((ROUTER, "--data", tmp_path), f"{tmp_path} is a folder, not a file"),
        ((ROUTER, "--data", rows_file(tmp_path, b"\n\n")), "holds no rows"),
    ]:
        assert shell(command, *arguments) == 2
        assert part in shell.err
        assert len(shell.err.splitlines()) == 2


def test_a_spec_without_data_asks_for_it(shell: Shell, tmp_path: Path) -> None:
    spec = spec_file(tmp_path, changed("path: sample.jsonl", "# path: sample.jsonl"))
    assert shell("plan", spec) == 2
    assert "the spec names no data" in shell.err
    assert "--data FILE" in shell.err


def test_nothing_is_left_behind(shell: Shell, tmp_path: Path) -> None:
    home = Path(os.environ["ORCHESTRATOR_HOME"])
    bad = rows_file(tmp_path, b"{}\n")
    for arguments in (
        ("check", ROUTER),
        ("plan", ROUTER),
        ("check", ROUTER, "--data", bad),
        ("plan", ROUTER, "--data", bad),
        ("plan", tmp_path / "gone.yaml"),
    ):
        shell(*arguments)
    # The prepared rows of the plan, for the next one.
    assert [path.name for path in home.iterdir()] == ["prepared"]
    assert len(list((home / "prepared").iterdir())) == 1
    assert list(tmp_path.iterdir()) == [bad]


# ---------------------------------------------------------------------------- the command line


def test_help_lists_every_command_with_a_line(shell: Shell) -> None:
    for flag in ("--help", "-h"):
        assert shell(flag) == 0
        listed = shell.out.split("Commands:")[1].splitlines()
        assert [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "] == (
            COMMANDS
        )
    assert "Exit codes: 0 done" in shell.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(shell: Shell, command: str) -> None:
    assert shell(command, "--help") == 0
    assert f"Usage: orchestrator {command}" in shell.out


def test_the_version_is_shown(shell: Shell) -> None:
    assert shell("--version") == 0
    assert shell.out == f"orchestrator, version {__version__}\n"


@pytest.mark.parametrize(
    ("written", "meant"), [("chek", "check"), ("plans", "plan"), ("rehearsal", "rehearse")]
)
def test_an_unknown_command_names_the_nearest(shell: Shell, written: str, meant: str) -> None:
    assert shell(written) == 2
    assert f"There is no command '{written}'. Did you mean {meant}?" in shell.err


def test_an_unknown_command_like_none_and_unknown_options_exit_2(shell: Shell) -> None:
    assert shell("xyzzy") == 2
    assert "There is no command 'xyzzy'." in shell.err
    assert "Did you mean" not in shell.err
    assert shell("--nope") == 2
    assert shell("check") == 2
    assert shell("check", ROUTER, "--nope") == 2


_HEAVY = {"google", "grpc", "sqlalchemy", "alembic", "huggingface_hub", "torch", "starlette"}


def imported(*arguments: str) -> set[str]:
    """The top-level names of all that a command imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "orchestrator", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


def test_help_imports_no_library_but_click() -> None:
    names = imported("--help")
    assert {"click", "orchestrator"} <= names
    assert names & (_HEAVY | {"pydantic", "yaml", "rich", "jsonschema", "tenacity"}) == set()


@pytest.mark.parametrize("command", ["check", "plan"])
def test_offline_commands_import_nothing_of_services_or_ledger(command: str) -> None:
    names = imported(command, str(ROUTER))
    assert {"pydantic", "yaml", "jsonschema_rs"} <= names
    assert names & _HEAVY == set()


def _replace_check(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    @click.argument("arguments", nargs=-1)
    def broken(arguments: tuple[str, ...]) -> None:
        raise error

    monkeypatch.setattr(orchestrator.cli.check, "command", broken)


@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), EOFError("odd"), OSError("odd")])
def test_a_bug_exits_3_with_the_path_of_its_log_and_no_traceback(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _replace_check(monkeypatch, error)
    assert shell("check") == 3
    assert shell.out == ""
    first, second = shell.err.strip().splitlines()  # click ends its line on EOF
    assert first == f"error: this is a bug of orchestrator: {type(error).__name__}: odd"
    log = Path(second.removeprefix("  Details: "))
    assert log.parent == Path(os.environ["ORCHESTRATOR_HOME"]) / "logs"
    text = log.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "in broken" in text
    assert text.endswith(f"{type(error).__name__}: odd\n")


@pytest.mark.parametrize("setting", ["ORCHESTRATOR_HOME", "ORCHESTRATOR_BUCKET"])
def test_the_log_of_a_bug_is_kept_even_if_the_settings_are_bad(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("", encoding="utf-8")
    monkeypatch.setenv(setting, str(in_the_way))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _replace_check(monkeypatch, ZeroDivisionError("odd"))
    assert shell("check") == 3
    log = Path(shell.err.splitlines()[1].removeprefix("  Details: "))
    assert log.parent == tmp_path
    assert "ZeroDivisionError: odd" in log.read_text(encoding="utf-8")


def test_an_interruption_exits_130(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_check(monkeypatch, KeyboardInterrupt())
    assert shell("check") == 130
    assert shell.err.strip() == "interrupted"
    assert not Path(os.environ["ORCHESTRATOR_HOME"]).exists()


def test_an_error_of_ours_is_a_message_with_its_exit_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_check(monkeypatch, LedgerError("it is locked", hint="Wait."))
    assert shell("check") == 1
    assert shell.err == "error: it is locked\n  Wait.\n"


def test_a_reader_that_has_gone_is_not_worth_a_word() -> None:
    """As in `orchestrator plan SPEC | head -0`: the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "plan", str(ROUTER), "--json"],
            cwd=ROOT,
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")  # as of any program that SIGPIPE ended


def test_the_installed_command_and_the_module_do_the_same() -> None:
    module = process("check", str(ROUTER), "--json")
    script = subprocess.run(
        [str(Path(sys.executable).with_name("orchestrator")), "check", str(ROUTER), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert module.returncode == script.returncode == 0
    assert orjson.loads(module.stdout) == orjson.loads(script.stdout)


def test_the_exit_code_reaches_the_shell() -> None:
    done = process("check", "gone.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: there is no file gone.yaml\n"
        "  Check the path. All that are shipped: orchestrator specs\n"
    )


def test_output_to_a_console_that_has_no_unicode_is_no_bug() -> None:
    """As on a machine with LANG=C, whose Python is told not to mend it."""
    done = process(
        "plan", str(ROUTER), PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C", LANG="C"
    )
    assert done.returncode == 0, done.stderr
    assert "baseline 0.0002" in done.stdout
