"""The first pass over a run and repeated polling, shared by the commands that wait for runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from orchestrator.cli.printing import note
from orchestrator.cli.progress import Waiting
from orchestrator.cli.session import Session, next_command, tell, tell_interrupted
from orchestrator.errors import OrchestratorError
from orchestrator.ledger import Facts
from orchestrator.pipeline import Outcome
from orchestrator.state import Action, RunState, current_attempt

F = TypeVar("F", bound=Callable[..., Any])


def interval_option(function: F) -> F:
    """--interval SECONDS."""
    return click.option(
        "--interval",
        "interval_s",
        type=click.FloatRange(0.1, 86_400.0),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="Time between two polls with --watch.",
    )(function)


def begin(session: Session, run_id: str, interval_s: float | None) -> int:
    """The first pass over a run that was just made, and with an interval all the others.

    Gives the exit code: 1 if the run failed or is held. Ctrl-C leaves it be.
    """
    try:
        outcome = session.pipeline.advance(run_id)
    except KeyboardInterrupt:
        return tell_interrupted([run_id])
    tell(outcome)
    if interval_s is not None:
        return watch(session, [run_id], interval_s)
    note(f"next: {next_command(run_id, outcome.status)}")
    if outcome.error is not None:
        return outcome.error.exit_code
    return 1 if outcome.status.state in (RunState.FAILED, RunState.HELD) else 0


def watch(session: Session, run_ids: Sequence[str], interval_s: float) -> int:
    """Poll until all of the runs have ended; 1 if one failed or is held. Ctrl-C leaves them be."""
    good = (RunState.PUBLISHED, RunState.COLLECTED, RunState.EVALUATED)
    try:
        ended = poll_until_ended(session, run_ids, interval_s)
    except KeyboardInterrupt:
        return tell_interrupted(run_ids)
    return 0 if all(outcome.status.state in good for outcome in ended) else 1


def poll_until_ended(
    session: Session, run_ids: Sequence[str], interval_s: float
) -> tuple[Outcome, ...]:
    """Poll until nothing more can be done for any of the runs; tells every change."""
    waiting = list(run_ids)
    ended: list[Outcome] = []
    shown: dict[str, str] = {}
    while True:
        outcomes = session.pipeline.poll(waiting)
        for outcome in outcomes:
            if outcome.bug is not None and len(run_ids) == 1:
                raise outcome.bug  # it would only come again; other runs can still go on
            line = f"{outcome.status.state} {outcome.status.reason} {outcome.error or ''}"
            if shown.get(outcome.run_id) != line:
                tell(outcome)
                shown[outcome.run_id] = line
            if outcome.status.action is Action.DONE:
                waiting.remove(outcome.run_id)
                ended.append(outcome)
        if not waiting:
            return tuple(ended)
        session.display.pause(_drawn(session, outcomes, waiting), interval_s)


def _drawn(session: Session, outcomes: Sequence[Outcome], waiting: Sequence[str]) -> list[Waiting]:
    """What a terminal shows until the next poll; the loss only where it is one run's."""
    if not session.display.draws:
        return []
    return [
        _waiting(session, outcome, with_loss=len(waiting) == 1)
        for outcome in outcomes
        if outcome.run_id in waiting
    ]


def _waiting(session: Session, outcome: Outcome, *, with_loss: bool) -> Waiting:
    facts = session.ledger.facts(outcome.run_id)
    attempt = current_attempt(facts)
    snapshot = attempt.snapshot if attempt else None
    since = (snapshot.started_at or snapshot.created_at) if snapshot else facts.run.created_at
    text = f"{outcome.run_id}  {outcome.status.state}"
    if with_loss and outcome.status.state is RunState.RUNNING:
        text += _loss(session, facts)
    return Waiting(text, since)


def _loss(session: Session, facts: Facts) -> str:
    """The training loss, where the job's log can be had without trouble."""
    from orchestrator.training_log import latest_loss, locate

    try:
        log = locate(facts, session.connections)
        if log is None or log.uri is None:
            return ""
        found = latest_loss(session.connections.store(log.target), log.uri)
    except OrchestratorError:
        return ""  # a nicety, not news
    return f"  {found}" if found else ""
