"""Cancelling: the wish is kept until it is carried out, and nothing is launched after it."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.errors import Ambiguous, InputError, LedgerError
from orchestrator.pipeline import Outcome
from orchestrator.services.base import AttemptState, Handle, Snapshot
from orchestrator.services.vertex import VertexService
from orchestrator.state import Action, RunState, status
from tests.pipeline.bench import Bench
from tests.pipeline.slow_training import train_until_released
from tests.pipeline.test_killed import pass_the_window
from tests.plans import router_plan


@pytest.fixture
def released(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Trainings last until this is set."""
    made = train_until_released(monkeypatch)
    yield made
    made.set()


def submit_running(bench: Bench) -> str:
    """A run whose job is training."""
    run = bench.submit()
    bench.sandbox.vertex.wait_until_running(job(bench, run))
    return run


def submit_and_lose_the_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, created: bool
) -> str:
    """A run with an intent and no handle; its job was created or not."""
    launch = VertexService.launch

    def lose(self: VertexService, *arguments: Any, **options: Any) -> Handle:
        if created:
            launch(self, *arguments, **options)
        raise Ambiguous("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr(VertexService, "launch", lose)
        patched.setattr(VertexService, "find", lambda self, token: None)  # noqa: ARG005
        run = bench.submit()
    assert len(bench.sandbox.vertex.jobs()) == created
    return run


def job(bench: Bench, run: str) -> str:
    attempt = bench.facts(run).tune
    assert attempt is not None
    assert attempt.handle is not None
    return attempt.handle.id


def job_states(bench: Bench) -> list[str]:
    return [one.state.name for one in bench.sandbox.vertex.jobs()]


def poll_until_done(bench: Bench, run: str) -> Outcome:
    bench.sandbox.vertex.wait_until_ended(job(bench, run))
    return bench.pipeline().poll([run])[0]


def events(bench: Bench, run: str) -> list[str]:
    return [event.kind for event in bench.facts(run).events]


def test_a_running_job_is_cancelled_once_the_service_says_so(
    bench: Bench, released: threading.Event
) -> None:
    run = submit_running(bench)
    outcome = bench.pipeline().cancel(run)
    assert outcome.status.action is Action.INSPECT
    assert outcome.status.state in (RunState.QUEUED, RunState.RUNNING)
    assert "asked to cancel" in outcome.status.reason
    outcome = poll_until_done(bench, run)
    assert outcome.status.state is RunState.CANCELLED
    assert job_states(bench) == ["JOB_STATE_CANCELLED"]
    assert bench.pipeline().poll() == []


def test_cancelling_twice_asks_the_service_once_and_changes_nothing_later(
    bench: Bench, released: threading.Event
) -> None:
    run = submit_running(bench)
    bench.pipeline().cancel(run)
    bench.pipeline().cancel(run)
    poll_until_done(bench, run)
    before = bench.facts(run)
    assert bench.pipeline().cancel(run).status.state is RunState.CANCELLED
    assert bench.facts(run) == before
    assert events(bench, run).count("cancel_requested") == 1
    assert events(bench, run).count("cancel_sent") == 1
    assert bench.ledger.run_ids(unfinished_only=True) == []


def test_a_run_that_was_not_launched_is_cancelled_without_a_job(bench: Bench) -> None:
    pipeline = bench.pipeline()
    run, _ = pipeline.submit(router_plan(bench.folder), again=False)
    outcome = pipeline.cancel(run.id)
    assert outcome.status.state is RunState.CANCELLED
    assert "before a job was launched" in outcome.status.reason
    bench.pipeline().poll([run.id])
    assert bench.sandbox.vertex.jobs() == []
    assert bench.ledger.run_ids(unfinished_only=True) == []


def test_a_service_that_does_not_answer_is_asked_again_by_the_next_poll(
    bench: Bench, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Ambiguous("no route to the service")

    run = submit_running(bench)
    with monkeypatch.context() as patched:
        patched.setattr(VertexService, "cancel", fail)
        outcome = bench.pipeline().cancel(run)
    assert "no route" in str(outcome.error)
    assert job_states(bench) == ["JOB_STATE_RUNNING"]
    bench.pipeline().poll()
    assert poll_until_done(bench, run).status.state is RunState.CANCELLED


def test_a_job_that_ends_first_is_not_published_until_a_person_says_so(
    bench: Bench, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Ambiguous("no route to the service")

    run = submit_running(bench)
    with monkeypatch.context() as patched:
        patched.setattr(VertexService, "cancel", fail)
        bench.pipeline().cancel(run)
    released.set()
    outcome = poll_until_done(bench, run)
    assert outcome.status.state is RunState.HELD
    assert "ended before it could be cancelled" in outcome.status.reason
    assert bench.facts(run).last("collected") is None
    assert bench.pipeline().publish_again(run).status.state is RunState.PUBLISHED


def test_a_published_run_is_refused_and_stays_ended(bench: Bench) -> None:
    run = bench.submit()
    bench.finish(run)
    before = bench.facts(run)
    with pytest.raises(InputError, match="paid for") as caught:
        bench.pipeline().cancel(run)
    assert "orchestrator show" in caught.value.hint
    assert bench.facts(run) == before
    assert bench.ledger.run_ids(unfinished_only=True) == []


def test_publishing_that_is_still_to_come_is_not_what_cancel_stops(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise Ambiguous("no route to the Hub")

    run = bench.submit()
    bench.sandbox.vertex.wait_until_ended(job(bench, run))
    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.stores.hub.HubStore.commit", fail)
        bench.pipeline().poll()
    with pytest.raises(InputError, match="COLLECTED"):
        bench.pipeline().cancel(run)
    assert bench.pipeline().poll()[0].status.state is RunState.PUBLISHED


def test_a_job_whose_launch_was_lost_is_found_and_cancelled(
    bench: Bench, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_lose_the_answer(bench, monkeypatch, created=True)
    bench.pipeline().cancel(run)
    assert poll_until_done(bench, run).status.state is RunState.CANCELLED
    assert job_states(bench) == ["JOB_STATE_CANCELLED"]


def test_an_intent_without_a_job_stays_open_and_nothing_is_launched_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_lose_the_answer(bench, monkeypatch, created=False)
    outcome = bench.pipeline().cancel(run)
    assert (outcome.status.state, outcome.status.action) == (RunState.SUBMITTING, Action.FIND)
    pass_the_window(bench, run)
    assert bench.pipeline().poll()[0].status.state is RunState.UNCERTAIN
    outcome = bench.pipeline().resolve(run, handle=None, by="a person")
    assert outcome.status.state is RunState.CANCELLED
    assert bench.sandbox.vertex.jobs() == []


def test_a_job_that_a_person_names_later_is_cancelled_too(
    bench: Bench, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_lose_the_answer(bench, monkeypatch, created=True)
    with monkeypatch.context() as patched:
        patched.setattr(VertexService, "find", lambda self, token: None)  # noqa: ARG005
        pass_the_window(bench, run)
        assert bench.pipeline().cancel(run).status.state is RunState.UNCERTAIN
        (created,) = bench.sandbox.vertex.jobs()
        bench.pipeline().resolve(run, handle=created.name, by="a person")
    assert poll_until_done(bench, run).status.state is RunState.CANCELLED


def test_a_spec_that_relaunches_does_not_after_the_wish_and_is_not_said_to_be_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_and_lose_the_answer(bench, monkeypatch, created=False)
    pass_the_window(bench, run)
    bench.pipeline().cancel(run)
    facts = bench.facts(run)
    spec = facts.run.plan.spec.model_copy(update={"on_uncertain": "relaunch"})
    plan = facts.run.plan.model_copy(update={"spec": spec})
    relaunching = dataclasses.replace(facts, run=dataclasses.replace(facts.run, plan=plan))
    unhindered = tuple(e for e in facts.events if e.kind != "cancel_requested")
    now = bench.clock.now()
    assert status(dataclasses.replace(relaunching, events=unhindered), now).action is Action.LAUNCH
    assert status(relaunching, now).state is RunState.UNCERTAIN


def test_a_failed_attempt_is_not_followed_by_another_after_the_wish(
    bench: Bench, released: threading.Event
) -> None:
    run = submit_running(bench)
    bench.pipeline().cancel(run)
    facts = bench.facts(run)
    attempt = facts.tune
    assert attempt is not None
    failed = Snapshot(AttemptState.FAILED, "JOB_STATE_FAILED", error="out of memory")
    twice = facts.run.plan.spec.model_copy(update={"max_attempts": 2})
    plan = facts.run.plan.model_copy(update={"spec": twice})
    changed = dataclasses.replace(
        facts,
        run=dataclasses.replace(facts.run, plan=plan),
        attempts=(dataclasses.replace(attempt, snapshot=failed),),
    )
    found = status(changed, bench.clock.now())
    assert (found.state, found.action) == (RunState.CANCELLED, Action.DONE)
    assert "another job" in found.reason


def test_a_job_that_the_service_shows_no_more_counts_as_cancelled(
    bench: Bench, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_running(bench)
    bench.pipeline().cancel(run)
    bench.clock.advance(bench.settings.visibility_window_s + 1)
    with monkeypatch.context() as patched:
        patched.setattr(VertexService, "inspect", lambda self, handles: {})  # noqa: ARG005
        outcome = bench.pipeline().poll()[0]
    assert outcome.status.state is RunState.CANCELLED


def test_a_pass_that_works_on_the_run_is_not_disturbed(
    bench: Bench, released: threading.Event
) -> None:
    run = submit_running(bench)
    with bench.ledger.lease(run) as lease:
        assert lease is not None
        with pytest.raises(LedgerError, match="another pass works on run"):
            bench.pipeline().cancel(run)
    assert "cancel_requested" not in events(bench, run)


def test_a_wish_waits_for_a_pass_that_is_about_to_end(
    bench: Bench, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit_running(bench)
    sleep = bench.clock.sleep
    with contextlib.ExitStack() as other_pass:
        assert other_pass.enter_context(bench.ledger.lease(run)) is not None

        def end_the_other_pass(seconds: float) -> None:
            other_pass.close()
            sleep(seconds)

        monkeypatch.setattr(bench.clock, "sleep", end_the_other_pass)
        bench.pipeline().cancel(run)
    assert "waiting for its end" in "\n".join(bench.told)
    assert events(bench, run).count("cancel_requested") == 1
    assert poll_until_done(bench, run).status.state is RunState.CANCELLED
