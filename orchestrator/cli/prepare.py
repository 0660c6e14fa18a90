"""`orchestrator prepare`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from orchestrator.cli.given import prepare_given, read_given
from orchestrator.cli.options import data_option, json_option, limit_option, spec_argument
from orchestrator.cli.printing import counted, note, print_json, print_pairs, print_table
from orchestrator.cli.rows_told import duplicates_text, left_out_text
from orchestrator.cli.tools_given import tools_option, with_tools
from orchestrator.dataset.preparing.prepared import Named, PreparedData, RowLengths, Summary

#: Longer lists are in the summary.
_MOST_NAMES = 12


@click.command()
@spec_argument
@data_option
@tools_option
@limit_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the files go: a new or empty folder, or one with earlier prepared rows. Without "
    "it, a folder below ORCHESTRATOR_HOME, which `plan` and `submit` use too.",
)
@json_option
def command(
    spec: Path,
    data: str | None,
    tools: Path | None,
    limit: int | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Write the rows as the service takes them: train.jsonl, validation.jsonl, test.jsonl.

    SPEC is a YAML file, or the name of a spec that is shipped (`orchestrator specs`).

        orchestrator prepare router/llama-3.1-8b --data rows.jsonl --out prepared

    The same rows, spec and seed give the same bytes anywhere, and if they are there already,
    nothing is done. `summary.json` beside them holds counts, lengths and digests. Rows that are
    wrong are named, and nothing is written (exit 1).
    """
    given = with_tools(read_given(spec), tools)
    prepared = prepare_given(given, data, limit=limit, out=out)
    if as_json:
        print_json(
            {
                "folder": str(prepared.folder),
                "made": prepared.made,
                "why": prepared.why,
                **prepared.summary.model_dump(mode="json"),
            }
        )
        return 0
    _print(prepared)
    return 0


def _print(prepared: PreparedData) -> None:
    summary = prepared.summary
    if not prepared.made:
        note("nothing to do: these rows were prepared before, and nothing has changed since")
    elif prepared.why:
        note(f"prepared again: {prepared.why}")
    print_pairs(
        [
            ("folder", shlex.quote(str(prepared.folder))),
            ("rows", f"{summary.rows} read"),
            *_told(summary),
        ]
    )
    click.echo()
    print_table(
        ("split", "rows", "bytes", "characters", "tokens", "sha256"),
        [
            (
                split.name,
                str(split.rows),
                str(split.size_bytes),
                _ends(split.characters),
                _ends(split.tokens) if split.tokens else "not counted",
                split.sha256,
            )
            for split in summary.splits
        ],
    )
    _print_frequencies(summary)


def _ends(lengths: RowLengths) -> str:
    """The total, and the longest row."""
    return f"{lengths.whole.total:,} (longest {lengths.whole.most:,})"


def _told(summary: Summary) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    kept = summary.kept_together
    for name, text in (
        ("left out", left_out_text(summary.left_out)),
        ("duplicates", duplicates_text(kept)),
    ):
        if text:
            told.append((name, text))
    if kept.straddling:
        told.append(("", f"{kept.straddling} of them stand in more than one file: see `check`"))
    if summary.redacted_rows is not None:
        told.append(("redacted", f"{counted(summary.redacted_rows, 'row')}"))
    long = summary.too_long
    if long.rows:
        exactly = "" if long.exact else "an estimated "
        told.append(
            ("too long", f"{exactly}{long.rows} over {long.limit} tokens ({long.limit_source})")
        )
    return told


def _print_frequencies(summary: Summary) -> None:
    for title, field in (("tool", "tools"), ("tag", "tags"), ("difficulty", "difficulties")):
        by_split = [
            {one.name: one.rows for one in _named(split, field)} for split in summary.splits
        ]
        names = list(dict.fromkeys(name for found in by_split for name in found))
        if not names:
            continue
        click.echo()
        print_table(
            (title, *(split.name for split in summary.splits)),
            [
                (name, *(str(found.get(name, 0)) for found in by_split))
                for name in names[:_MOST_NAMES]
            ],
        )
        if len(names) > _MOST_NAMES:
            click.echo(f"… and {len(names) - _MOST_NAMES} more in summary.json")


def _named(split: object, field: str) -> tuple[Named, ...]:
    found: tuple[Named, ...] = getattr(split, field)
    return found
