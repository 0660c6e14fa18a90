"""`orchestrator check`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.given import GivenSpec, read_given
from orchestrator.cli.interrupts import Interrupts
from orchestrator.cli.network import FetchOnDemand
from orchestrator.cli.options import data_option, json_option, spec_argument
from orchestrator.cli.printing import note, print_json
from orchestrator.cli.progress import Display
from orchestrator.cli.tools_given import tools_option, with_tools
from orchestrator.dataset.checks.service import SplitSize
from orchestrator.dataset.report import Report
from orchestrator.dataset.rules import KINDS, RowsFile, Rules
from orchestrator.errors import InputError
from orchestrator.planner import resolve_model
from orchestrator.settings import Settings
from orchestrator.visible_text import visible

#: A file that is checked in a second needs no bar, and is prepared in seconds.
_LARGE_BYTES = 20_000_000
_COUNT_TOKENS = frozenset({"length", "template", "service"})


class Kinds(click.ParamType[tuple[str, ...]]):
    """Kinds of checks, separated by commas."""

    name = "kinds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The kinds in their own order, each once."""
        if isinstance(value, tuple):
            return value
        wanted = [kind.strip() for kind in str(value).split(",") if kind.strip()]
        unknown = [kind for kind in wanted if kind not in KINDS]
        if unknown or not wanted:
            import difflib

            close = difflib.get_close_matches(unknown[0], KINDS, n=1) if unknown else []
            hint = f" Did you mean {close[0]}?" if close else ""
            said = f"there is no kind {unknown[0]!r}." if unknown else "no kind is named."
            self.fail(f"{said}{hint} Kinds: {', '.join(KINDS)}.", param, ctx)
        return tuple(kind for kind in KINDS if kind in wanted)


@click.command()
@spec_argument
@data_option
@tools_option
@click.option(
    "--only", type=Kinds(), metavar="KIND,…", help=f"Check only these kinds: {', '.join(KINDS)}."
)
@click.option("--offline", is_flag=True, help="Fetch nothing: no rows, and no tokenizer.")
@json_option
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report with its plots as one HTML page.",
)
def command(
    spec: Path,
    data: str | None,
    tools: Path | None,
    only: tuple[str, ...] | None,
    offline: bool,
    as_json: bool,
    page: Path | None,
) -> int:
    """Check a spec and its rows: form, length, template, duplicates, leaks, service, privacy,
    balance.

    SPEC is a YAML file, or the name of a spec that is shipped (`orchestrator specs`).

        orchestrator check router/llama-3.1-8b --data rows.jsonl --html report.html

    Nothing is uploaded. The model's tokenizer is fetched from the Hub once; where that fails, it is
    said why, and tokens are estimated. Exit 1 if anything is wrong with the rows (a finding of
    level error), 2 with the spec or the command line.
    """
    kinds = only or KINDS
    given = with_tools(read_given(spec), tools)
    with Interrupts() as interrupts:
        display = Display(interrupts, quiet=as_json)
        fetch = FetchOnDemand(Settings.from_env(), offline=offline, reporter=display)
        files, rules = _resolve(given, data, fetch, kinds)
        if page is not None:
            _need_page_apart(page, [given.source.file, *(file.path for file in files), tools])
        report = _inspect(given, files, rules, kinds, display)
    label = files[0].name if len(files) == 1 else f"{len(files)} files"
    if page is not None:
        _write_page(page, report, spec=given.source.label, data=label, kinds=kinds)
    if as_json:
        print_json(_document(given, files, kinds, report))
    else:
        _print(report, label, kinds, page)
    return 1 if report.error_count else 0


def _resolve(
    given: GivenSpec, data: str | None, fetch: FetchOnDemand, kinds: Collection[str]
) -> tuple[tuple[RowsFile, ...], Rules]:
    """The files with the rows, and what they are checked against."""
    from orchestrator.data_rules import resolve_files, resolve_rules

    model = resolve_model(given.loaded)
    # The Hub is not asked for a tokenizer that nothing needs: `--only form` is for every save.
    tokenizers = fetch.tokenizers if _COUNT_TOKENS & set(kinds) else None
    rules = resolve_rules(given.loaded, model, tokenizers=tokenizers)
    return resolve_files(given.loaded, data, fetch=fetch, label=given.source.data_label), rules


def _inspect(
    given: GivenSpec,
    files: Sequence[RowsFile],
    rules: Rules,
    kinds: Sequence[str],
    display: Display,
) -> Report:
    from orchestrator.inspection import inspect

    regular = all(file.path.is_file() for file in files)
    size_bytes = sum(file.path.stat().st_size for file in files) if regular else 0
    # What a pipe holds can be read only once.
    sizes = (lambda: _sizes(files, rules, display)) if regular else None
    if size_bytes < _LARGE_BYTES:
        return inspect(given.loaded, files, rules, kinds, sizes=sizes)
    with display.transfer("checking the rows", size_bytes) as moved:
        return inspect(given.loaded, files, rules, kinds, sizes=sizes, large=True, on_bytes=moved)


def _sizes(files: Sequence[RowsFile], rules: Rules, display: Display) -> list[SplitSize]:
    """The splits as `orchestrator prepare` would write them, which is done in passing."""
    from orchestrator.preparation import prepare

    name = files[0].name
    with tempfile.TemporaryDirectory(prefix="orchestrator-check-") as folder:
        summary = prepare(files, rules, Path(folder), reporter=display).summary
    return [SplitSize(s.name, s.rows, s.size_bytes, name) for s in summary.splits]


def _document(
    given: GivenSpec, files: Sequence[RowsFile], kinds: Sequence[str], report: Report
) -> dict[str, Any]:
    """What --json prints. `data` is the file with the rows, None where there are several."""
    return {
        "spec": str(given.source.file),
        "data": str(files[0].path) if len(files) == 1 else None,
        "files": [{"path": str(f.path), "name": f.name, "split": f.split} for f in files],
        "kinds": list(kinds),
        **report.to_json(),
    }


def _print(report: Report, label: str, kinds: Sequence[str], page: Path | None) -> None:
    from orchestrator.cli.report_printing import print_figures, print_findings, print_kinds, verdict
    from orchestrator.report.rows_page import kind_counts

    print_findings(report)
    if report.findings:
        click.echo()
    print_figures(report)
    print_kinds(kind_counts(report, tuple(kinds)))
    click.echo()
    click.echo(visible(f"{label}: {verdict(report)}"))
    if page is not None:
        note(f"the report is in {page}")


def _need_page_apart(page: Path, read: Sequence[Path | None]) -> None:
    """Raise if the page would replace what is checked, before anything takes its time."""
    for file in read:
        if file is not None and page.exists() and file.exists() and page.samefile(file):
            raise InputError(
                f"--html {page}: the page would replace a file that is read",
                hint="Give it a name of its own: --html report.html",
            )
    if page.is_file() and not os.access(page, os.W_OK):
        raise InputError(
            f"cannot write {page}: Permission denied", hint="Name a place that you may write to."
        )


def _write_page(page: Path, report: Report, *, spec: str, data: str, kinds: Sequence[str]) -> None:
    from orchestrator.report.rows_page import rows_page
    from orchestrator.written_files import write_together

    text = rows_page(report, spec=spec, data=data, kinds=tuple(kinds))
    write_together({page: text.encode("utf-8", "backslashreplace")})
