"""The process dies at the worst moments: still one job, one commit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.errors import InputError
from orchestrator.services.vertex import VertexService
from orchestrator.state import RunState
from tests.pipeline.bench import Bench

DIE = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
BEFORE_CREATE = f"""
from orchestrator.services.vertex import VertexService
def launch(self, *args, **kwargs):
    {DIE}
VertexService.launch = launch
"""
AFTER_CREATE = f"""
from orchestrator.services.vertex import VertexService
real = VertexService.launch
def launch(self, *args, **kwargs):
    real(self, *args, **kwargs)
    {DIE}
VertexService.launch = launch
"""
BEFORE_COMMIT = f"""
from orchestrator.stores.hub import HubStore
def commit(self, *args, **kwargs):
    {DIE}
HubStore.commit = commit
"""
AFTER_COMMIT = f"""
from orchestrator.stores.hub import HubStore
real = HubStore.commit
def commit(self, *args, **kwargs):
    real(self, *args, **kwargs)
    {DIE}
HubStore.commit = commit
"""


def submit_and_die(bench: Bench, before: str) -> str:
    done = bench.process(bench.submit_arguments, before=before)
    assert done.returncode == -9, done.stderr
    (run,) = bench.ledger.run_ids()
    # The dead process used the machine's clock; the bench's goes on from there.
    attempt = bench.facts(run).tune
    assert attempt is not None
    assert attempt.handle is None
    bench.clock.set(attempt.intent_at)
    return run


def pass_the_window(bench: Bench, run: str) -> None:
    attempt = bench.facts(run).tune
    assert attempt is not None
    window = timedelta(seconds=bench.settings.visibility_window_s)
    bench.clock.set(attempt.deadline_at + window)


def test_killed_after_the_create_call_the_job_is_adopted(bench: Bench) -> None:
    run = submit_and_die(bench, AFTER_CREATE)
    assert len(bench.sandbox.vertex.jobs()) == 1
    assert bench.pipeline().poll()[0].status.state in (RunState.QUEUED, RunState.RUNNING)
    assert bench.finish(run).status.state is RunState.PUBLISHED
    assert len(bench.sandbox.vertex.jobs()) == 1
    assert bench.sandbox.vertex.create_calls == 1


def test_killed_before_the_create_call_nothing_is_launched_on_a_guess(bench: Bench) -> None:
    run = submit_and_die(bench, BEFORE_CREATE)
    assert bench.pipeline().poll()[0].status.state is RunState.SUBMITTING
    pass_the_window(bench, run)
    assert bench.pipeline().poll()[0].status.state is RunState.UNCERTAIN
    assert bench.sandbox.vertex.jobs() == []


def test_killed_before_the_create_call_a_person_who_looked_lets_it_launch(bench: Bench) -> None:
    run = submit_and_die(bench, BEFORE_CREATE)
    pass_the_window(bench, run)
    bench.pipeline().poll()
    bench.pipeline().resolve(run, handle=None, by="a person")
    assert bench.finish(run).status.state is RunState.PUBLISHED
    assert len(bench.sandbox.vertex.jobs()) == 1


def test_killed_before_the_create_call_a_spec_that_says_relaunch_gets_one_job(
    bench: Bench,
) -> None:
    spec = bench.folder / "spec.yaml"
    arguments = bench.submit_arguments
    spec.write_text(spec.read_text(encoding="utf-8") + "on_uncertain: relaunch\n", encoding="utf-8")
    done = bench.process(arguments, before=BEFORE_CREATE)
    assert done.returncode == -9
    (run,) = bench.ledger.run_ids()
    pass_the_window(bench, run)
    bench.pipeline().poll()
    assert bench.finish(run).status.state is RunState.PUBLISHED
    assert len(bench.sandbox.vertex.jobs()) == 1


@pytest.mark.parametrize("moment", [BEFORE_CREATE, AFTER_CREATE], ids=["before", "after"])
def test_when_the_job_cannot_be_found_the_run_is_uncertain_and_no_second_job_appears(
    bench: Bench, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_die(bench, moment)
    jobs = len(bench.sandbox.vertex.jobs())
    monkeypatch.setattr(VertexService, "find", lambda self, token: None)  # noqa: ARG005
    pass_the_window(bench, run)
    for _ in range(3):
        bench.pipeline().poll([run])
    assert bench.pipeline().view(run).status.state is RunState.UNCERTAIN
    assert len(bench.sandbox.vertex.jobs()) == jobs


def test_a_person_names_the_job_of_an_uncertain_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_die(bench, AFTER_CREATE)
    with monkeypatch.context() as patched:
        patched.setattr(VertexService, "find", lambda self, token: None)  # noqa: ARG005
        pass_the_window(bench, run)
        bench.pipeline().poll()
    (job,) = bench.sandbox.vertex.jobs()
    bench.pipeline().resolve(run, handle=job.name, by="a person")
    assert bench.finish(run).status.state is RunState.PUBLISHED
    assert len(bench.sandbox.vertex.jobs()) == 1


def test_a_job_that_shows_up_late_is_adopted_although_a_person_said_it_was_not_launched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_die(bench, AFTER_CREATE)
    with monkeypatch.context() as patched:
        patched.setattr(VertexService, "find", lambda self, token: None)  # noqa: ARG005
        pass_the_window(bench, run)
        bench.pipeline().poll()
    bench.pipeline().resolve(run, handle=None, by="a person")
    assert bench.finish(run).status.state is RunState.PUBLISHED
    assert len(bench.sandbox.vertex.jobs()) == 1


def test_a_person_cannot_answer_before_the_question_is_asked(bench: Bench) -> None:
    run = submit_and_die(bench, AFTER_CREATE)
    with pytest.raises(InputError, match="waits for no answer"):
        bench.pipeline().resolve(run, handle=None, by="a person")


def commits(bench: Bench, run: str) -> list[str]:
    from huggingface_hub import HfApi

    repo = bench.facts(run).run.target.repo
    assert repo is not None
    api = HfApi(endpoint=bench.settings.hub_endpoint, token=bench.settings.hub_token)
    return [commit.title for commit in api.list_repo_commits(repo)]


@pytest.mark.parametrize("moment", [BEFORE_COMMIT, AFTER_COMMIT], ids=["before", "after"])
def test_killed_around_the_hub_commit_there_is_one_commit(bench: Bench, moment: str) -> None:
    run = bench.submit_and_train()
    done = bench.process(["poll"], before=moment)
    assert done.returncode == -9, done.stderr
    assert bench.facts(run).last("publishing") is not None
    assert bench.facts(run).last("published") is None
    outcome = bench.pipeline().poll()[0]
    assert outcome.status.state is RunState.PUBLISHED, outcome
    titles = commits(bench, run)
    assert titles.count("Publish router-llama-3.1-8b") == 1
    assert len(bench.sandbox.vertex.jobs()) == 1
