"""`orchestrator adopt`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.given import need_sound, plan_given, read_given
from orchestrator.cli.options import data_option, limit_option
from orchestrator.cli.session import open_session
from orchestrator.cli.tools_given import tools_option, with_tools
from orchestrator.cli.watch import begin, interval_option


@click.command()
@click.argument("what", metavar="JOB|DIR|URI")
@click.option(
    "--spec",
    type=click.Path(path_type=Path),
    required=True,
    metavar="SPEC",
    help="The spec that it was trained by, as a file or the name of one that is shipped.",
)
@data_option
@tools_option
@limit_option
@click.option("--watch", "watching", is_flag=True, help="Stay and poll until the run has ended.")
@interval_option
def command(
    what: str,
    spec: Path,
    data: str | None,
    tools: Path | None,
    limit: int | None,
    watching: bool,
    interval_s: float,
) -> int:
    """Take what was trained elsewhere into the ledger: check, evaluate, gate, publish it.

    Give a job that has succeeded at the spec's service (its full name), a folder of this machine,
    or a URI (gs://bucket/folder, hf://models/owner/name@revision/folder). Weights are found in any
    folder below. Prints the run's id; nothing is trained for it, and from here on it is a run like
    any other:

        orchestrator adopt ./output --spec router/llama-3.1-8b --data rows.jsonl
    """
    prepared = plan_given(with_tools(read_given(spec), tools), data, limit=limit)
    need_sound(prepared.plan, hint="Nothing was adopted. See: orchestrator plan")
    with open_session() as session:
        run = session.pipeline.adopt(prepared, what)
        click.echo(run.id)
        return begin(session, run.id, interval_s if watching else None)
