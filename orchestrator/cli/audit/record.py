"""`orchestrator audit record`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.audit.options import open_run
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json


@click.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--reviewer", metavar="NAME", required=True, help="Whose scores these are.")
@click.option("--replace", is_flag=True, help="In the place of earlier scores of this reviewer.")
@json_option
def record(run: str, file: Path, reviewer: str, replace: bool, as_json: bool) -> int:
    """Record a reviewer's scores from a file of `audit sample` that was filled in.

    Scores are whole numbers from 0 to 5; answers without one are left out, and may follow with
    --replace. The name is kept in the ledger alone, notes on this machine alone; the model card
    shows neither.
    """
    with open_run(run) as found:
        done = found.audits.record(found.id, found.folder, file, reviewer=reviewer, replace=replace)
        run_id = found.id
    if as_json:
        print_json(
            {
                "run": run_id,
                "sample": done.sample.id,
                "condition": done.sample.condition,
                "reviewer": done.reviewer,
                "scored": done.scored,
                "of": done.of,
                "replaced": done.replaced,
            }
        )
        return 0
    again = ", in the place of earlier ones" if done.replaced else ""
    click.echo(f"recorded {done.scored} of {done.of} scores of {done.reviewer}{again}")
    if done.scored < done.of:
        note(f"{done.of - done.scored} answers have no score yet")
    note(f"next: orchestrator audit show {run_id}")
    return 0
