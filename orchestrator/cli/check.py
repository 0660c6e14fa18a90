"""`orchestrator check`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import data_option, json_option, spec_argument
from orchestrator.cli.printing import print_json, print_report
from orchestrator.planner import check_data, resolve_model
from orchestrator.spec import load_spec


@click.command()
@spec_argument
@data_option
@json_option
def command(spec: Path, data: Path | None, as_json: bool) -> int:
    """Check a spec and its rows, offline.

    Every row is checked against the schema of its format, and the answer inside it against the
    schema that the spec names. Exit 1 if anything is wrong with the rows, 2 with the spec.
    """
    loaded = load_spec(spec)
    resolve_model(loaded)
    file = loaded.data_file(data)
    report = check_data(loaded, file).report
    if as_json:
        print_json({"spec": str(spec), "data": str(file), **report.to_json()})
    else:
        print_report(report)
        errors = report.error_count
        verdict = f"{errors} errors" if errors else "no errors"
        click.echo(f"{file}: {report.rows} rows, {verdict}")
    return 1 if report.error_count else 0
