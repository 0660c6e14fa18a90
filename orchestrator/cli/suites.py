"""`orchestrator suites`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.printing import counted, note, print_json, print_pairs


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> int:
    """List the benchmark suites that are known, or write the rows of one.

    A suite's rows stay where they are published, at one commit; `rows` fetches them.
    """
    from orchestrator.suites.catalog import suites

    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json belongs to the list", context)
        return 0
    if as_json:
        print_json([one.model_dump(mode="json") for one in suites().values()])
        return 0
    for one in suites().values():
        click.echo(one.name)
        rows = f"{one.rows:,} rows, {one.split}" if one.rows else "name its rows with --from"
        print_pairs(
            [
                ("  what", one.title),
                ("  scorer", one.scorer),
                ("  rows", one.address or rows),
                *([("  ", rows)] if one.address else []),
                ("  columns", ", ".join(one.columns)),
                ("  licence", one.licence),
                ("  paper", one.paper),
            ]
        )
    return 0


@command.command(short_help="Write the rows of a suite as questions to be answered and scored.")
@click.argument("name")
@click.option(
    "--from",
    "source",
    metavar="FILE",
    help="The rows as they are published: a file (JSONL, JSON, CSV, Parquet), gs://bucket/file or "
    "hf://datasets/owner/name@COMMIT/file. Without it, the suite's own address.",
)
@click.option(
    "--answers",
    metavar="FILE",
    help="For bfcl: the possible answers; without it, possible_answer/ beside the rows.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help="JSONL to write."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="So many, drawn by the seed.")
@click.option("--seed", type=click.IntRange(0), default=0, help="For --limit.")
@click.option(
    "--ask",
    metavar="TEXT",
    help="What is asked for behind each question, in place of the suite's words; '' for nothing.",
)
@click.option("--offline", is_flag=True, help="Use what was fetched before; ask nobody.")
def rows(
    name: str,
    source: str | None,
    answers: str | None,
    out: Path,
    limit: int | None,
    seed: int,
    ask: str | None,
    offline: bool,
) -> int:
    """Write the rows of the suite NAME: id, prompt, completion, what is expected, slices, tools.

        orchestrator suites rows gsm8k --out gsm8k.jsonl --limit 200

    `generate.py` and endpoints answer them, `orchestrator score` scores the answers. The
    completion is an answer that is right, for few-shot examples.
    """
    from orchestrator.cli.interrupts import Interrupts
    from orchestrator.cli.network import FetchOnDemand
    from orchestrator.cli.progress import Display
    from orchestrator.settings import Settings
    from orchestrator.suites.catalog import suite_named
    from orchestrator.suites.reading import read_suite
    from orchestrator.written_files import write_whole

    suite = suite_named(name)
    with Interrupts() as interrupts:
        display = Display(interrupts)
        fetch = FetchOnDemand(Settings.from_env(), offline=offline, reporter=display)
        found = read_suite(suite, source, fetch, answers=answers, ask=ask, limit=limit, seed=seed)
    lines = [json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in found.rows]
    write_whole(out, "".join(lines).encode("utf-8", "surrogatepass"))
    note(f"{counted(len(lines), 'row')} of {suite.name} from {', '.join(found.files)}")
    note(f"licence: {suite.licence}; {suite.paper}")
    expected = f"--expected {shlex.quote(str(out))} --predicted ANSWERS --scorer {suite.scorer}"
    note(f"once they are answered: orchestrator score {expected}")
    click.echo(out)
    return 0
