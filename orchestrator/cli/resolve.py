"""`orchestrator resolve`."""

from __future__ import annotations

import click

from orchestrator.cli.printing import note
from orchestrator.cli.session import next_command, open_pipeline, tell, tell_interrupted
from orchestrator.errors import InputError


@click.command()
@click.argument("run")
@click.option("--launched", metavar="JOB", help="The job exists; its full name at the service.")
@click.option("--not-launched", is_flag=True, help="There is no such job: it may be launched.")
@click.option(
    "--publish",
    is_flag=True,
    help="Go on with a run that was held at publishing, or publish without a failed export.",
)
@click.option("--retry", is_flag=True, help="Pay for another job after one that failed.")
def command(run: str, launched: str | None, not_launched: bool, publish: bool, retry: bool) -> int:
    """Answer what a run waits for: whether its job was created, that it may be published, or that
    another job may be paid for. That goes on from what the failed one has kept.

    For an UNCERTAIN run, look at the service's console for a job with the label that
    `orchestrator show RUN` prints. The service is asked once more before a job is launched.
    """
    if sum((bool(launched), not_launched, publish, retry)) != 1:
        raise InputError("give one of --launched JOB, --not-launched, --publish and --retry")
    with open_pipeline() as (pipeline, ledger):
        run_id = ledger.resolve_id(run)
        try:
            if publish:
                outcome = pipeline.publish_again(run_id)
            elif retry:
                outcome = pipeline.retry(run_id)
            else:
                outcome = pipeline.resolve(run_id, handle=launched, by="a person")
        except KeyboardInterrupt:
            return tell_interrupted([run_id])
        tell(outcome)
        note(f"next: {next_command(run_id, outcome.status)}")
    return outcome.error.exit_code if outcome.error else 0
