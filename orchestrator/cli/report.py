"""`orchestrator report`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.printing import counted, note, print_json
from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.errors import InputError
from orchestrator.ledger import DamagedRun, Ledger
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.report.run_report import RunReport

_DEFAULT_LIMIT = 50


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--html",
    "folder",
    type=click.Path(path_type=Path, readable=False),
    metavar="DIR",
    required=True,
    help="A new or empty folder for the pages, or one with an earlier report, which is replaced.",
)
@click.option(
    "--examples",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    metavar="N",
    help="So many rows of each kind: gained, lost, still wrong.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 10**4),
    default=_DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="Without RUN: the newest runs, at most so many.",
)
@json_option
def command(runs: tuple[str, ...], folder: Path, examples: int, limit: int, as_json: bool) -> int:
    """Write pages that show runs: curves, slices before and after, examples, failures, cost.

    RUN is an id, the beginning or the end of one, or the name in its spec. Without any, the newest
    runs are shown.

        orchestrator report --html report

    The pages open from disk and ask for nothing on the network. They hold texts of rows where the
    answers are on this machine: they are not for publishing. Reads the ledger and the runs'
    folders; asks no service. Exit 1 if a run cannot be read.
    """
    from orchestrator.report.report_folder import need_room, write_report
    from orchestrator.report.report_page import INDEX, report_pages

    settings, now = Settings.from_env(), SYSTEM_CLOCK.now()
    need_room(folder)
    ledger = Ledger(settings.ledger_url)
    try:
        ids, more = _ids(ledger, runs, limit)
        reports, damaged = _reports(ledger, ids, settings, now, examples)
    finally:
        ledger.close()
    for problem in damaged:
        note(f"warning: {problem}")
    if not reports:
        raise InputError(
            "there is no run to show" if not damaged else "no run can be read",
            hint="See: orchestrator runs",
        )
    pages = report_pages(reports, made_at=now, problems=[str(one) for one in damaged])
    write_report(folder, pages)
    if as_json:
        print_json(_document(folder / INDEX, reports, damaged))
    else:
        click.echo(f"{counted(len(reports), 'run')} in {folder / INDEX}")
        if more:
            note(f"there are {more} older runs: --limit {len(ids) + more}")
    return 1 if damaged else 0


def _ids(ledger: Ledger, named: Sequence[str], limit: int) -> tuple[list[str], int]:
    """The runs to show, newest first, and how many more there are."""
    if named:
        return list(dict.fromkeys(ledger.resolve_id(name) for name in named)), 0
    every = ledger.run_ids()[::-1]
    return every[:limit], max(0, len(every) - limit)


def _reports(
    ledger: Ledger, ids: Sequence[str], settings: Settings, now: datetime, examples: int
) -> tuple[list[RunReport], list[DamagedRun]]:
    from orchestrator.report.run_report import run_report
    from orchestrator.report.views import view

    reports: list[RunReport] = []
    damaged: list[DamagedRun] = []
    for run_id in ids:
        try:
            facts, metrics = ledger.facts(run_id), ledger.metrics(run_id)
            folder = settings.runs_dir / run_id
            found = view(facts, metrics, now)
            reports.append(run_report(found, metrics, folder, examples=examples))
        except DamagedRun as problem:
            damaged.append(problem)
    return reports, damaged


def _document(
    index: Path, reports: Sequence[RunReport], damaged: Sequence[DamagedRun]
) -> dict[str, Any]:
    """What --json prints: where everything was written, and what is on it in short."""
    return {
        "index": str(index.absolute()),
        "runs": [
            {
                "run": report.view.facts.run.id,
                "name": report.view.facts.run.plan.name,
                "state": str(report.view.status.state),
                "page": str((index.parent / report.page).absolute()),
                "metric": report.main.name if report.main else None,
                "value": report.main.value if report.main else None,
                "gates": report.gates,
                "advice": [one.name for one in report.advice],
                "examples": sum(len(group.examples) for group in report.examples),
            }
            for report in reports
        ],
        "damaged": [str(problem) for problem in damaged],
    }
