"""What happens next to a run, and the state that people see: both derived from the same facts.

A new outcome is a new fact and a branch in one of these two functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from orchestrator.errors import RefusalKind
from orchestrator.evaluation_facts import (
    GIVEN,
    answers,
    attempt_kinds,
    candidate,
    evaluation,
    needs_candidate,
    newest,
    override,
    planned,
)
from orchestrator.ledger import AttemptFacts, DamagedRun, Event, Facts
from orchestrator.services.base import AttemptKind, AttemptState, Snapshot

#: How long a refusal for quota waits before the next launch, unless the service says longer.
QUOTA_WAIT = timedelta(minutes=5)

#: A service may ask for any time, even for thousands of years.
_LONGEST_WAIT_S = 86_400.0
#: What follows the evaluation; a person may do without it.
_FINISHING = (AttemptKind.MERGE, AttemptKind.EXPORT)
#: The raw state of a job that the service does not show any more.
GONE = "NOT_FOUND"


class RunState(StrEnum):
    """The state of a run as people see it."""

    PLANNED = "PLANNED"
    STAGED = "STAGED"
    SUBMITTING = "SUBMITTING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COLLECTED = "COLLECTED"
    EVALUATED = "EVALUATED"
    PUBLISHED = "PUBLISHED"
    HELD = "HELD"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNCERTAIN = "UNCERTAIN"


class Action(StrEnum):
    """What a pass does next. `WAIT` and `DONE` do nothing: later, and never."""

    STAGE = "stage"
    LAUNCH = "launch"
    FIND = "find"
    INSPECT = "inspect"
    CANCEL = "cancel"
    COLLECT = "collect"
    RECORD = "record"
    CHECK_ADAPTER = "check-adapter"
    OFFER = "offer"
    EVALUATE = "evaluate"
    PUBLISH = "publish"
    WAIT = "wait"
    DONE = "done"


@dataclass(frozen=True)
class Status:
    """The state, the next action, and why."""

    state: RunState
    action: Action
    reason: str = ""
    #: Whether a tuned model is there, and whether its answers were to be judged and are not.
    tuned: bool = field(default=False, compare=False)
    unjudged: bool = field(default=False, compare=False)
    #: Whether it was trained elsewhere: no job of ours has logged anything.
    adopted: bool = field(default=False, compare=False)


def status(facts: Facts, now: datetime) -> Status:
    """Where a run stands, and what to do next."""
    if facts.last("published"):
        return Status(RunState.PUBLISHED, Action.DONE)
    found = _unhindered(facts, now)
    if cancel_is_wanted(facts):
        found = _cancelling(facts, found)
    tuned = is_tuned(facts)
    unjudged = tuned and planned(facts) is not None and evaluation(facts) is None
    return replace(found, tuned=tuned, unjudged=unjudged, adopted=facts.is_adopted)


def cancel_is_wanted(facts: Facts) -> bool:
    """Whether somebody asked to cancel the run, and has not released it since."""
    return facts.last_since("cancel_requested", "publish_released") is not None


def _unhindered(facts: Facts, now: datetime) -> Status:
    """Where a run stands that nobody has asked to cancel."""
    if not facts.last("staged"):
        return Status(RunState.PLANNED, Action.STAGE)
    if not is_tuned(facts):
        return _executing(facts, AttemptKind.TUNE, now)
    # Judged before it is merged and exported: that costs money too.
    judging = _judging(facts, now)
    if judging is not None:
        return judging
    kind = pending_kind(facts)
    return _publishing(facts) if kind is None else _executing(facts, kind, now)


def _executing(facts: Facts, kind: AttemptKind, now: datetime) -> Status:
    """Where a run stands whose next attempt, or the one on its way, is of this kind."""
    attempt = newest(facts, kind)
    if attempt is None:
        return Status(_before(facts, kind), Action.LAUNCH)
    if attempt.handle is None:
        return _unlaunched(facts, attempt, now)
    if attempt.snapshot is None:
        return Status(RunState.QUEUED, Action.INSPECT)
    return _reported(facts, attempt, attempt.snapshot)


def _before(facts: Facts, kind: AttemptKind) -> RunState:
    """Where a run stands whose next attempt is of this kind."""
    return RunState.STAGED if kind is AttemptKind.TUNE else _tuned_state(facts)


def _tuned_state(facts: Facts) -> RunState:
    """How far a run with a tuned model has come."""
    return RunState.EVALUATED if evaluation(facts) is not None else RunState.COLLECTED


def _judging(facts: Facts, now: datetime) -> Status | None:
    """What is left to do, or to decide, before the tuned model may go on; None if nothing is."""
    how = planned(facts)
    if how is None or override(facts) is not None:
        return None
    if needs_candidate(facts) and candidate(facts) is None:
        return Status(RunState.COLLECTED, Action.OFFER)
    judged = evaluation(facts)
    if judged is None:
        if not _is_done(facts, AttemptKind.GENERATE):
            return _executing(facts, AttemptKind.GENERATE, now)
        if how.service == "file" and not answers(facts):
            reason = f"waits for answers: orchestrator evaluate {facts.run.id} --predictions FILE"
            return Status(RunState.HELD, Action.DONE, reason)
        return Status(RunState.COLLECTED, Action.EVALUATE)
    if _of(judged, "passed", facts) is True:
        return None
    reason = (
        f"{'; '.join(_of(judged, 'failed', facts))}; to publish all the same: "
        f'orchestrator publish {facts.run.id} --override "REASON"'
    )
    return Status(RunState.HELD, Action.DONE, reason)


def pending_kind(facts: Facts) -> AttemptKind | None:
    """What the run has still to execute, or None if all of it is done."""
    return next((kind for kind in attempt_kinds(facts) if not _is_done(facts, kind)), None)


def current_attempt(facts: Facts) -> AttemptFacts | None:
    """The attempt that the next action is about: that of the pending kind, or the last one."""
    kind = pending_kind(facts) or attempt_kinds(facts)[-1]
    return newest(facts, kind)


def is_tuned(facts: Facts) -> bool:
    """Whether the run has a tuned model that passed its check."""
    return _is_done(facts, AttemptKind.TUNE)


def _is_done(facts: Facts, kind: AttemptKind) -> bool:
    """Whether an attempt of the kind left what the run needs of it, or a person does without."""
    if kind in _FINISHING and facts.last("finishing_dropped") is not None:
        return True
    if kind is AttemptKind.GENERATE:
        if kind not in attempt_kinds(facts):
            return True
        if evaluation(facts) is not None or override(facts) is not None:
            return True
        # What a person gives takes the place of a job, which nobody has to pay for then.
        if facts.last(GIVEN) is not None and answers(facts):
            return True
    attempt = newest(facts, kind)
    if attempt is None:
        return False
    if kind is AttemptKind.TUNE:
        collected = facts.last_since("collected", "files_lost")
        checked = facts.last_since("adapter_checked", "collected")
        done = collected is not None and collected.attempt_id == attempt.id
        return (
            done
            and checked is not None
            and checked.attempt_id == attempt.id
            and not _of(checked, "problems", facts)
        )
    return any(
        event.kind == "produced" and event.attempt_id == attempt.id for event in facts.events
    )


def _cancelling(facts: Facts, found: Status) -> Status:
    """The wish to cancel stands until it is carried out, whatever was on its way meanwhile."""
    attempt = current_attempt(facts)
    if attempt is not None and _is_uncertain(attempt):
        # Also where the spec says relaunch: the first job may be there, and be paid for.
        return _uncertain(facts, attempt)
    match found.action:
        case Action.LAUNCH | Action.WAIT if is_tuned(facts):
            return _outrun(facts)
        case Action.STAGE | Action.LAUNCH | Action.WAIT:
            what = "another job" if attempt and attempt.handle else "a job"
            return Status(RunState.CANCELLED, Action.DONE, f"cancelled before {what} was launched")
        case Action.INSPECT if attempt is not None:
            return _stopping(facts, attempt, found)
        case (
            Action.COLLECT
            | Action.CHECK_ADAPTER
            | Action.RECORD
            | Action.OFFER
            | Action.EVALUATE
            | Action.PUBLISH
        ):
            return _outrun(facts)
        case _:
            return found


def _outrun(facts: Facts) -> Status:
    """A training that was paid for is not thrown away: a person decides."""
    reason = (
        "its job ended before it could be cancelled, and is paid for; to go on all the "
        f"same: orchestrator resolve {facts.run.id} --publish"
    )
    return Status(RunState.HELD, Action.DONE, reason)


def _stopping(facts: Facts, attempt: AttemptFacts, found: Status) -> Status:
    """A job that has not ended: ask the service once, then wait until it says so."""
    sent = facts.last("cancel_sent")
    if sent is None or sent.attempt_id != attempt.id:
        return Status(found.state, Action.CANCEL, "is to be cancelled")
    if attempt.snapshot is not None and attempt.snapshot.raw_state == GONE:
        return Status(
            RunState.CANCELLED, Action.DONE, "cancelled; the service does not show the job any more"
        )
    return Status(found.state, Action.INSPECT, "the service was asked to cancel the job")


def _reported(facts: Facts, attempt: AttemptFacts, snapshot: Snapshot) -> Status:
    """What follows from the service's news."""
    match snapshot.state:
        case AttemptState.SUCCEEDED:
            return _succeeded(facts, attempt)
        case AttemptState.PARTIAL:
            return Status(RunState.HELD, Action.DONE, "the service reports partial success")
        case AttemptState.FAILED:
            return _failed(facts, attempt, snapshot.error or snapshot.raw_state)
        case AttemptState.CANCELLED:
            return _ended(
                facts, attempt, "the job was cancelled at the service", RunState.CANCELLED
            )
        case AttemptState.QUEUED:
            return Status(RunState.QUEUED, Action.INSPECT)
        case AttemptState.UNKNOWN if snapshot.raw_state == GONE:
            # It may come back, and may have been paid for: a person decides, and polls go on.
            reason = "the service does not show the job any more"
            return Status(RunState.HELD, Action.INSPECT, reason)
        case AttemptState.UNKNOWN:
            reason = f"the service reports {snapshot.raw_state}, which is not known here"
            return Status(RunState.RUNNING, Action.INSPECT, reason)
        case _:
            return Status(RunState.RUNNING, Action.INSPECT)


def _unlaunched(facts: Facts, attempt: AttemptFacts, now: datetime) -> Status:
    """An intent without a handle: refused, given up, uncertain, or on its way."""
    refusal = attempt.refusal
    if refusal is not None:
        if refusal.kind is not RefusalKind.QUOTA:
            return _ended(facts, attempt, f"refused: {refusal.message}")
        asked = timedelta(seconds=min(refusal.retry_after_s or 0, _LONGEST_WAIT_S))
        wait = max(QUOTA_WAIT, asked)
        reason = f"quota: {refusal.message}"
        action = Action.LAUNCH if now >= refusal.at + wait else Action.WAIT
        return Status(_before(facts, attempt.kind), action, reason)
    if attempt.not_launched_by is not None:
        reason = f"not launched, says {attempt.not_launched_by}"
        return Status(_before(facts, attempt.kind), Action.LAUNCH, reason)
    if attempt.uncertain_at is not None:
        uncertain = sum(item.uncertain_at is not None for item in facts.attempts)
        spec = facts.run.plan.spec
        if spec.on_uncertain == "relaunch" and uncertain <= spec.max_attempts:
            return Status(RunState.SUBMITTING, Action.LAUNCH, "not found; the spec says relaunch")
        return _uncertain(facts, attempt)
    return Status(RunState.SUBMITTING, Action.FIND, "the answer to the launch was lost")


def _is_uncertain(attempt: AttemptFacts) -> bool:
    """Whether nobody can tell if the attempt's job exists."""
    return attempt.uncertain_at is not None and attempt.handle is None and not attempt.is_over


def _uncertain(facts: Facts, attempt: AttemptFacts) -> Status:
    reason = (
        "nobody can tell whether the job was created; look at the service for the label "
        f"{attempt.token}, then: orchestrator resolve {facts.run.id} "
        "--launched JOB_NAME | --not-launched"
    )
    return Status(RunState.UNCERTAIN, Action.DONE, reason)


def _failed(facts: Facts, attempt: AttemptFacts, error: str) -> Status:
    used = sum(1 for item in facts.attempts if item.kind is attempt.kind and item.handle)
    allowed = facts.run.plan.spec.max_attempts
    if used < allowed:
        reason = f"attempt {used} of {allowed} failed: {error}"
        return Status(_before(facts, attempt.kind), Action.LAUNCH, reason)
    return _ended(facts, attempt, error)


def _ended(
    facts: Facts, attempt: AttemptFacts, reason: str, state: RunState = RunState.FAILED
) -> Status:
    """Nothing more comes of the newest attempt: the end, unless a person asked for another one."""
    if attempt.kind is AttemptKind.TUNE and facts.is_adopted:
        adopt = "nothing is trained for an adopted run; once they are there: orchestrator adopt"
        return Status(state, Action.DONE, f"{reason}; {adopt}")
    if any(
        event.kind == "retry_requested" and event.attempt_id == attempt.id for event in facts.events
    ):
        return Status(_before(facts, attempt.kind), Action.LAUNCH, f"tried again after: {reason}")
    candidates = facts.run.target.candidates
    tuned = is_tuned(facts)
    paid = attempt.handle is not None or tuned
    if candidates is not None and paid and not cancel_is_wanted(facts):
        kept = "the tuned adapter is" if tuned else "what it had kept is"
        reason += (
            f"; {kept} in {candidates}; to go on from there with another job: "
            f"orchestrator resolve {facts.run.id} --retry"
        )
    return Status(state, Action.DONE, reason)


def _succeeded(facts: Facts, attempt: AttemptFacts) -> Status:
    """The service has finished: collect and check, or take down what was made."""
    missing = facts.last("nothing_collected")
    nothing = missing is not None and missing.attempt_id == attempt.id
    if attempt.kind is not AttemptKind.TUNE:
        if nothing and missing is not None:
            return _ended(facts, attempt, str(_of(missing, "reason", facts)))
        return Status(
            _tuned_state(facts), Action.RECORD, f"{attempt.kind}: finished at the service"
        )
    collected = facts.last_since("collected", "files_lost")
    if collected is None or collected.attempt_id != attempt.id:
        if nothing and missing is not None:
            return _ended(facts, attempt, str(_of(missing, "reason", facts)))
        return Status(RunState.RUNNING, Action.COLLECT, "finished at the service")
    checked = facts.last_since("adapter_checked", "collected")
    if checked is None or checked.attempt_id != attempt.id:
        return Status(RunState.COLLECTED, Action.CHECK_ADAPTER)
    problems = _of(checked, "problems", facts)
    return Status(RunState.FAILED, Action.DONE, f"adapter refused: {'; '.join(problems)}")


def _publishing(facts: Facts) -> Status:
    """Everything is made and checked."""
    state = _tuned_state(facts)
    if facts.run.target.repo is None:
        return Status(state, Action.DONE, "the spec does not ask for publishing")
    held = facts.last_since("publish_held", "publish_released")
    if held is not None:
        return Status(RunState.HELD, Action.DONE, str(_of(held, "reason", facts)))
    return Status(state, Action.PUBLISH)


def _of(event: Event, name: str, facts: Facts) -> Any:
    """What an event says; nothing is decided on an event that was damaged."""
    if name not in event.data:
        raise DamagedRun(
            f"the ledger's record of run {facts.run.id} is damaged "
            f"(event {event.kind} has no {name})",
            hint="Put back a copy of the ledger.",
        )
    return event.data[name]
