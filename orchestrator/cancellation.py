"""Cancelling: whether a run can be, and what that costs.

The wish is a fact in the ledger. `state` derives from it that nothing is launched any more and that
the service is asked to stop the job; `pipeline` carries it out, in this pass or in a later one.
"""

from __future__ import annotations

from orchestrator.errors import InputError
from orchestrator.ledger import Facts
from orchestrator.services.base import AttemptKind, AttemptState
from orchestrator.state import (
    Action,
    RunState,
    Status,
    cancel_is_wanted,
    current_attempt,
    is_tuned,
)

_PAID = (AttemptState.SUCCEEDED, AttemptState.PARTIAL)


def is_needed(facts: Facts, found: Status) -> bool:
    """Whether the wish has to be recorded; False if it is already, or the run is cancelled.

    Raises `InputError` for a run of which nothing is left to cancel.
    """
    if found.state is RunState.CANCELLED or cancel_is_wanted(facts):
        return False
    attempt = current_attempt(facts)
    trained = attempt is not None and attempt.snapshot and attempt.snapshot.state in _PAID
    if found.state is RunState.PUBLISHED or trained:
        raise InputError(
            f"run {facts.run.id} is {found.state}: its training has ended and is paid for",
            hint=f"Nothing is left to cancel. See: orchestrator show {facts.run.id}",
        )
    if found.action is Action.DONE and found.state is not RunState.UNCERTAIN:
        raise InputError(
            f"run {facts.run.id} has ended: {found.state}",
            hint=f"Nothing is left to cancel. See: orchestrator show {facts.run.id}",
        )
    return True


def was_outrun(facts: Facts, found: Status) -> bool:
    """Whether the job had succeeded before it could be cancelled, and the run waits since."""
    attempt = current_attempt(facts)
    snapshot = attempt.snapshot if attempt else None
    succeeded = snapshot is not None and snapshot.state is AttemptState.SUCCEEDED
    paid = succeeded or is_tuned(facts)
    waits = found.state is RunState.HELD and found.action is Action.DONE
    return cancel_is_wanted(facts) and paid and waits


def consequences(facts: Facts, found: Status) -> tuple[str, ...]:
    """What a person should know before the wish is recorded, in lines."""
    run, attempt = facts.run, current_attempt(facts)
    if attempt is None or (attempt.handle is None and attempt.is_over):
        paid = "its training is paid for" if is_tuned(facts) else "nothing was paid"
        what = "no other job" if is_tuned(facts) else "no job"
        return (f"Run {run.id} is {found.state}: {what} was launched, {paid}.",)
    if attempt.handle is None:
        return (
            f"Run {run.id} is {found.state}: nobody knows yet whether its job was created.",
            "No other job is launched for it, and this one is cancelled if it is found.",
        )
    if attempt.is_over:
        return (f"Run {run.id} is {found.state}: its last job has ended; no other is launched.",)
    started = attempt.snapshot.started_at if attempt.snapshot else None
    since = f" since {started:%Y-%m-%d %H:%M} UTC" if started else ""
    trained = "what it has trained is lost" if started else "it has not started to train"
    billed = f"what was trained until then; the whole job: about ${run.plan.estimate.cost_usd:,.2f}"
    if is_tuned(facts):
        nothing = "no answers" if attempt.kind is AttemptKind.GENERATE else f"no {attempt.kind}"
        trained = f"the tuned model stays, and this job leaves {nothing}"
        billed = "what this job has used until then"
    return (
        f"Run {run.id} is {found.state}{since}: {attempt.handle.id}",
        f"If it is cancelled, {trained}; it cannot be taken up again.",
        f"The service may bill {billed}.",
    )
