"""`orchestrator audit sample`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.audit.options import condition_option, draw_options, open_run
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import counted, note, print_json


@click.command()
@click.argument("run")
@draw_options
@condition_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="A new file, .csv for a spreadsheet or .jsonl; otherwise audit-RUN-CONDITION.csv here.",
)
@click.option("--blind", is_flag=True, help="Leave out the expected answers.")
@json_option
def sample(
    run: str,
    count: int,
    seed: int,
    condition: str,
    out: Path | None,
    blind: bool,
    as_json: bool,
) -> int:
    """Draw answers of an evaluated run into a file that a person fills in.

    It holds the question, the expected answer and what was answered, an empty score and an empty
    note for each; the rubric is written beside it. What the scorer said is not in it. Several
    reviewers get the same answers from the same seed.
    """
    from orchestrator.audit_files import rubric_file

    with open_run(run) as found:
        file = out or Path(f"audit-{found.id}-{condition}.csv")
        drawn = found.audits.draw(
            found.id, found.folder, count=count, seed=seed, condition=condition
        )
        too_long = found.audits.write(found.id, drawn, file, blind=blind)
        run_id = found.id
    if len(drawn.rows) < count:
        note(f"there are {len(drawn.rows)} answers, and all of them were taken")
    if too_long:
        told = "texts are" if too_long > 1 else "text is"
        note(f"{too_long} {told} too long for a cell of Excel, which cuts it: use a .jsonl file")
    if as_json:
        sample_json = {**drawn.sample.to_json(), "of": drawn.of}
        print_json({"run": run_id, "file": str(file), "sample": sample_json})
        return 0
    click.echo(f"{counted(len(drawn.rows), 'answer')} of {drawn.of} in {file}")
    note(f"the rubric is in {rubric_file(file)}")
    note(f"next: orchestrator audit record {run_id} {file} --reviewer NAME")
    return 0
