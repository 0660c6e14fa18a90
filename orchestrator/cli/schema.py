"""`orchestrator schema`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.printing import note
from orchestrator.spec_schema import job_schema_text
from orchestrator.written_files import write_whole


@click.command()
@click.option(
    "--out",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it there instead of to standard output.",
)
def command(file: Path | None) -> int:
    """Print the JSON Schema of a spec, for editors and other programs.

    Generated from the very model that reads specs; `orchestrator check` checks more than a schema
    can say. A spec whose first line is `# yaml-language-server: $schema=FILE` is completed and
    checked by editors with a YAML language server.
    """
    if file is None:
        click.echo(job_schema_text(), nl=False)
        return 0
    write_whole(file, job_schema_text().encode())
    note(f"written: {file}")
    return 0
