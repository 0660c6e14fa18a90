"""`orchestrator resolve`."""

from __future__ import annotations

import click

from orchestrator.cli.session import open_pipeline, tell
from orchestrator.errors import InputError


@click.command()
@click.argument("run")
@click.option("--launched", metavar="JOB", help="The job exists; its full name at the service.")
@click.option("--not-launched", is_flag=True, help="There is no such job: it may be launched.")
def command(run: str, launched: str | None, not_launched: bool) -> int:
    """Tell the ledger whether the job of an UNCERTAIN run was created.

    Look at the service's console for a job with the label that `orchestrator show RUN` prints.
    """
    if bool(launched) == not_launched:
        raise InputError("give either --launched JOB or --not-launched")
    with open_pipeline() as (pipeline, ledger):
        outcome = pipeline.resolve(ledger.resolve_id(run), handle=launched, by="a person")
        tell(outcome)
    return outcome.error.exit_code if outcome.error else 0
