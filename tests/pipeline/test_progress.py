"""Bars on a terminal, plain lines everywhere else, from real commands."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest

from orchestrator.state import RunState
from tests.pipeline.bench import Bench
from tests.pipeline.processes import environment, terminal
from tests.pipeline.slow_training import train_until_released
from tests.pipeline.test_logs import JobLog


@pytest.fixture
def released(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    made = train_until_released(monkeypatch)
    yield made
    made.set()


def test_staging_and_waiting_are_drawn_on_a_terminal(
    bench: Bench, released: threading.Event
) -> None:
    arguments = [*bench.submit_arguments, "--watch", "--interval", "0.3"]
    with terminal(arguments, environment(bench)) as shown:
        shown.wait_for("staging", "/s", "staged 2 files", "RUNNING")
        (run,) = bench.ledger.run_ids()
        JobLog(bench, run).write('{"event": "log", "loss": 0.75, "step": 12}\n')
        shown.wait_for("loss 0.75 at step 12")
        shown.signal()
        assert shown.end() == 130
        assert f"orchestrator poll --watch {run}" in shown.shown
    # Bars vanish when they are done: what stays are the lines.
    assert "\x1b[?25h" in shown.shown  # the cursor is shown again


def test_collecting_and_publishing_are_drawn_on_a_terminal(bench: Bench) -> None:
    run = bench.submit_and_train()
    with terminal(["poll"], environment(bench)) as shown:
        assert shown.end() == 0
        for step in ("collecting", "publishing", "reading back"):
            assert re.search(rf"{step}.*?/[\d.]+ .B", shown.shown, re.DOTALL), step
    assert bench.pipeline().view(run).status.state is RunState.PUBLISHED


def test_without_a_terminal_there_are_plain_lines_and_no_control_characters(bench: Bench) -> None:
    run = bench.submit_and_train()
    done = bench.process(["poll"])
    assert done.returncode == 0
    assert "collected 5 files" in done.stderr
    assert f"next: orchestrator show {run}" in done.stderr
    for stream in (done.stdout, done.stderr):
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", stream) is None
    assert "collecting" not in done.stderr
