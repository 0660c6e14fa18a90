"""`orchestrator check`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.given import read_given
from orchestrator.cli.options import data_option, json_option, spec_argument
from orchestrator.cli.printing import counted, print_json, print_report
from orchestrator.planner import check_data, resolve_model


@click.command()
@spec_argument
@data_option
@json_option
def command(spec: Path, data: Path | None, as_json: bool) -> int:
    """Check a spec and its rows, offline.

    SPEC is a YAML file, or the name of a spec that is shipped (`orchestrator specs`).

        orchestrator check router/llama-3.1-8b --data rows.jsonl

    Every row is checked against the schema of its format, and the answer inside it against the
    schema that the spec names. Exit 1 if anything is wrong with the rows, 2 with the spec.
    """
    given = read_given(spec)
    resolve_model(given.loaded)
    rows = given.rows(data)
    report = check_data(given.loaded, rows.file, rows.label).report
    if as_json:
        print_json({"spec": str(given.source.file), "data": str(rows.file), **report.to_json()})
    else:
        print_report(report)
        errors = report.error_count
        verdict = counted(errors, "error") if errors else "no errors"
        click.echo(f"{rows.label}: {counted(report.rows, 'row')}, {verdict}")
    return 1 if report.error_count else 0
