"""`orchestrator submit`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.given import need_sound, plan_given, read_given
from orchestrator.cli.options import data_option, limit_option, spec_argument
from orchestrator.cli.printing import note
from orchestrator.cli.session import open_session
from orchestrator.cli.tools_given import tools_option, with_tools
from orchestrator.cli.watch import begin, interval_option


@click.command()
@spec_argument
@data_option
@tools_option
@limit_option
@click.option("--again", is_flag=True, help="Make a new run even if this plan has one: pay again.")
@click.option("--watch", "watching", is_flag=True, help="Stay and poll until the run has ended.")
@interval_option
def command(
    spec: Path,
    data: str | None,
    tools: Path | None,
    limit: int | None,
    again: bool,
    watching: bool,
    interval_s: float,
) -> int:
    """Stage the rows and launch the tuning job, at most once; prints the run's id.

    Submitting the same plan again gives the existing run. Credentials, bucket and repo are tried
    before anything is written.
    """
    prepared = plan_given(with_tools(read_given(spec), tools), data, limit=limit)
    need_sound(prepared.plan, hint="Nothing was uploaded. See: orchestrator plan")
    with open_session() as session:
        run, is_new = session.pipeline.submit(prepared, again=again)
        if not is_new:
            note(f"this plan has a run already ({run.id}); --again makes another one")
        click.echo(run.id)
        return begin(session, run.id, interval_s if watching else None)
