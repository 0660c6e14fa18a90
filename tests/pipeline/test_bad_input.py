"""Every mistake gets one message with place and remedy, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import run
from orchestrator.ledger import Ledger
from tests.pipeline.bench import Bench
from tests.plans import ROUTER

SPEC = ROUTER.read_text(encoding="utf-8")
ROWS = (ROUTER.parent / "sample.jsonl").read_bytes().splitlines(keepends=True)
#: Stands for the sandbox's token that only reads: each sandbox has its own.
READ_TOKEN = "(read token)"


class Case:
    """A mistake: the files it needs, settings it changes, and what must be said about it."""

    def __init__(
        self,
        *said: str,
        code: int = 2,
        spec: Callable[[str], str] | bytes | None = None,
        rows: bytes | None = None,
        spec_path: str = "router.yaml",
        data_path: str = "rows.jsonl",
        settings: dict[str, str | None] | None = None,
    ) -> None:
        self.said = said
        self.code = code
        self.spec = spec
        self.rows = rows
        self.spec_path = spec_path
        self.data_path = data_path
        self.settings = settings or {}


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


CASES = {
    "missing spec": Case("there is no file", "nowhere.yaml", spec_path="nowhere.yaml"),
    "folder for a spec": Case("is a folder", spec_path="."),
    "broken yaml": Case("router.yaml:", "not valid YAML", spec=b"name: [unclosed\nversion: 1"),
    "spec not utf-8": Case("router.yaml:2", "not UTF-8", spec=b"version: 1\nname: \xff\n"),
    "empty spec": Case("holds nothing", spec=b""),
    "list for a mapping": Case("holds a list", "router.yaml:1", spec=b"- version: 1\n"),
    "unknown key": Case(
        "unknown key `tuning.epoch`",
        "Did you mean `epochs`",
        spec=replaced("epochs: 3", "epoch: 3"),
    ),
    "two mistakes at once": Case(
        "unknown key `tuning.epoch`",
        "unknown key `seeds`",
        spec=lambda text: text.replace("epochs: 3", "epoch: 3").replace("seed: 42", "seeds: 42"),
    ),
    "unknown model": Case(
        "unknown base model",
        "Did you mean `meta/llama3_1@llama-3.1-8b-instruct`",
        spec=replaced("llama3_1@", "llama3.1@"),
    ),
    "rank not taken": Case(
        "does not take rank 7", "1, 4, 8, 16, 32", spec=replaced("rank: 16", "rank: 7")
    ),
    "missing data": Case("there is no file", "nowhere.jsonl", data_path="nowhere.jsonl"),
    "folder for data": Case("is a folder", data_path="."),
    "empty data": Case("holds no rows", rows=b""),
    "blank data": Case("holds no rows", rows=b"\n  \n"),
    "cut row": Case(
        "rows.jsonl:3", "cut off", code=1, rows=b"".join(ROWS[:2]) + ROWS[2][:100] + b"\n"
    ),
    "two rows on one line": Case(
        "rows.jsonl:2", "two rows", code=1, rows=ROWS[0] + ROWS[1].strip() + ROWS[2]
    ),
    "rows not utf-8": Case(
        "rows.jsonl:2", "not UTF-8", code=1, rows=ROWS[0] + b'{"prompt": "\xff"}\n'
    ),
    "wrong answer": Case(
        "rows.jsonl:1", "not JSON", code=1, rows=b'{"prompt": "a", "completion": "b"}\n'
    ),
    "too few rows to validate": Case(
        "25%",
        "Nothing was uploaded",
        code=1,
        rows=b"".join(ROWS[:3]),
        spec=replaced(
            "{train: 0.85, validation: 0.10, test: 0.05}",
            "{train: 0.5, validation: 0.5, test: 0.0}",
        ),
    ),
    "no project": Case("GOOGLE_CLOUD_PROJECT", settings={"GOOGLE_CLOUD_PROJECT": None}),
    "no bucket set": Case("ORCHESTRATOR_BUCKET", settings={"ORCHESTRATOR_BUCKET": None}),
    "bucket not a bucket": Case("gs://", settings={"ORCHESTRATOR_BUCKET": "my-bucket"}),
    "missing bucket": Case(
        "nobodys-bucket",
        "gcloud storage buckets create",
        settings={"ORCHESTRATOR_BUCKET": "gs://nobodys-bucket"},
    ),
    "no google credentials": Case(
        "gcloud auth application-default login",
        settings={"STORAGE_EMULATOR_HOST": None},
    ),
    "no google credentials for tuning": Case(
        "gcloud auth application-default login",
        settings={"ORCHESTRATOR_VERTEX_ENDPOINT": None},
    ),
    "no hub token": Case("token", "hf auth login", settings={"HF_TOKEN": None}),
    "wrong hub token": Case("token", "hf auth login", settings={"HF_TOKEN": "hf_wrong"}),
    "hub token that cannot write": Case("write", settings={"HF_TOKEN": READ_TOKEN}),
    "somebody else's repo": Case(
        "somebody", spec=replaced("repo: router", "repo: somebody/router")
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_named_and_leaves_nothing(
    name: str,
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for variable, value in {**bench.sandbox.environment(), **case.settings}.items():
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            given = bench.sandbox.tokens.hub_read if value == READ_TOKEN else value
            monkeypatch.setenv(variable, given)
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "fresh"))
    spec = case.spec(SPEC) if callable(case.spec) else case.spec
    text = SPEC if spec is None else spec
    Path("router.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    Path("rows.jsonl").write_bytes(b"".join(ROWS) if case.rows is None else case.rows)
    before = sorted(work.iterdir())

    code = run(["submit", case.spec_path, "--data", case.data_path])

    captured = capsys.readouterr()
    assert code == case.code, captured.err
    for words in case.said:
        assert words in captured.err
    assert "error:" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert sorted(work.iterdir()) == before
    assert list(temporary.iterdir()) == []
    assert bench.sandbox.disk.list("sandbox-bucket", "") == []
    assert bench.sandbox.vertex.jobs() == []
    left = [path for path in (tmp_path / "fresh").rglob("*") if path.is_file()]
    ledgers = [path for path in left if "prepared" not in path.parts]  # rows that were sound
    assert all(path.name.startswith("ledger.db") for path in ledgers)
    if ledgers:
        assert Ledger(f"sqlite:///{tmp_path / 'fresh' / 'ledger.db'}").run_ids() == []


def environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in bench.sandbox.environment().items():
        monkeypatch.setenv(variable, value)


def test_a_run_that_does_not_exist_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(bench, monkeypatch)
    for command in (["show", "nothing"], ["poll", "nothing"], ["resolve", "x", "--not-launched"]):
        assert run(command) == 2
        assert "there is no run" in capsys.readouterr().err


def test_commands_tell_the_story_of_a_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(bench, monkeypatch)
    assert run(["poll"]) == 0
    assert "no unfinished runs" in capsys.readouterr().out
    assert run(["submit", str(ROUTER), "--limit", "20", "--watch", "--interval", "0.1"]) == 0
    run_id = capsys.readouterr().out.strip()
    assert run(["submit", str(ROUTER), "--limit", "20"]) == 0
    again = capsys.readouterr()
    assert again.out.strip() == run_id
    assert "has a run already" in again.err
    assert run(["show", run_id, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["state"] == "PUBLISHED"
    assert shown["published"]["repo"] == "sandbox-user/router-llama-3.1-8b-adapter"
    assert run(["show", "router-llama-3.1-8b"]) == 0
    text = capsys.readouterr().out
    assert "PUBLISHED" in text
    assert "eval_loss" in text
    assert run(["poll", run_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "PUBLISHED"
    assert run(["poll", run_id, "--fail-on", "published"]) == 1
    assert len(bench.sandbox.vertex.jobs()) == 1


def test_a_wrong_state_for_fail_on_lists_the_right_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(bench, monkeypatch)
    assert run(["poll", "--fail-on", "broken"]) == 2
    assert "uncertain" in capsys.readouterr().err


def test_services_that_cannot_be_reached_leave_the_run_where_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(bench, monkeypatch)
    assert run(["submit", str(ROUTER), "--limit", "20"]) == 0
    run_id = capsys.readouterr().out.strip()
    bench.sandbox.vertex.stop()
    monkeypatch.setattr("orchestrator.clock.SystemClock.sleep", lambda *_: None)
    assert run(["poll"]) == 0
    captured = capsys.readouterr()
    assert run_id in captured.out
    assert "warning" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS], ids=["disk full", "read only"])
def test_a_disk_that_cannot_be_written_is_named_and_is_no_bug(
    code: int,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment(bench, monkeypatch)

    def fail(*_: object) -> None:
        raise OSError(code, "No room", "train.jsonl")

    monkeypatch.setattr("orchestrator.submission._place", fail)
    assert run(["submit", str(ROUTER)]) == 2
    captured = capsys.readouterr()
    assert "No room" in captured.err
    assert "ORCHESTRATOR_HOME" in captured.err
    assert list((bench.settings.home).rglob(".partial-*")) == []
    assert bench.sandbox.vertex.jobs() == []
