"""`orchestrator submit`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import data_option, limit_option, spec_argument
from orchestrator.cli.printing import note
from orchestrator.cli.session import open_pipeline, tell
from orchestrator.cli.watch import interval_option, watch
from orchestrator.errors import CheckFailed
from orchestrator.planner import make_plan
from orchestrator.spec import load_spec
from orchestrator.state import Action, RunState


@click.command()
@spec_argument
@data_option
@limit_option
@click.option("--again", is_flag=True, help="Make a new run even if this plan has one: pay again.")
@click.option("--watch", "watching", is_flag=True, help="Stay and poll until the run has ended.")
@interval_option
def command(
    spec: Path, data: Path | None, limit: int | None, again: bool, watching: bool, interval_s: float
) -> int:
    """Stage the rows and launch the tuning job, at most once; prints the run's id.

    Submitting the same plan again gives the existing run. Credentials, bucket and repo are tried
    before anything is written.
    """
    loaded = load_spec(spec)
    prepared = make_plan(loaded, loaded.data_file(data), limit=limit)
    if prepared.plan.refusals:
        raise CheckFailed(
            "the service would refuse this job: " + "; ".join(prepared.plan.refusals),
            hint="Nothing was uploaded. See: orchestrator plan",
        )
    with open_pipeline() as (pipeline, _):
        run, is_new = pipeline.submit(prepared, again=again)
        if not is_new:
            note(f"this plan has a run already ({run.id}); --again makes another one")
        click.echo(run.id)
        outcome = pipeline.advance(run.id)
        tell(outcome)
        if watching:
            return watch(pipeline, [run.id], interval_s)
        if outcome.error is not None:
            return outcome.error.exit_code
        if outcome.status.state is RunState.FAILED:
            return 1
    if outcome.status.action is not Action.DONE:
        note(f"go on with: orchestrator poll   (or look: orchestrator show {run.id})")
    return 0
