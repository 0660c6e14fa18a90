"""`orchestrator cancel`."""

from __future__ import annotations

import sys

import click

from orchestrator import cancellation
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json
from orchestrator.cli.session import Session, next_command, open_session, tell
from orchestrator.cli.watch import poll_until_ended
from orchestrator.errors import InputError
from orchestrator.pipeline import Outcome
from orchestrator.state import Action, RunState, current_attempt

_INTERVAL_S = 5.0


@click.command()
@click.argument("run")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the service reports the end.")
@json_option
def command(run: str, yes: bool, no_wait: bool, as_json: bool) -> int:
    """Cancel a run: nothing more is launched for it, and its job is stopped at the service.

    Asks first, and says what is lost. The wish is kept: if the service does not answer now, or the
    job is only found later, every poll tries again. Exit 0 once the run is cancelled (with
    --no-wait: asked for), also if it was already.
    """
    with open_session(quiet=as_json) as session:
        run_id = session.ledger.resolve_id(run)
        _ask(session, run_id, yes=yes)
        try:
            outcome = session.pipeline.cancel(run_id)
            # Whether a job exists may stay open for minutes: that is for later polls.
            live = outcome.status.action in (Action.INSPECT, Action.CANCEL)
            if live and not no_wait and outcome.error is None:
                (outcome,) = poll_until_ended(session, [run_id], _INTERVAL_S)
            else:
                tell(outcome)
        except KeyboardInterrupt:
            note("interrupted: what was asked for stays asked for")
            note(f"  see:    orchestrator poll {run_id}")
            return 130
    if as_json:
        _print(session, outcome)
    return _verdict(outcome, no_wait=no_wait)


def _ask(session: Session, run_id: str, *, yes: bool) -> None:
    """Say what is lost and have it confirmed; raises if nobody can be asked, or says no."""
    view = session.pipeline.view(run_id)
    if not cancellation.is_needed(view.facts, view.status) or yes:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"nobody is here to confirm that run {run_id} is to be cancelled",
            hint="Say it on the command line: --yes",
        )
    for line in cancellation.consequences(view.facts, view.status):
        note(line)
    if not click.confirm("Cancel it?", err=True):
        note("nothing was cancelled")
        raise click.exceptions.Exit(1)


def _verdict(outcome: Outcome, *, no_wait: bool) -> int:
    """Say what is left to do; the exit code."""
    state, run_id = outcome.status.state, outcome.run_id
    if state is RunState.CANCELLED:
        return 0
    if outcome.error is not None:
        note("it will be tried again: orchestrator poll")
        return outcome.error.exit_code
    if outcome.status.action is Action.FIND:
        note(
            "not cancelled yet: it is not known whether its job was created. Every poll looks for "
            "it, and cancels it when it is found; no other is launched."
        )
    note(f"next: {next_command(run_id, outcome.status)}")
    live = outcome.status.action in (Action.INSPECT, Action.CANCEL)
    return 0 if live and no_wait else 1


def _print(session: Session, outcome: Outcome) -> None:
    attempt = current_attempt(session.ledger.facts(outcome.run_id))
    print_json(
        {
            "run": outcome.run_id,
            "state": str(outcome.status.state),
            "reason": outcome.status.reason,
            "job": attempt.handle.id if attempt and attempt.handle else None,
            "error": str(outcome.error) if outcome.error else None,
        }
    )
