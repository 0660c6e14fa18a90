"""What a run on Hugging Face Jobs comes to when one of its jobs comes to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InputError
from orchestrator.pipeline import Outcome
from orchestrator.sandbox.edge.rules import JobRule, RequestRule
from orchestrator.sandbox.edge.rules import Outcome as JobOutcome
from orchestrator.services.hf_jobs import HfJobsService
from orchestrator.services.hf_jobs_logs import LogLine, LogPlace
from orchestrator.state import Action, RunState
from tests.pipeline.bench import Bench
from tests.pipeline.shell import Shell
from tests.plans import jobs_plan

EXPORTED = "\nexport:\n  format: gguf\n"
CREATE = "/api/jobs/sandbox-user$"


def submit(bench: Bench, *, export: bool = False, **changes: Any) -> str:
    pipeline = bench.pipeline(**changes.pop("settings", {}))
    more = EXPORTED if export else ""
    prepared = jobs_plan(bench.folder, adapter=export, more=more, **changes)
    run, _ = pipeline.submit(prepared, again=False)
    pipeline.advance(run.id)
    return run.id


def finish(bench: Bench, run: str) -> Outcome:
    for _ in range(8):
        outcome = bench.pipeline().poll([run])[0]
        if outcome.error is not None or outcome.status.action is Action.DONE:
            break
        wait(bench)
    return outcome


def wait(bench: Bench) -> None:
    for job in bench.sandbox.jobs.jobs():
        bench.sandbox.jobs.wait_until_ended(job.id)


def poll_when_ended(bench: Bench, run: str) -> Outcome:
    wait(bench)
    return bench.pipeline().poll([run])[0]


def kinds(bench: Bench) -> list[str]:
    return [job.labels["orchestrator-kind"] for job in reversed(bench.sandbox.jobs.jobs())]


def pass_the_window(bench: Bench) -> None:
    bench.clock.set(datetime.now(UTC) + timedelta(seconds=2 * bench.settings.visibility_window_s))


class TestAMergeThatFailed:
    """The training before it was good, and is paid for."""

    @pytest.fixture
    def run(self, bench: Bench) -> str:
        bench.sandbox.faults.add(JobRule(outcome=JobOutcome.FAILED, target="merge.py"))
        run = submit(bench, export=True)
        outcome = finish(bench, run)
        assert outcome.status.state is RunState.FAILED
        assert f"orchestrator resolve {run} --retry" in outcome.status.reason
        assert "the tuned adapter is in sandbox-user/" in outcome.status.reason
        return run

    def test_is_done_again_without_another_training(self, bench: Bench, run: str) -> None:
        bench.pipeline().retry(run)
        assert finish(bench, run).status.state is RunState.PUBLISHED
        assert kinds(bench) == ["tune", "merge", "merge", "export"]

    def test_can_be_done_without(self, bench: Bench, run: str) -> None:
        bench.pipeline().publish_again(run)
        assert finish(bench, run).status.state is RunState.PUBLISHED
        assert kinds(bench) == ["tune", "merge"]


def test_a_training_that_timed_out_goes_on_from_its_checkpoints_when_a_person_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.EXPIRED))
    run = submit(bench)
    outcome = finish(bench, run)
    assert outcome.status.state is RunState.FAILED
    assert f"orchestrator resolve {run} --retry" in outcome.status.reason
    shell = Shell(bench, monkeypatch, capsys)
    assert shell("resolve", run, "--retry", "--publish") == 2
    assert shell("resolve", run, "--retry") == 0
    assert "launched sandbox-user/" in shell.err
    assert shell("resolve", run, "--retry") == 2, "only one other job is paid for"
    assert finish(bench, run).status.state is RunState.PUBLISHED
    first, second = bench.facts(run).attempts
    command = bench.sandbox.jobs.jobs()[0].request.command
    assert command[command.index("--resume-from-prefix") + 1] == first.id
    assert command[command.index("--prefix") + 1] == second.id
    with pytest.raises(InputError, match="waits for no other attempt"):
        bench.pipeline().retry(run)


def test_weights_that_were_refused_are_not_paid_for_again(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.NAN_WEIGHTS))
    run = submit(bench)
    assert finish(bench, run).status.state is RunState.FAILED
    with pytest.raises(InputError, match="--again"):
        bench.pipeline().retry(run)
    assert kinds(bench) == ["tune"]


def test_a_cancelled_run_is_not_launched_again(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.STUCK))
    run = submit(bench)
    bench.pipeline().cancel(run)
    assert finish(bench, run).status.state is RunState.CANCELLED
    with pytest.raises(InputError, match="CANCELLED"):
        bench.pipeline().retry(run)


def test_a_merge_whose_files_are_not_listed_yet_is_waited_for(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.PARTIAL, target="merge.py"))
    run = submit(bench, export=True)
    poll_when_ended(bench, run)  # launches the merge
    outcome = poll_when_ended(bench, run)
    assert (outcome.status.state, outcome.status.action) == (RunState.COLLECTED, Action.RECORD)
    pass_the_window(bench)
    outcome = poll_when_ended(bench, run)
    assert outcome.status.state is RunState.FAILED
    assert "there is no merge" in outcome.status.reason
    assert kinds(bench) == ["tune", "merge"]


def test_a_checkpoint_from_the_middle_is_not_taken_for_what_was_tuned(bench: Bench) -> None:
    from huggingface_hub import HfApi

    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.PARTIAL))
    run = submit(bench)
    wait(bench)
    (attempt,) = bench.facts(run).attempts
    candidates = bench.facts(run).run.target.candidates
    assert candidates is not None
    api = HfApi(endpoint=bench.settings.hub_endpoint, token=bench.settings.hub_token)
    api.create_repo(candidates, private=True)
    api.create_branch(candidates, branch=run)
    api.upload_file(
        path_or_fileobj=b"half of a model",
        path_in_repo=f"{attempt.id}/checkpoint-10/model.safetensors",
        repo_id=candidates,
        revision=run,
    )
    assert bench.pipeline().poll([run])[0].status.action is Action.COLLECT
    assert bench.facts(run).last("collected") is None
    pass_the_window(bench)
    assert bench.pipeline().poll([run])[0].status.state is RunState.FAILED


def test_what_a_job_left_is_collected_although_the_service_has_forgotten_the_job(
    bench: Bench,
) -> None:
    run = submit(bench)
    wait(bench)
    (attempt,) = bench.facts(run).attempts
    assert attempt.handle is not None
    bench.sandbox.faults.add(
        RequestRule(
            face="jobs", operation="GET", target=f"{attempt.handle.id}$", status=404, times=None
        )
    )
    assert finish(bench, run).status.state is RunState.PUBLISHED


def test_a_training_that_outran_its_cancelling_is_not_lost_because_its_merge_waits_for_a_quota(
    bench: Bench,
) -> None:
    refused = RequestRule(face="jobs", operation="POST", target=CREATE, status=429, nth=2)
    bench.sandbox.faults.add(refused)
    run = submit(bench, export=True)
    outcome = poll_when_ended(bench, run)
    assert outcome.status.action is Action.WAIT
    outcome = bench.pipeline().cancel(run)
    assert outcome.status.state is RunState.HELD
    assert "--publish" in outcome.status.reason
    assert kinds(bench) == ["tune"]
    bench.pipeline().publish_again(run)
    bench.clock.advance(3600.0)
    assert finish(bench, run).status.state is RunState.PUBLISHED
    assert kinds(bench) == ["tune", "merge", "export"]


SECRET = "planted-value-of-a-secret"


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs whose log holds what scripts should not say; the sandbox would mask it."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    texts = ['{"event": "log", "step": 5, "loss": 2.5}', f"sft.py: refused with {SECRET}"]

    def lines(*_: object, **__: object) -> Iterator[LogLine]:
        yield from (LogLine(at, text, LogPlace(at, 1)) for text in texts)

    monkeypatch.setattr(HfJobsService, "log_lines", lines)


@pytest.mark.usefixtures("talkative")
def test_the_value_of_a_secret_is_nowhere_and_what_was_measured_before_the_failure_is_kept(
    bench: Bench, tmp_path: Path
) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.FAILED))
    named = ("  timeout: 2h\n", "  timeout: 2h\n  secrets: [MY_KEY]\n")
    settings = {"secrets": {"MY_KEY": SECRET}}
    run = submit(bench, replace=named, settings=settings)
    wait(bench)
    outcome = bench.pipeline(**settings).poll([run])[0]
    assert "refused with [MY_KEY]" in outcome.status.reason
    assert [(point.name, point.step) for point in bench.ledger.metrics(run)] == [("loss", 5)]
    holders = [
        file
        for file in tmp_path.rglob("*")
        if file.is_file() and SECRET.encode() in file.read_bytes()
    ]
    assert holders == []
    assert SECRET not in "".join(bench.told)
    assert SECRET not in repr(bench.pipeline(**settings)._settings)


@pytest.mark.usefixtures("talkative")
def test_metrics_are_in_the_ledger_while_the_training_goes_on(bench: Bench) -> None:
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.STUCK))
    run = submit(bench)
    bench.sandbox.jobs.queue.wait_for(lambda: bench.sandbox.jobs.jobs()[0].stage == "RUNNING", 20.0)
    assert bench.pipeline().poll([run])[0].status.state is RunState.RUNNING
    assert [(point.name, point.step) for point in bench.ledger.metrics(run)] == [("loss", 5)]


def test_a_log_that_is_not_to_be_had_keeps_no_run_from_going_on(bench: Bench) -> None:
    bench.sandbox.faults.add(
        RequestRule(face="jobs", operation="GET", target="/logs", effect="drop", times=None)
    )
    bench.sandbox.faults.add(JobRule(outcome=JobOutcome.STUCK))
    run = submit(bench)
    bench.sandbox.jobs.queue.wait_for(lambda: bench.sandbox.jobs.jobs()[0].stage == "RUNNING", 20.0)
    outcome = bench.pipeline().poll([run])[0]
    assert (outcome.status.state, outcome.error) == (RunState.RUNNING, None)
    assert any("no metrics" in line for line in bench.told)
