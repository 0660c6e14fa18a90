"""`orchestrator poll`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from orchestrator.cli.bugs import report_bug
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json, print_table
from orchestrator.cli.session import next_command, open_session, tell, tell_interrupted
from orchestrator.cli.watch import interval_option, watch
from orchestrator.errors import InputError
from orchestrator.pipeline import Outcome
from orchestrator.state import RunState

_UNREACHABLE = "UNREACHABLE"


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--watch", "watching", is_flag=True, help="Poll again until all runs have ended.")
@interval_option
@click.option(
    "--fail-on",
    metavar="STATES",
    default="",
    help="Exit 1 if a run that was polled is in one of these states, e.g. failed,held; or, with "
    "`unreachable`, if the service of a run did not answer.",
)
@json_option
def command(
    runs: tuple[str, ...], watching: bool, interval_s: float, fail_on: str, as_json: bool
) -> int:
    """Ask the services for news and move every unfinished run on (or only those named).

    Made for cron: every pass is complete in itself, and two at once do not disturb each other.
    Exits 0 when it did its work, whatever became of the runs.
    """
    if watching and as_json:
        raise InputError("--json prints one document after one pass: it does not go with --watch")
    failing = _states(fail_on)
    with open_session(quiet=as_json) as session:
        ledger = session.ledger
        ids = [ledger.resolve_id(name) for name in runs] or ledger.run_ids(unfinished_only=True)
        if watching:
            return watch(session, ids, interval_s) if ids else _nothing()
        try:
            outcomes = session.pipeline.poll(ids) if ids else []
        except KeyboardInterrupt:
            return tell_interrupted(ids)
    _tell(outcomes)
    if as_json:
        print_json([_document(outcome) for outcome in outcomes])
    elif outcomes:
        rows = [(o.run_id, str(o.status.state), o.status.reason) for o in outcomes]
        print_table(("run", "state", "why"), rows)
        if len(outcomes) == 1:
            note(f"next: {next_command(outcomes[0].run_id, outcomes[0].status)}")
        else:
            note("next: orchestrator runs, or orchestrator poll --watch")
    else:
        return _nothing()
    if any(outcome.bug is not None for outcome in outcomes):
        return 3
    return 1 if any(_fails(outcome, failing) for outcome in outcomes) else 0


def _nothing() -> int:
    click.echo("no unfinished runs")
    return 0


def _tell(outcomes: Sequence[Outcome]) -> None:
    """What went wrong, and how many runs have no news because nobody answered."""
    for outcome in outcomes:
        if outcome.bug is not None:
            note(report_bug(outcome.bug))
        if outcome.error is not None:
            tell(outcome)
    silent = sum(not outcome.asked for outcome in outcomes)
    if silent:
        note(
            f"warning: {silent} of {len(outcomes)} runs could not be asked for: their service did "
            "not answer. Their jobs go on; the next poll asks again."
        )


def _document(outcome: Outcome) -> dict[str, object]:
    return {
        "run": outcome.run_id,
        "state": str(outcome.status.state),
        "reason": outcome.status.reason,
        "error": str(outcome.error) if outcome.error else None,
        "asked": outcome.asked,
    }


def _fails(outcome: Outcome, failing: frozenset[str]) -> bool:
    return outcome.status.state in failing or (not outcome.asked and _UNREACHABLE in failing)


def _states(text: str) -> frozenset[str]:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    known = [*RunState.__members__, _UNREACHABLE]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"--fail-on: there is no state {unknown[0].lower()}",
            hint=f"States: {', '.join(known).lower()}.",
        )
    return frozenset(names)
