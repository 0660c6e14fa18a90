"""A training that is broken off and goes on, for real: the tiny stand-in, the job's own scripts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ledger import Metric
from orchestrator.pipeline import Outcome
from orchestrator.sandbox.jobs.records import JobRecord
from orchestrator.sandbox.running import Sandbox, SandboxOptions
from orchestrator.sandbox.standins.base import StandInOptions
from orchestrator.services.base import AttemptState
from orchestrator.state import Action, RunState
from tests.pipeline.bench import Bench
from tests.plans import jobs_plan

pytestmark = [pytest.mark.training, pytest.mark.slow]
LONGEST_S = 300.0
EPOCHS = 5
#: The first checkpoint is kept long before the training ends.
OFTEN = ("  epochs: 15\n", f"  epochs: {EPOCHS}\n  save_steps: 8\n")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "sandbox").mkdir()
    options = SandboxOptions(stand_in="tiny", training=StandInOptions(epochs=EPOCHS, batch_size=1))
    with Sandbox(tmp_path / "sandbox", options) as sandbox:
        made = Bench(sandbox, tmp_path)
        try:
            yield made
        finally:
            made.ledger.close()


def submit(bench: Bench, *, again: bool) -> str:
    pipeline = bench.pipeline()
    prepared = jobs_plan(bench.folder, rows=16, more="\nmax_attempts: 3\n", replace=OFTEN)
    run, _ = pipeline.submit(prepared, again=again)
    pipeline.advance(run.id)
    return run.id


def newest(bench: Bench) -> JobRecord:
    return bench.sandbox.jobs.jobs()[0]


def wait_for_checkpoint(bench: Bench) -> JobRecord:
    """The job that runs, once it has kept a checkpoint of its own."""
    jobs, job = bench.sandbox.jobs, newest(bench)
    log = jobs.store.log_file(job.id)

    def kept() -> bool:
        return log.exists() and any(
            r"\"kept\"" in line and r"\"checkpoint-" in line
            for line in log.read_text(encoding="utf-8").splitlines()
        )

    assert jobs.queue.wait_for(lambda: kept() or jobs.queue.is_quiet(job.id), LONGEST_S)
    assert not jobs.queue.is_quiet(job.id), log.read_text(encoding="utf-8")
    return newest(bench)


def end(bench: Bench) -> None:
    bench.sandbox.jobs.wait_until_ended(newest(bench).id, timeout_s=LONGEST_S)


def finish(bench: Bench, run: str) -> Outcome:
    for _ in range(6):
        end(bench)
        outcome = bench.pipeline().poll([run])[0]
        if outcome.error is not None or outcome.status.action is Action.DONE:
            break
    assert outcome.status.state is RunState.PUBLISHED, outcome
    return outcome


def series(bench: Bench, run: str, name: str) -> dict[int, float]:
    found: list[Metric] = [point for point in bench.ledger.metrics(run) if point.name == name]
    values = {point.step: point.value for point in found}
    assert len(values) == len(found), "a step is counted once, however many attempts there were"
    return values


def test_a_killed_and_a_timed_out_attempt_go_on_from_their_last_checkpoints_to_the_same_loss(
    bench: Bench,
) -> None:
    run = submit(bench, again=False)
    killed = wait_for_checkpoint(bench)
    assert bench.pipeline().poll([run])[0].status.state is RunState.RUNNING
    assert series(bench, run, "loss"), "there before the training has ended"
    assert killed.process_group is not None
    os.killpg(killed.process_group, signal.SIGKILL)
    end(bench)
    bench.pipeline().poll([run])  # launches the second
    late = wait_for_checkpoint(bench)
    assert late.id != killed.id
    assert late.request.timeout_s is not None
    bench.sandbox.clock.advance(late.request.timeout_s)
    end(bench)
    finish(bench, run)

    first, second, third = bench.facts(run).attempts
    assert first.snapshot is not None
    assert first.snapshot.state is AttemptState.FAILED
    assert second.snapshot is not None
    assert second.snapshot.stats.get("timed_out") is True
    assert third.snapshot is not None
    logs = [
        bench.sandbox.jobs.store.log_file(job.id).read_text(encoding="utf-8")
        for job in reversed(bench.sandbox.jobs.jobs())
    ]
    resumed = [r"\"event\": \"resumed\"" in log for log in logs]
    assert resumed == [False, True, True]
    assert (
        rf"\"prefix\": \"{second.id}\"" in logs[2].partition(r"\"resumed\"")[2].partition("\n")[0]
    )

    unbroken = submit(bench, again=True)
    finish(bench, unbroken)
    for name in ("loss", "eval_loss"):
        broken_off, whole = series(bench, run, name), series(bench, unbroken, name)
        assert broken_off.keys() == whole.keys()
        assert broken_off == pytest.approx(whole, rel=1e-4)
