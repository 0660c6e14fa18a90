"""`orchestrator compare`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.calls import Syntax
from orchestrator.cli.options import figures_options, one_format, seed_option, syntax_option
from orchestrator.cli.printing import counted, note, print_json, print_table
from orchestrator.errors import InputError
from orchestrator.evaluation.scorers import SCORERS
from orchestrator.visible_text import visible

if TYPE_CHECKING:
    from orchestrator.evaluation.comparison import RowChange
    from orchestrator.evaluation.comparison_table import (
        Against,
        ComparisonTable,
        Line,
        ScoredRun,
    )

_NAMED = re.compile(r"([^=/\\]+)=(.+)", re.DOTALL)
#: What a terminal shows of rows that changed; the document has all.
_SHOWN_ROWS, _KEY = 8, 12


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="A B...")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Compare only this metric; may be repeated. Slices and rows are shown by the first.",
)
@click.option(
    "--condition",
    metavar="NAME",
    default="tuned",
    show_default=True,
    help="Which answers of runs; RUN:base names others for one run.",
)
@click.option(
    "--expected",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Rows with the right answers, for files that do not carry `expected`.",
)
@click.option(
    "--scorer",
    metavar="NAME",
    help=f"For files alone; otherwise that of the runs: {', '.join(SCORERS)}.",
)
@syntax_option("How the model of files writes calls, for the scorer `calls`.")
@seed_option
@figures_options
def command(
    runs: Sequence[str],
    metrics: Sequence[str],
    condition: str,
    expected: Path | None,
    scorer: str | None,
    syntax: str | None,
    seed: int,
    as_json: bool,
    as_csv: bool,
    as_markdown: bool,
) -> int:
    """Compare evaluated runs, or files of answers, with the first one, row by row.

        orchestrator compare RUN-A RUN-B

        orchestrator compare RUN:base RUN

        orchestrator compare old=a.jsonl new=b.jsonl --expected rows.jsonl --scorer calls

    Only rows of both count. Right or wrong answers: McNemar's exact test; all else: the paired
    bootstrap. Beside p stands p corrected by Holm for all metrics of all runs shown; name the
    metric that matters beforehand by --metric, and only it counts. Asks no service.
    """
    from orchestrator.evaluation.comparison_table import comparison_table

    one_format(as_json, as_csv, as_markdown)
    if len(runs) < 2:
        raise click.UsageError("Name two runs or more: the first is what others are compared with.")
    found = _scored(runs, condition, expected, scorer, Syntax(syntax) if syntax else None)
    table = comparison_table(found, metrics, seed=seed)
    _tell(table)
    if as_json:
        print_json(table.to_json())
    elif as_csv:
        click.echo(visible(table.to_csv()), nl=False)
    elif as_markdown:
        click.echo(visible(table.to_markdown()), nl=False)
    else:
        _print(table)
    return 0


def _scored(
    names: Sequence[str],
    condition: str,
    expected: Path | None,
    scorer: str | None,
    syntax: Syntax | None,
) -> list[ScoredRun]:
    """All that is compared, in the order in which it was named."""
    from orchestrator.run_comparison import GivenFile, file_scores

    matches = {name: _NAMED.fullmatch(name) for name in names}
    files = {
        name: GivenFile(one[1], Path(one[2]), expected) for name, one in matches.items() if one
    }
    bare = next((name for name in names if name not in files and Path(name).is_file()), None)
    if bare is not None:
        raise InputError(f"{bare} is a file, and has no name", hint=f"Give it one: NAME={bare}")
    found = _of_runs([name for name in names if name not in files], condition)
    scorers = {one.scorer for one in found.values()}
    if scorer is not None and not scorers <= {scorer}:
        raise InputError(
            f"the runs were scored by {', '.join(sorted(scorers))}, not by {scorer!r}",
            hint="Leave out --scorer.",
        )
    if files and scorer is None and len(scorers) != 1:
        raise InputError(
            "nobody says how the answers of files are scored",
            hint=f"Name it: --scorer {' | '.join(SCORERS)}",
        )
    how = scorer or next(iter(scorers), "")
    found |= {name: file_scores(given, how, syntax) for name, given in files.items()}
    every = [found[name] for name in names]
    if len({one.name for one in every}) < len(every):
        raise InputError(
            "two of those to compare are the same, or have the same name",
            hint="Name each once; other answers of one run are RUN:base, RUN:few-shot.",
        )
    return every


def _of_runs(names: Sequence[str], condition: str) -> dict[str, ScoredRun]:
    if not names:
        return {}
    from orchestrator.ledger import Ledger
    from orchestrator.run_comparison import run_scores
    from orchestrator.run_folders import run_folder
    from orchestrator.settings import Settings

    settings = Settings.from_env()
    ledger = Ledger(settings.ledger_url)
    try:
        found = {}
        for name in names:
            run, _, own = name.partition(":")
            run_id, way = ledger.resolve_id(run), own or condition
            called = run_id if way == "tuned" else f"{run_id}:{way}"
            folder = run_folder(settings, run_id)
            found[name] = run_scores(ledger.facts(run_id), folder, way, called)
        return found
    finally:
        ledger.close()


def _tell(table: ComparisonTable) -> None:
    """What could not be compared."""
    for one in table.against:
        if one.same_file is False:
            note(f"{one.name} was evaluated on another file of rows: only common rows are compared")
        for rows, whose in ((one.only_first, table.first), (one.only_this, one.name)):
            if rows:
                note(f"{counted(rows, 'row')} only of {whose}: not compared")
        if one.other_expected:
            some = counted(one.other_expected, "row")
            note(f"{some} that {table.first} and {one.name} expect other answers to: not compared")
        if one.not_there:
            note(f"{one.name}: no rows for {', '.join(one.not_there)}")


def _print(table: ComparisonTable) -> None:
    for one in table.against:
        rows = counted(one.rows, "row")
        click.echo(f"{one.name} against {table.first}: {rows} of both, scorer {table.scorer}\n")
        _print_lines("metric", [(line.kind.name, line) for line in one.lines])
        if one.slices:
            click.echo(f"\n{table.main} by slice\n")
            _print_lines(
                "slice",
                [(f"{line.slice[0]}: {line.slice[1]}", line) for line in one.slices if line.slice],
            )
        _print_changes(table.main, one)
    click.echo(
        "differences with 95 % intervals; p (Holm) is corrected for all metrics of all runs here, "
        "that of slices for all slices"
    )


def _print_lines(what: str, lines: Sequence[tuple[str, Line]]) -> None:
    header = (what, "rows", "before", "after", "difference", "p", "p (Holm)", "gained", "lost", "")
    rows = []
    for name, line in lines:
        found = line.found
        rows.append(
            (
                name,
                str(found.rows),
                f"{found.before:.3f}",
                f"{found.after:.3f}",
                f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]",
                f"{found.p_value:.2g}",
                f"{line.p_holm:.2g}",
                *("" if one is None else str(one) for one in (line.gained, line.lost)),
                "" if line.kind.higher_is_better else "lower is better",
            )
        )
    print_table(header, rows)


def _print_changes(metric: str, one: Against) -> None:
    click.echo()
    for word, changes in (("better", one.gained), ("worse", one.lost)):
        click.echo(f"{counted(len(changes), 'row')} {word} by {metric}{_keys(changes)}")
    click.echo()


def _keys(changes: Sequence[RowChange]) -> str:
    if not changes:
        return ""
    shown = ", ".join(visible(change.key[:_KEY]) for change in changes[:_SHOWN_ROWS])
    more = len(changes) - _SHOWN_ROWS
    return f": {shown}" + (f" and {more} more (--json)" if more > 0 else "")
