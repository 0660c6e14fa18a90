"""`orchestrator logs`, against a job whose log grows in the bucket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.services.base import Logs
from orchestrator.services.vertex import VertexService
from orchestrator.stores.gcs import GcsStore
from tests.pipeline.bench import Bench
from tests.pipeline.processes import Command, environment, terminal
from tests.pipeline.shell import Shell
from tests.pipeline.slow_training import train_until_released
from tests.plans import router_plan


@pytest.fixture
def shell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    return Shell(bench, monkeypatch, capsys)


@pytest.fixture
def released(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    made = train_until_released(monkeypatch)
    yield made
    made.set()


class JobLog:
    """The log of a run's job in the bucket, written as the service writes it: whole, each time."""

    def __init__(self, bench: Bench, run: str) -> None:
        attempt = bench.facts(run).tune
        assert attempt is not None
        self.attempt = attempt.id
        assert attempt.handle is not None
        self.job = attempt.handle.id
        self.name = f"outputs/{attempt.id}/executor/node-0/stdout"
        self.uri = f"{bench.settings.bucket}/{self.name}"
        store = GcsStore("sandbox", bench.settings.storage_endpoint)
        self._bucket: Any = store._client().bucket(str(bench.settings.bucket)[5:])

    def write(self, text: str) -> None:
        self._bucket.blob(self.name).upload_from_string(text)


def running(bench: Bench) -> tuple[str, JobLog]:
    """A run whose job is training, and where its log will be."""
    run = bench.submit()
    log = JobLog(bench, run)
    bench.sandbox.vertex.wait_until_running(log.job)
    return run, log


def test_the_log_of_an_ended_job_goes_to_standard_output(bench: Bench, shell: Shell) -> None:
    run = bench.submit()
    bench.finish(run)
    assert shell("logs", run) == 0
    lines = shell.out.splitlines()
    assert '"event": "start"' in lines[0]
    assert len(lines) > 10
    assert shell("logs", run, "--tail", "2") == 0
    assert shell.out.splitlines() == lines[-2:]
    assert shell("logs", "router-llama-3.1-8b", "--json") == 0
    log = JobLog(bench, run)
    assert shell.json()["lines"] == lines
    assert shell.json()["uri"] == log.uri
    assert {name: shell.json()[name] for name in ("run", "attempt", "source")} == {
        "run": run,
        "attempt": log.attempt,
        "source": "bucket",
    }


def test_without_a_log_the_page_is_named_and_why(
    bench: Bench, shell: Shell, released: threading.Event
) -> None:
    run, _ = running(bench)
    assert shell("logs", run) == 0
    assert shell.out == ""
    assert "no log in the bucket yet" in shell.err
    assert "JOB_STATE_RUNNING" in shell.err
    assert "look there: https://console.cloud.google.com/logs/query;query=%22" in shell.err
    assert shell("logs", run, "--json") == 0
    assert (shell.json()["source"], shell.json()["uri"], shell.json()["lines"]) == (None, None, [])
    assert shell.json()["link"].startswith("https://console.cloud.google.com/logs/query;query=%22")


def test_a_service_that_keeps_no_log_object_says_where_to_look(
    bench: Bench, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.submit()
    monkeypatch.setattr(VertexService, "logs", lambda *_: Logs(None, "https://console.invalid/x"))
    assert shell("logs", run) == 0
    assert "names no place for the log" in shell.err
    assert "look there: https://console.invalid/x" in shell.err


def test_a_run_without_a_job_has_no_log(bench: Bench, shell: Shell) -> None:
    run, _ = bench.pipeline().submit(router_plan(bench.folder), again=False)
    assert shell("logs", run.id) == 2
    assert "has no job yet" in shell.err
    assert f"orchestrator show {run.id}" in shell.err


def test_one_document_and_an_endless_log_do_not_go_together(bench: Bench, shell: Shell) -> None:
    assert shell("logs", "x", "--follow", "--json") == 2
    assert "--follow" in shell.err


def test_following_prints_each_line_once_until_the_job_has_ended(
    bench: Bench, released: threading.Event
) -> None:
    run, log = running(bench)
    log.write("one\ntwo\n")
    follow = ["logs", run, "--follow", "--interval", "0.1"]
    with Command(follow, environment(bench)) as command:
        command.wait_for_output("two")
        log.write("one\ntwo\nthree\nfo")
        command.wait_for_output("three")
        log.write("one\ntwo\nthree\nfour\n")
        command.wait_for_output("four")
        # The stand-in would write a log of its own at the end: cancelled, it does not.
        bench.pipeline().cancel(run)
        assert command.end() == 0
        assert command.out == "one\ntwo\nthree\nfour\n"
        assert "the job has ended: JOB_STATE_CANCELLED" in command.said
        assert f"orchestrator poll {run}" in command.said


def test_following_waits_for_a_log_that_is_not_there_yet_and_ends_on_ctrl_c(
    bench: Bench, released: threading.Event
) -> None:
    run, log = running(bench)
    follow = ["logs", run, "--follow", "--tail", "1", "--interval", "0.1"]
    with Command(follow, environment(bench)) as command:
        command.wait_for("meanwhile, look there")
        log.write("one\ntwo\n")
        command.wait_for_output("two")
        assert command.interrupt() == 130, command.said
        assert f"orchestrator poll --watch {run}" in command.said
        assert f"orchestrator cancel {run}" in command.said
    assert [job.state.name for job in bench.sandbox.vertex.jobs()] == ["JOB_STATE_RUNNING"]


def test_on_a_terminal_a_log_cannot_move_the_cursor(
    bench: Bench, released: threading.Event
) -> None:
    run, log = running(bench)
    log.write("bad \x1b]0;title\x07 \x1b[2J \x9b31m\ttab\r\n")
    with terminal(["logs", run], environment(bench)) as shown:
        assert shown.end() == 0
        assert "bad \ufffd]0;title\ufffd \ufffd[2J \ufffd31m" in shown.shown
        assert "\x1b" not in shown.shown
