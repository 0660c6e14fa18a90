"""`orchestrator score`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.calls import Syntax
from orchestrator.cli.options import figures_options, one_format, seed_option, syntax_option
from orchestrator.cli.printing import counted, note, print_json, print_table
from orchestrator.errors import Place
from orchestrator.evaluation.scorers import SCORERS, made_for, scorer_named
from orchestrator.visible_text import visible

if TYPE_CHECKING:
    from orchestrator.answer_files import Matched
    from orchestrator.evaluation.evidence import Figures
    from orchestrator.evaluation.table import ScoreTable

_FILE = click.Path(path_type=Path, readable=False)
#: What a terminal shows of each; the documents have all.
_SHOWN_METRICS, _SHOWN_CAUSES = 3, 20


@click.command()
@click.option(
    "--expected",
    type=_FILE,
    metavar="FILE",
    help="Rows with the right answers; left out where the predictions carry `expected`.",
)
@click.option("--predicted", type=_FILE, metavar="FILE", required=True, help="What was answered.")
@click.option(
    "--scorer",
    metavar="NAME",
    required=True,
    help=f"How answers are scored: {', '.join(SCORERS)}.",
)
@syntax_option(
    "How the model writes calls, for the scorer `calls`; otherwise the expected answer says."
)
@seed_option
@figures_options
def command(
    expected: Path | None,
    predicted: Path,
    scorer: str,
    syntax: str | None,
    seed: int,
    as_json: bool,
    as_csv: bool,
    as_markdown: bool,
) -> int:
    """Score answers against what is expected: every metric with its 95 % interval.

        orchestrator score --expected rows.jsonl --predicted predictions.jsonl --scorer calls

    Rows are matched by `id` where all have one, otherwise by the prompt's digest. A row without a
    prediction counts as wrong. Both files hold prompt and completion, messages, or what
    `generate.py` writes, as JSONL, JSON, CSV or Parquet, also compressed.
    """
    from orchestrator.answer_files import alone, match, read_answers
    from orchestrator.evaluation.table import score_table

    one_format(as_json, as_csv, as_markdown)
    if syntax is not None and scorer not in ("calls", "bfcl"):
        raise click.UsageError("--syntax is for --scorer calls and bfcl alone.")
    maker = scorer_named(scorer)  # a misspelt name is said before files are read
    given = read_answers(predicted, "predicted")
    wanted = None if expected is None else read_answers(expected, "expected")
    matched = alone(given) if wanted is None else match(wanted, given)
    called = Syntax(syntax) if syntax is not None else None
    chosen = made_for(maker, matched.rows, called, places=matched.places)
    table = score_table(chosen, matched.rows, places=matched.places, seed=seed)
    _tell(matched)
    if as_json:
        print_json(_document(table, matched, seed))
    elif as_csv:
        click.echo(visible(table.to_csv()), nl=False)
    elif as_markdown:
        click.echo(visible(table.to_markdown()), nl=False)
    else:
        _print(table)
    return 0


def _document(table: ScoreTable, matched: Matched, seed: int) -> dict[str, object]:
    return {
        **table.to_json(),
        "matched_by": matched.by,
        "missing": len(matched.missing),
        "without_row": len(matched.without_row),
        "seed": seed,
    }


def _tell(matched: Matched) -> None:
    """What was missing, and what was too much."""
    if matched.missing:
        many = len(matched.missing) > 1
        what = "have no prediction, and count" if many else "has no prediction, and counts"
        note(f"{counted(len(matched.missing), 'row')} {what} as wrong{_first(matched.missing)}")
    if matched.without_row:
        what = "belong" if len(matched.without_row) > 1 else "belongs"
        told = f"{counted(len(matched.without_row), 'prediction')} {what} to no expected row"
        note(
            f"{told}, and {'do' if what == 'belong' else 'does'} not count"
            f"{_first(matched.without_row)}"
        )


def _first(places: Sequence[Place]) -> str:
    return f" (the first: {places[0]})"


def _print(table: ScoreTable) -> None:
    click.echo(f"{counted(table.rows, 'row')}, scorer {table.scorer}, 95 % intervals\n")
    print_table(
        ("metric", "value", "interval", "rows", "constant", "better"),
        [
            (
                one.name,
                _number(one.value),
                _interval(one),
                str(one.rows),
                _number(table.constant_value(one.name)),
                "" if table.kind(one.name).higher_is_better else "lower",
            )
            for one in table.metrics
        ],
    )
    click.echo(f"\nconstant: {table.constant.note}")
    if table.slices:
        _print_slices(table)
    if table.causes:
        click.echo()
        print_table(
            ("cause", "rows", "example"),
            [(one.cause, str(one.rows), one.example) for one in table.causes[:_SHOWN_CAUSES]],
        )
        if len(table.causes) > _SHOWN_CAUSES:
            click.echo(f"… and {len(table.causes) - _SHOWN_CAUSES} more causes: --json")


def _print_slices(table: ScoreTable) -> None:
    names = [one.name for one in table.metrics[:_SHOWN_METRICS]]
    click.echo()
    lines = []
    for part in table.slices:
        by_name = {one.name: one for one in part.metrics}
        cells = [
            f"{_number(by_name[name].value)} {_interval(by_name[name])}" if name in by_name else ""
            for name in names
        ]
        lines.append((f"{part.slice}: {part.of}", str(part.rows), *cells))
    print_table(("slice", "rows", *names), lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(metric: Figures) -> str:
    return f"[{_number(metric.low)}, {_number(metric.high)}]"
