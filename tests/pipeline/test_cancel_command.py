"""`orchestrator cancel` and `poll`, as people and programs use them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from orchestrator.errors import Ambiguous
from orchestrator.services.vertex import VertexService
from tests.pipeline.bench import Bench
from tests.pipeline.processes import environment, terminal
from tests.pipeline.shell import Shell
from tests.pipeline.slow_training import train_until_released
from tests.pipeline.test_cancel import (
    events,
    job_states,
    submit_and_lose_the_answer,
    submit_running,
)
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


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.cancel._INTERVAL_S", 0.05)


@pytest.mark.usefixtures("_impatient")
def test_it_waits_until_the_service_says_so_and_is_done_the_second_time(
    bench: Bench, shell: Shell, released: threading.Event
) -> None:
    run = submit_running(bench)
    assert shell("cancel", run, "--yes") == 0
    assert "asked the service to cancel" in shell.err
    assert f"{run}: CANCELLED" in shell.err
    assert job_states(bench) == ["JOB_STATE_CANCELLED"]
    # Nothing is left to be confirmed.
    assert shell("cancel", run, "--json") == 0
    assert shell.json()["state"] == "CANCELLED"
    assert shell.json()["job"].startswith("projects/sandbox/")


def test_nobody_to_confirm_is_an_error_that_changes_nothing(
    bench: Bench, shell: Shell, released: threading.Event
) -> None:
    run = submit_running(bench)
    assert shell("cancel", run) == 2
    assert "--yes" in shell.err
    assert "cancel_requested" not in events(bench, run)


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_it_says_what_is_lost_and_asks(
    bench: Bench, released: threading.Event, answer: str, code: int
) -> None:
    run = submit_running(bench)
    with terminal(["cancel", run, "--no-wait"], environment(bench)) as shown:
        shown.wait_for("it cannot be taken up again", "may bill", "about $0.03", "Cancel it? [y/N]")
        shown.type(f"{answer}\n")
        assert shown.end() == code
        assert ("nothing was cancelled" in shown.shown) == (answer == "n")
    assert ("cancel_requested" in events(bench, run)) == (answer == "y")


def test_without_waiting_it_ends_once_the_service_was_asked(
    bench: Bench, shell: Shell, released: threading.Event
) -> None:
    run = submit_running(bench)
    assert shell("cancel", run, "--yes", "--no-wait") == 0
    assert "asked the service to cancel" in shell.err
    assert f"next: orchestrator poll --watch {run}" in shell.err


def test_an_intent_without_a_job_is_not_said_to_be_cancelled(
    bench: Bench, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_lose_the_answer(bench, monkeypatch, created=False)
    # The bench's clock stands in the past, so for the command the window has long been over.
    assert shell("cancel", run, "--yes", "--json") == 1
    assert shell.json()["state"] == "UNCERTAIN"
    assert f"orchestrator resolve {run} --launched" in shell.err


def test_an_intent_whose_window_is_open_says_that_polls_go_on_looking(
    bench: Bench, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_lose_the_answer(bench, monkeypatch, created=False)
    monkeypatch.setenv("ORCHESTRATOR_VISIBILITY_WINDOW_S", "900000000")
    assert shell("cancel", run, "--yes") == 1
    assert "not cancelled yet" in shell.err
    assert "cancels it when it is found" in shell.err


def test_an_ended_run_is_refused_with_the_way_to_look(bench: Bench, shell: Shell) -> None:
    run = bench.submit()
    bench.finish(run)
    assert shell("cancel", run, "--yes") == 2
    assert "Nothing is left to cancel" in shell.err
    assert f"orchestrator show {run}" in shell.err


def test_a_run_that_was_not_launched_says_that_nothing_was_paid(bench: Bench, shell: Shell) -> None:
    run, _ = bench.pipeline().submit(router_plan(bench.folder), again=False)
    with terminal(["cancel", run.id], environment(bench)) as shown:
        shown.wait_for("no job was launched, nothing was paid", "Cancel it?")
        shown.type("y\n")
        assert shown.end() == 0
        assert "CANCELLED" in shown.shown


def test_runs_that_nobody_could_ask_about_are_counted_and_can_fail_a_poll(
    bench: Bench, shell: Shell, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Ambiguous("no route to the service")

    submit_running(bench)
    monkeypatch.setattr(VertexService, "inspect", fail)
    assert shell("poll") == 0
    assert "1 of 1 runs could not be asked for" in shell.err
    assert shell("poll", "--json", "--fail-on", "failed,unreachable") == 1
    (outcome,) = shell.json()
    assert (outcome["asked"], "no route" in outcome["error"]) == (False, True)
    monkeypatch.undo()


def test_a_poll_that_was_answered_does_not_fail_on_unreachable(
    bench: Bench, shell: Shell, released: threading.Event
) -> None:
    run = submit_running(bench)
    assert shell("poll", "--fail-on", "unreachable") == 0
    assert "could not be asked" not in shell.err
    assert f"next: orchestrator poll --watch {run}" in shell.err
    assert shell("poll", "--fail-on", "nonsense") == 2
    assert "unreachable" in shell.err
