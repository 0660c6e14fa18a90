"""`orchestrator schema`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.printing import note
from orchestrator.data_files import schema_text
from orchestrator.spec_schema import SCHEMA_NAME, job_schema_text
from orchestrator.written_files import write_whole


@click.command()
@click.argument("name", default=SCHEMA_NAME, metavar="[NAME]")
@click.option(
    "--out",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write it there instead of to standard output.",
)
def command(name: str, file: Path | None) -> int:
    """Print a JSON Schema, for editors and other programs.

    NAME is `job` (the default), the schema of a spec: generated from the very model that reads
    specs; `orchestrator check` checks more than a schema can say. Or it is what a spec names as
    the format of its rows or answers: `prompt-completion`, `route-plan`.

    A spec whose first line is `# yaml-language-server: $schema=FILE` is completed and checked by
    editors with a YAML language server.
    """
    text = job_schema_text() if name == SCHEMA_NAME else schema_text(name)
    if file is None or file == Path("-"):
        click.echo(text, nl=False)
        return 0
    write_whole(file, text.encode())
    note(f"written: {file}")
    return 0
