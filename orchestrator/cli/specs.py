"""`orchestrator specs`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json
from orchestrator.shipped import find_shipped, shipped_specs
from orchestrator.shipped_copy import copy_spec


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """List the specs that come with the program, or copy one into a folder of yours.

    Every command that takes a SPEC takes such a name as well; a file of that path wins.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json belongs to the list", context)
        return 0
    specs = shipped_specs()
    if as_json:
        print_json(
            [
                {
                    "name": spec.name,
                    "base_model": spec.base_model,
                    "service": spec.service,
                    "description": spec.description,
                    "file": str(spec.file),
                }
                for spec in specs
            ]
        )
        return 0
    for spec in specs:
        click.echo(f"{spec.name}\n  {spec.description}\n  {spec.base_model}, {spec.service}")
    return 0


@command.command(short_help="Copy a spec and its rows into a folder of yours.")
@click.argument("name")
@click.argument("destination", type=click.Path(path_type=Path), default=Path(), metavar="[DEST]")
@click.option("--force", is_flag=True, help="Replace files that are there already.")
def copy(name: str, destination: Path, force: bool) -> int:
    """Copy the spec NAME and its sample of rows into DEST, ready to be changed and run.

        orchestrator specs copy router/llama-3.1-8b jobs/mine.yaml

    DEST is a folder, by default the current one, or a file name that ends in `.yaml`. The JSON
    Schema goes with it, so that editors complete and check the copy. Prints the copy's path.
    """
    copied = copy_spec(find_shipped(name), destination, overwrite=force)
    if copied.rows is not None:
        note(f"its rows are in {copied.rows}")
    if copied.tools is not None:
        note(f"its tools are in {copied.tools}")
    note(f"go on with: orchestrator check {shlex.quote(str(copied.spec))}")
    click.echo(copied.spec)
    return 0
