"""The process dies along the chain of tune, merge and export: each is paid for once."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.ledger import AttemptFacts
from orchestrator.services.base import AttemptKind
from orchestrator.state import Action, RunState
from tests.pipeline.bench import Bench
from tests.plans import jobs_plan

EXPORTED = "\nexport:\n  format: gguf\n"
DIE = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def around_create(kind: str, *, after: bool) -> str:
    """Lines after which the process dies before or after the job of a kind is created."""
    return f"""
from orchestrator.services.hf_jobs import HfJobsService
real = HfJobsService.launch
def launch(self, attempt, *args, **kwargs):
    if attempt.kind != {kind!r}:
        return real(self, attempt, *args, **kwargs)
    if {after}:
        real(self, attempt, *args, **kwargs)
    {DIE}
HfJobsService.launch = launch
"""


BEFORE_RECORD = f"""
from orchestrator.ledger import Lease
real = Lease.add_event
def add_event(self, kind, *args, **kwargs):
    if kind == "produced":
        {DIE}
    return real(self, kind, *args, **kwargs)
Lease.add_event = add_event
"""


def submit_and_die(bench: Bench, before: str) -> str:
    jobs_plan(bench.folder, adapter=True, more=EXPORTED)
    spec, data = bench.folder / "spec.yaml", bench.folder / "support-router.jsonl"
    arguments = ["submit", str(spec), "--data", str(data), "--limit", "30"]
    done = bench.process(arguments, before=before)
    assert done.returncode == -9, done.stderr
    (run,) = bench.ledger.run_ids()
    return run


def adopt(bench: Bench, run: str) -> None:
    """The pass after a death finds the job; its state is news for the next one."""
    bench.clock.set(bench.facts(run).attempts[-1].intent_at)
    assert bench.pipeline().poll([run])[0].status.state is RunState.QUEUED


def poll_and_die(bench: Bench, before: str) -> None:
    wait(bench)
    done = bench.process(["poll"], before=before)
    assert done.returncode == -9, done.stderr


def wait(bench: Bench) -> None:
    for job in bench.sandbox.jobs.jobs():
        bench.sandbox.jobs.wait_until_ended(job.id)


def finish(bench: Bench, run: str) -> RunState:
    for _ in range(8):
        wait(bench)
        outcome = bench.pipeline().poll([run])[0]
        if outcome.error is not None or outcome.status.action is Action.DONE:
            break
    return outcome.status.state


def kinds(bench: Bench) -> list[str]:
    """What the jobs at the service are for, oldest first."""
    return [job.labels["orchestrator-kind"] for job in reversed(bench.sandbox.jobs.jobs())]


def newest(bench: Bench, run: str, kind: AttemptKind) -> AttemptFacts:
    attempt = bench.facts(run).newest(kind)
    assert attempt is not None
    return attempt


def test_killed_after_every_create_and_before_the_last_record_there_is_one_job_of_each_kind(
    bench: Bench,
) -> None:
    run = submit_and_die(bench, around_create("tune", after=True))
    adopt(bench, run)
    poll_and_die(bench, around_create("merge", after=True))
    adopt(bench, run)
    poll_and_die(bench, around_create("export", after=True))
    adopt(bench, run)
    poll_and_die(bench, BEFORE_RECORD)
    assert finish(bench, run) is RunState.PUBLISHED
    assert kinds(bench) == ["tune", "merge", "export"]
    adopted = [event.attempt_id for event in bench.facts(run).events if event.kind == "adopted"]
    assert adopted == [attempt.id for attempt in bench.facts(run).attempts]


def test_killed_before_the_merge_is_created_nothing_is_launched_until_a_person_has_looked(
    bench: Bench,
) -> None:
    pipeline = bench.pipeline()
    run, _ = pipeline.submit(jobs_plan(bench.folder, adapter=True, more=EXPORTED), again=False)
    pipeline.advance(run.id)
    poll_and_die(bench, around_create("merge", after=False))
    intent = newest(bench, run.id, AttemptKind.MERGE)
    bench.clock.set(intent.intent_at)
    assert bench.pipeline().poll()[0].status.state is RunState.SUBMITTING
    bench.clock.set(intent.deadline_at + timedelta(seconds=bench.settings.visibility_window_s))
    for _ in range(2):
        assert bench.pipeline().poll([run.id])[0].status.state is RunState.UNCERTAIN
    assert kinds(bench) == ["tune"]
    bench.pipeline().resolve(run.id, handle=None, by="a person")
    assert finish(bench, run.id) is RunState.PUBLISHED
    assert kinds(bench) == ["tune", "merge", "export"]
