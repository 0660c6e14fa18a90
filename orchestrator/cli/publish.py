"""`orchestrator publish`."""

from __future__ import annotations

import getpass

import click

from orchestrator.cli.printing import note
from orchestrator.cli.session import next_command, open_pipeline, tell, tell_interrupted
from orchestrator.state import RunState


@click.command()
@click.argument("run")
@click.option(
    "--override",
    metavar="REASON",
    help="Publish although its gates failed, or it was not evaluated; the reason is recorded, and "
    "shown on the model card.",
)
def command(run: str, override: str | None) -> int:
    """Publish a run that is HELD.

    Without an override, for a run that a person or another publication held up: it goes on from
    what the target repo holds now. A run whose gates failed needs a reason:

        orchestrator publish RUN --override "the slice has four rows"

    Exit 0 once it is published.
    """
    with open_pipeline() as (pipeline, ledger):
        run_id = ledger.resolve_id(run)
        try:
            if override is None:
                outcome = pipeline.publish_again(run_id)
            else:
                outcome = pipeline.override(run_id, reason=override, by=_user())
        except KeyboardInterrupt:
            return tell_interrupted([run_id])
        tell(outcome)
        note(f"next: {next_command(run_id, outcome.status)}")
    if outcome.error is not None:
        return outcome.error.exit_code
    return 0 if outcome.status.state is RunState.PUBLISHED else 1


def _user() -> str:
    """Who decides, as this machine knows them; the card does not name them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "a person"
