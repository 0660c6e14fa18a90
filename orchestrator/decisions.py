"""What a person decides about a run: recorded as facts, on which `pipeline` then acts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator import audit_facts, cancellation, evaluation_facts
from orchestrator.clock import Clock
from orchestrator.connections import Connections
from orchestrator.errors import InputError, LedgerError, OrchestratorError
from orchestrator.evaluation_actions import EvaluationActions, GivenAnswers
from orchestrator.ledger import Facts, Lease, Ledger
from orchestrator.plan import EvaluationPlan
from orchestrator.services.base import AttemptKind, Handle, Service
from orchestrator.spec import AUDIT_MEAN, GateBlock
from orchestrator.state import (
    Action,
    RunState,
    Status,
    cancel_is_wanted,
    current_attempt,
    is_tuned,
    status,
)

#: How long a person's answer waits for a pass that works on the run.
_PATIENCE_S = 15.0
_BETWEEN_S = 0.5


class Decisions:
    """The answers and wishes of people, each under the lease of its run.

    All raise `InputError` for a run that waits for no such thing, and `LedgerError` while another
    pass works on it.
    """

    def __init__(
        self,
        ledger: Ledger,
        connections: Connections,
        *,
        clock: Clock,
        notify: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._connections = connections
        self._clock = clock
        self._notify = notify

    def cancel(self, run_id: str) -> None:
        """Record that a run shall be cancelled; silent if that is known, or done."""
        with self._leased(run_id) as lease:
            facts = self._ledger.facts(run_id)
            if cancellation.is_needed(facts, self._status(run_id)):
                attempt = current_attempt(facts)
                attempt_id = attempt.id if attempt else None
                lease.add_event("cancel_requested", {"by": "a person"}, attempt_id)

    def resolve(self, run_id: str, *, handle: str | None, by: str) -> None:
        """Record the name of an UNCERTAIN run's job, or with None that it was not launched.

        The service is asked once more: a job that it shows is adopted, whatever was said.
        """
        with self._leased(run_id) as lease:
            # Read under the lease: a poll may have found the job a moment ago.
            facts = self._ledger.facts(run_id)
            attempt = current_attempt(facts)
            if attempt is None or attempt.uncertain_at is None or attempt.handle or attempt.is_over:
                raise InputError(
                    f"run {run_id} waits for no answer about its launch",
                    hint=f"See: orchestrator show {run_id}",
                )
            target = facts.run.target.of(attempt.kind)
            service = self._connections.service(target)
            found = service.find(attempt.token)
            named = Handle(target.service, handle) if handle else None
            if found is not None:
                self._notify(f"the service shows the job after all: {found.id}")
                lease.record_handle(attempt.id, found, adopted=True)
            elif named is None:
                lease.record_not_launched(attempt.id, by)
            else:
                self._check_named(named, service)
                lease.record_handle(attempt.id, named, adopted=True)

    def release(self, run_id: str) -> None:
        """Record that a run that is held at publishing, or outran its cancelling, may go on.

        It is published from the repo's present state.
        """
        with self._leased(run_id) as lease:
            facts = self._ledger.facts(run_id)
            found = self._status(run_id)
            held = facts.last_since("publish_held", "publish_released") is not None
            unfinished = _has_ended(facts, found) and is_tuned(facts)
            judged = evaluation_facts.evaluation(facts)
            if judged is not None and not judged.data.get("passed") and not held:
                raise InputError(
                    f"run {run_id} is held by its gates",
                    hint=f'With a reason: orchestrator publish {run_id} --override "REASON". With '
                    f"other answers or gates: orchestrator evaluate {run_id} --help",
                )
            if not (held or unfinished or cancellation.was_outrun(facts, found)):
                raise InputError(
                    f"run {run_id} is not held at publishing",
                    hint=f"See: orchestrator show {run_id}",
                )
            if unfinished:
                attempt = current_attempt(facts)
                if attempt is not None and attempt.kind is AttemptKind.GENERATE:
                    raise InputError(
                        f"run {run_id} has no answers by which it could be judged",
                        hint=f"Try again: orchestrator resolve {run_id} --retry; or publish it "
                        f'unjudged: orchestrator publish {run_id} --override "REASON"',
                    )
                lease.add_event("finishing_dropped", {}, attempt.id if attempt else None)
            lease.add_event("publish_released")

    def override(self, run_id: str, *, reason: str, by: str) -> None:
        """Record that a tuned model is published whatever its evaluation says, and why."""
        if not reason.strip():
            raise InputError("an override needs a reason", hint='Say why: --override "REASON".')
        with self._leased(run_id) as lease:
            facts = self._ledger.facts(run_id)
            if facts.run.plan.spec.publish is None:
                raise InputError(
                    f"the spec of run {run_id} does not ask for publishing",
                    hint="Add `publish:` to the spec, and submit it again.",
                )
            if not is_tuned(facts) or facts.tune is None:
                raise InputError(
                    f"run {run_id} has no tuned model yet that could be published",
                    hint=f"See: orchestrator show {run_id}",
                )
            if self._status(run_id).state is RunState.PUBLISHED:
                raise InputError(f"run {run_id} is published already")
            lease.add_event("gates_overridden", {"reason": reason.strip(), "by": by}, facts.tune.id)
            self._stop_answers(facts, lease)

    def judge_by(
        self, run_id: str, evaluation: EvaluationPlan | None, wanted: tuple[GateBlock, ...]
    ) -> None:
        """Record that a run is judged by another evaluation or other gates than its plan says.

        Where answers come from stays as it was planned, or they are given as a file.
        """
        with self._leased(run_id) as lease:
            facts = self._ledger.facts(run_id)
            self._need_unpublished(facts)
            before = evaluation_facts.planned(facts)
            if evaluation is not None and evaluation.service != "file":
                if before is None or before.service != evaluation.service:
                    evaluation = evaluation.model_copy(
                        update={"service": "file", "conditions": ("tuned",), "flavor": None}
                    )
                elif (before.split, before.rows) != (evaluation.split, evaluation.rows):
                    raise InputError(
                        f"the answers of run {run_id} are to {before.rows} rows of {before.split}",
                        hint="Keep `split` and `rows` of the evaluation as they were.",
                    )
                elif _is_answered(facts):
                    # What was answered stays: by whom, with which examples, up to which length.
                    evaluation = before.model_copy(update={"scorer": evaluation.scorer})
            lease.add_event(evaluation_facts.CHANGED, evaluation_facts.judging(evaluation, wanted))
            if evaluation is None or evaluation.service != "hf-jobs":
                self._stop_answers(facts, lease)

    def judge_again(self, run_id: str) -> None:
        """Have a run that is held judged once more, if people have scored answers since."""
        with self._leased(run_id) as lease:
            facts = self._ledger.facts(run_id)
            judged = evaluation_facts.evaluation(facts)
            audited = facts.last(audit_facts.AUDITED)
            gated = any(gate.metric == AUDIT_MEAN for gate in evaluation_facts.gates(facts))
            if judged is None or audited is None or not gated or facts.last("published"):
                return
            if facts.events.index(audited) > facts.events.index(judged):
                lease.add_event(evaluation_facts.AGAIN, {})

    def give_answers(
        self, run_id: str, given: Sequence[GivenAnswers], folder: Path, actions: EvaluationActions
    ) -> None:
        """Take answers from files in the place of those of a job."""
        with self._leased(run_id) as lease:
            facts = self._ledger.facts(run_id)
            self._need_unpublished(facts)
            if not is_tuned(facts):
                raise InputError(
                    f"run {run_id} has no tuned model yet whose answers these could be",
                    hint=f"See: orchestrator show {run_id}",
                )
            if evaluation_facts.planned(facts) is None:
                raise InputError(
                    f"the spec of run {run_id} has no `evaluation:`, so nobody knows how to score",
                    hint="Give a spec that has one: --spec SPEC.",
                )
            names = {one.condition for one in given} | evaluation_facts.answers(facts).keys()
            if "tuned" not in names:
                raise InputError(
                    "no file of answers is that of the tuned model",
                    hint="Give it without a name: --predictions FILE.",
                )
            actions.take(facts, lease, given, folder)
            self._stop_answers(facts, lease)

    def _stop_answers(self, facts: Facts, lease: Lease) -> None:
        """Cancel a job of answers that nobody waits for any more, for it costs money."""
        attempt = evaluation_facts.newest(facts, AttemptKind.GENERATE)
        if attempt is None or attempt.is_over:
            return
        try:
            service = self._connections.service(facts.run.target.of(attempt.kind))
            handle = attempt.handle or service.find(attempt.token)
            if handle is None:
                return
            service.cancel(handle)
        except OrchestratorError as problem:
            name = attempt.handle.id if attempt.handle else attempt.token
            self._notify(f"warning: the job of answers {name} goes on, and costs: {problem}")
            return
        lease.add_event("cancel_sent", {}, attempt.id)
        self._notify(f"asked the service to cancel {handle.id}: nobody waits for its answers")

    def _need_unpublished(self, facts: Facts) -> None:
        if facts.last("published") is not None:
            raise InputError(
                f"run {facts.run.id} is published: its evaluation is on its card",
                hint="To compare it again, use: orchestrator score",
            )

    def retry(self, run_id: str) -> None:
        """Record that another job may be paid for, in the place of the one that came to nothing.

        Where the service keeps checkpoints, it goes on from the last one.
        """
        with self._leased(run_id) as lease:
            facts = self._ledger.facts(run_id)
            attempt, found = current_attempt(facts), self._status(run_id)
            if attempt is not None and attempt.kind is AttemptKind.TUNE and facts.is_adopted:
                raise InputError(
                    f"run {run_id} was adopted: nothing is ever trained for it",
                    hint="Adopt the weights again: orchestrator adopt WHAT --spec SPEC",
                )
            if attempt is None or not _has_ended(facts, found):
                raise InputError(
                    f"run {run_id} is {found.state}: it waits for no other attempt",
                    hint=f"See: orchestrator show {run_id}",
                )
            if facts.last_since("adapter_checked", "collected") is not None and not is_tuned(facts):
                raise InputError(
                    f"run {run_id} has trained to its end, and what it made was refused: "
                    "another job would go on from the same",
                    hint="Train anew: orchestrator submit SPEC --again",
                )
            lease.add_event("retry_requested", {"by": "a person"}, attempt.id)

    def _check_named(self, named: Handle, service: Service) -> None:
        if named not in service.inspect([named]):
            raise InputError(f"the service knows no job {named.id}", hint="Check the name.")
        for other in self._ledger.run_ids():
            if any(attempt.handle == named for attempt in self._ledger.facts(other).attempts):
                raise InputError(
                    f"{named.id} is the job of run {other}", hint="One job belongs to one run."
                )

    def _status(self, run_id: str) -> Status:
        return status(self._ledger.facts(run_id), self._clock.now())

    @contextmanager
    def _leased(self, run_id: str) -> Iterator[Lease]:
        with ExitStack() as stack:
            lease = self._lease_soon(run_id, stack)
            try:
                yield lease
            finally:
                # A question that was refused must not bring an ended run back into every poll.
                lease.finished = self._status(run_id).action is Action.DONE

    def _lease_soon(self, run_id: str, stack: ExitStack) -> Lease:
        """The lease of a run; waits a little, for most passes are short."""
        last_s = self._clock.elapsed_s() + _PATIENCE_S
        told = False
        while True:
            lease = stack.enter_context(self._ledger.lease(run_id))
            if lease is not None:
                return lease
            if self._clock.elapsed_s() >= last_s:
                raise LedgerError(
                    f"another pass works on run {run_id}", hint="Try again in a minute."
                )
            if not told:
                self._notify(f"another pass works on run {run_id}; waiting for its end")
                told = True
            self._clock.sleep(_BETWEEN_S)


def _is_answered(facts: Facts) -> bool:
    """Whether there are answers already, or a job for them."""
    attempt = evaluation_facts.newest(facts, AttemptKind.GENERATE)
    return bool(evaluation_facts.answers(facts)) or attempt is not None


def _has_ended(facts: Facts, found: Status) -> bool:
    """Whether the run ended because its newest attempt came to nothing; not by a person's wish."""
    attempt = current_attempt(facts)
    return (
        found.action is Action.DONE
        and found.state in (RunState.FAILED, RunState.CANCELLED)
        and not cancel_is_wanted(facts)
        and attempt is not None
        and attempt.is_over
    )
