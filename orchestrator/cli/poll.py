"""`orchestrator poll`."""

from __future__ import annotations

import click

from orchestrator.cli.bugs import report_bug
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json, print_table
from orchestrator.cli.session import open_pipeline, tell
from orchestrator.cli.watch import interval_option, watch
from orchestrator.errors import InputError
from orchestrator.state import RunState


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--watch", "watching", is_flag=True, help="Poll again until all runs have ended.")
@interval_option
@click.option(
    "--fail-on",
    metavar="STATES",
    default="",
    help="Exit 1 if a run that was polled is in one of these states, e.g. failed,held.",
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
    with open_pipeline() as (pipeline, ledger):
        ids = [ledger.resolve_id(name) for name in runs] or ledger.run_ids(unfinished_only=True)
        if watching:
            return watch(pipeline, ids, interval_s) if ids else 0
        outcomes = pipeline.poll(ids) if ids else []
    for outcome in outcomes:
        if outcome.bug is not None:
            note(report_bug(outcome.bug))
        if outcome.error is not None:
            tell(outcome)
    if as_json:
        print_json(
            [
                {
                    "run": outcome.run_id,
                    "state": str(outcome.status.state),
                    "reason": outcome.status.reason,
                    "error": str(outcome.error) if outcome.error else None,
                }
                for outcome in outcomes
            ]
        )
    elif outcomes:
        rows = [(o.run_id, str(o.status.state), o.status.reason) for o in outcomes]
        print_table(("run", "state", "why"), rows)
    else:
        click.echo("no unfinished runs")
    if any(outcome.bug is not None for outcome in outcomes):
        return 3
    return 1 if any(outcome.status.state in failing for outcome in outcomes) else 0


def _states(text: str) -> frozenset[RunState]:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in RunState.__members__]
    if unknown:
        raise InputError(
            f"--fail-on: there is no state {unknown[0].lower()}",
            hint=f"States: {', '.join(state.lower() for state in RunState)}.",
        )
    return frozenset(RunState[name] for name in names)
