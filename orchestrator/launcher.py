"""The launch rule: one planned attempt becomes at most one paid job.

Neither service has an idempotency key, and a list may lag behind a create. So the intent, with its
token, is committed before the call; after an answer that cannot be trusted the job is looked for
by that token, and never launched a second time on a guess.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from orchestrator.attempt_requests import attempt_request
from orchestrator.clock import Clock
from orchestrator.errors import Ambiguous, InputError, LedgerError, RefusalKind, Refused
from orchestrator.ledger import AttemptFacts, Facts, Lease, Refusal
from orchestrator.services.base import AttemptKind, Service


class _TooLateError(Exception):
    """The lease or the deadline would not outlast the call: it was not sent."""


def launch(
    facts: Facts,
    service: Service,
    lease: Lease,
    *,
    kind: AttemptKind = AttemptKind.TUNE,
    clock: Clock,
    call_timeout_s: float,
) -> None:
    """Commit the intent, send it once, and record the answer, whatever it is."""
    if kind is AttemptKind.TUNE and facts.is_adopted:
        raise LedgerError(
            f"run {facts.run.id} was adopted: nothing is ever trained for it",
            hint="Adopt the weights again: orchestrator adopt WHAT --spec SPEC",
        )
    token = f"orc-{uuid.uuid4().hex}"
    # A read with the same credentials first: what cannot even list jobs cannot create one, and
    # says so before there is an intent whose fate would have to be found out.
    service.find(token)
    ordinal = sum(attempt.kind is kind for attempt in facts.attempts) + 1
    deadline_at = clock.now() + timedelta(seconds=call_timeout_s)
    attempt_id = lease.record_intent(
        kind=kind, ordinal=ordinal, token=token, deadline_at=deadline_at
    )
    try:
        request = attempt_request(facts, kind, attempt_id)
    except (InputError, LedgerError, KeyError) as error:
        # The intent stands, and nothing can come of it: that is known, so nobody has to look.
        lacks = isinstance(error, KeyError)
        why = f"the run has nothing staged as {error}, which its job needs" if lacks else str(error)
        lease.record_refusal(attempt_id, Refusal(RefusalKind.INVALID, why, clock.now()))
        return

    def may_send() -> float:
        left_s = (deadline_at - clock.now()).total_seconds()
        if not 0 < left_s <= call_timeout_s or not lease.is_held_for(left_s):
            raise _TooLateError
        return left_s

    try:
        handle = service.launch(request, token, may_send=may_send)
    except _TooLateError:
        lease.record_not_launched(attempt_id, "the pass itself: it was too late to send")
        raise LedgerError(
            "the machine was suspended, or its clock was set, between intent and launch",
            hint="The next pass launches.",
        ) from None
    except InputError as error:
        # Raised while the request was built: nothing was sent.
        refusal = Refusal(RefusalKind.INVALID, str(error), clock.now())
        lease.record_refusal(attempt_id, refusal)
    except Refused as refused:
        refusal = Refusal(refused.kind, str(refused), clock.now(), refused.retry_after_s)
        lease.record_refusal(attempt_id, refusal)
    except Ambiguous as ambiguous:
        lease.add_event("ambiguous", {"message": str(ambiguous)}, attempt_id)
    else:
        lease.record_handle(attempt_id, handle, adopted=False)


def find_again(
    attempt: AttemptFacts,
    service: Service,
    lease: Lease,
    *,
    clock: Clock,
    visibility_window_s: float,
) -> None:
    """Look for the job of an intent whose answer was lost; give up only when lists must show it."""
    asked_at = clock.now()
    handle = service.find(attempt.token)
    if handle is not None:
        lease.record_handle(attempt.id, handle, adopted=True)
    # The time before the question counts: a job created while the list was made up may be absent.
    elif asked_at >= attempt.deadline_at + timedelta(seconds=visibility_window_s):
        lease.record_uncertain(attempt.id)
