"""The launch rule: one planned attempt becomes at most one job."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import Ambiguous, InputError, LedgerError, RefusalKind, Refused
from orchestrator.launcher import find_again, launch
from orchestrator.ledger import Artifact, Facts, Lease, Ledger, Target
from orchestrator.services.base import AttemptRequest, Handle, MaySend, TuneRequest
from orchestrator.state import Action, RunState, Status, status
from tests.fake_service import FakeService
from tests.manual_clock import ManualClock
from tests.plans import router_plan

TARGET = Target("vertex", "project", "us-central1", "gs://bucket", "me/adapter")
CALL_TIMEOUT_S = 60.0
WINDOW_S = 600.0


class Bench:
    """A staged run, its lease, a fake service and a clock."""

    def __init__(self, folder: Path, on_uncertain: str = "hold") -> None:
        self.clock = ManualClock()
        self.service = FakeService()
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}", self.clock)
        plan = router_plan(folder, on_uncertain=on_uncertain).plan
        self.run_id = self.ledger.add_run(plan, TARGET, folder, again=False).id
        self._context = self.ledger.lease(self.run_id, duration_s=10_000)
        lease = self._context.__enter__()
        assert lease is not None
        self.lease: Lease = lease
        staged = [Artifact("staged", "train", "gs://bucket/staged/t.jsonl", 1, "00")]
        self.lease.record_artifacts(staged, "staged", {})

    @property
    def facts(self) -> Facts:
        return self.ledger.facts(self.run_id)

    def status(self) -> Status:
        return status(self.facts, self.clock.now())

    def launch(self) -> None:
        launch(
            self.facts, self.service, self.lease, clock=self.clock, call_timeout_s=CALL_TIMEOUT_S
        )

    def find_again(self) -> None:
        attempt = self.facts.tune
        assert attempt is not None
        find_again(
            attempt, self.service, self.lease, clock=self.clock, visibility_window_s=WINDOW_S
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_launch_commits_its_intent_before_it_sends(bench: Bench) -> None:
    seen: list[tuple[str, ...]] = []
    send = bench.service.launch

    def spy(*arguments: object, **options: object) -> object:
        seen.append(tuple(event.kind for event in bench.facts.events))
        return send(*arguments, **options)  # type: ignore[arg-type]

    bench.service.launch = spy  # type: ignore[assignment, method-assign]
    bench.launch()
    assert seen == [("staged", "intent")]
    attempt = bench.facts.tune
    assert attempt is not None
    assert attempt.handle is not None
    assert bench.service.jobs == {attempt.token: attempt.handle.id}
    assert bench.status() == Status(RunState.QUEUED, Action.INSPECT)


def test_the_request_is_the_plans(bench: Bench) -> None:
    bench.launch()
    (request,) = bench.service.requests
    assert isinstance(request, TuneRequest)
    assert (request.epochs, request.learning_rate, request.adapter_rank) == (3, 0.00014, 16)
    assert request.base_model == "meta/llama3_1@llama-3.1-8b-instruct"
    assert request.train_uri == "gs://bucket/staged/t.jsonl"
    assert request.validation_uri is None
    assert request.output_uri.startswith(f"gs://bucket/outputs/{bench.run_id}")


def test_a_lost_answer_is_looked_for_and_the_job_adopted(bench: Bench) -> None:
    bench.service.lose_answer = True
    bench.launch()
    assert bench.status().state is RunState.SUBMITTING
    assert bench.status().action is Action.FIND
    bench.find_again()
    assert bench.status().action is Action.INSPECT
    assert len(bench.service.jobs) == 1
    assert bench.facts.last("adopted") is not None


def test_a_job_that_the_list_does_not_show_yet_is_waited_for(bench: Bench) -> None:
    bench.service.lose_answer = True
    bench.launch()
    bench.service.hidden = set(bench.service.jobs.values())
    bench.clock.advance(CALL_TIMEOUT_S + WINDOW_S - 1)
    bench.find_again()
    assert bench.status().action is Action.FIND
    bench.service.hidden.clear()
    bench.find_again()
    assert bench.status().action is Action.INSPECT
    assert len(bench.service.jobs) == 1


def test_a_job_still_absent_after_the_window_is_uncertain_and_never_launched_again(
    bench: Bench,
) -> None:
    bench.service.lose_answer = True
    bench.launch()
    bench.service.hidden = set(bench.service.jobs.values())
    bench.clock.advance(CALL_TIMEOUT_S + WINDOW_S)
    bench.find_again()
    assert bench.status().state is RunState.UNCERTAIN
    assert bench.status().action is Action.DONE
    assert "orchestrator resolve" in bench.status().reason
    assert len(bench.service.jobs) == 1


def test_the_spec_may_ask_to_launch_again_when_uncertain(tmp_path: Path) -> None:
    bench = Bench(tmp_path, on_uncertain="relaunch")
    bench.service.lose_answer = True
    bench.launch()
    bench.service.hidden = set(bench.service.jobs.values())
    bench.clock.advance(CALL_TIMEOUT_S + WINDOW_S)
    bench.find_again()
    assert bench.status().action is Action.LAUNCH
    bench.launch()
    assert [attempt.ordinal for attempt in bench.facts.attempts] == [1, 2]


def test_what_cannot_list_does_not_leave_an_intent(bench: Bench) -> None:
    bench.service.unreachable = True
    with pytest.raises(Ambiguous):
        bench.launch()
    assert bench.facts.attempts == ()
    assert bench.status().action is Action.LAUNCH


@pytest.mark.parametrize(
    "kind", [RefusalKind.INVALID, RefusalKind.PERMISSION, RefusalKind.CREDENTIALS]
)
def test_a_refusal_is_an_answer_and_ends_the_run(bench: Bench, kind: RefusalKind) -> None:
    bench.service.refuse_with = Refused("no, because", kind=kind)
    bench.launch()
    assert bench.status().state is RunState.FAILED
    assert "no, because" in bench.status().reason
    assert bench.service.jobs == {}


def test_a_refusal_for_quota_is_launched_again_later_as_a_new_attempt(bench: Bench) -> None:
    bench.service.refuse_with = Refused("full", kind=RefusalKind.QUOTA, retry_after_s=3600)
    bench.launch()
    assert bench.status().action is Action.WAIT
    bench.clock.advance(3599)
    assert bench.status().action is Action.WAIT
    bench.clock.advance(1)
    assert bench.status().action is Action.LAUNCH
    bench.launch()
    first, second = bench.facts.attempts
    assert first.token != second.token
    assert list(bench.service.jobs) == [second.token]


def test_a_clock_that_goes_back_does_not_make_an_old_attempt_the_newest(bench: Bench) -> None:
    bench.service.refuse_with = Refused("full", kind=RefusalKind.QUOTA)
    bench.launch()
    bench.clock.set(bench.clock.now() - timedelta(hours=3))
    bench.launch()
    attempt = bench.facts.tune
    assert attempt is not None
    assert attempt.ordinal == 2
    assert bench.status().action is Action.INSPECT


def test_a_service_may_ask_to_wait_for_thousands_of_years(bench: Bench) -> None:
    bench.service.refuse_with = Refused("full", kind=RefusalKind.QUOTA, retry_after_s=3.1e11)
    bench.launch()
    assert bench.status().action is Action.WAIT
    bench.clock.advance(86_400)
    assert bench.status().action is Action.LAUNCH


def test_relaunching_has_an_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, on_uncertain="relaunch")
    for _ in range(2):
        assert bench.status().action is Action.LAUNCH
        bench.service.lose_answer = True
        bench.launch()
        bench.service.hidden = set(bench.service.jobs.values())
        bench.clock.advance(CALL_TIMEOUT_S + WINDOW_S)
        bench.find_again()
    assert bench.status().state is RunState.UNCERTAIN
    assert bench.status().action is Action.DONE


def test_a_request_that_cannot_be_built_is_an_answer_and_not_uncertain(bench: Bench) -> None:
    bench.service.refuse_with = InputError("not a label")
    bench.launch()
    assert bench.status().state is RunState.FAILED
    assert "not a label" in bench.status().reason


def test_a_machine_that_sleeps_while_the_service_gets_ready_does_not_send(bench: Bench) -> None:
    send = bench.service.launch

    def sleep_first(attempt: AttemptRequest, token: str, *, may_send: MaySend) -> Handle:
        bench.clock.advance(7200)
        return send(attempt, token, may_send=may_send)

    bench.service.launch = sleep_first  # type: ignore[method-assign]
    with pytest.raises(LedgerError, match="suspended"):
        bench.launch()
    assert bench.service.jobs == {}


def test_a_pass_that_slept_between_intent_and_launch_does_not_send(bench: Bench) -> None:
    intend = bench.lease.record_intent

    def sleep_after_intent(**values: object) -> str:
        attempt_id = intend(**values)  # type: ignore[arg-type]
        bench.clock.advance(CALL_TIMEOUT_S + 1)
        return attempt_id

    bench.lease.record_intent = sleep_after_intent  # type: ignore[method-assign]
    with pytest.raises(LedgerError, match="suspended"):
        bench.launch()
    assert bench.service.jobs == {}
    assert bench.status().action is Action.LAUNCH


def test_a_pass_that_lost_its_lease_after_the_intent_does_not_send(bench: Bench) -> None:
    intend = bench.lease.record_intent

    def lose_after_intent(**values: object) -> str:
        attempt_id = intend(**values)  # type: ignore[arg-type]
        bench.clock.advance(20_000)
        with bench.ledger.lease(bench.run_id) as other:
            assert other is not None
        return attempt_id

    bench.lease.record_intent = lose_after_intent  # type: ignore[method-assign]
    with pytest.raises(LedgerError, match="another pass took over"):
        bench.launch()
    assert bench.service.jobs == {}
    assert bench.status().action is Action.FIND


def test_a_request_that_cannot_be_built_is_a_refusal_and_no_open_question(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> AttemptRequest:
        raise LedgerError("there is nothing to launch it from")

    monkeypatch.setattr("orchestrator.launcher.attempt_request", broken)
    bench.launch()
    assert bench.service.requests == []
    found = bench.status()
    assert found.state is RunState.FAILED
    assert "nothing to launch it from" in found.reason
