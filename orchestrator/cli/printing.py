"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import orjson

from orchestrator.dataset.report import Report
from orchestrator.visible_text import visible, visible_line

if TYPE_CHECKING:
    from rich.table import Table

#: Longer than any line of a table: nothing is folded where no terminal sets the width.
_LONGEST_LINE = 100_000


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:  # a file's name that is not text: only escapes can hold it
        text = json.dumps(value, indent=2)
    # In a string of JSON these escapes mean the characters; elsewhere there are none.
    click.echo(visible(text))


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values in two columns. Only prose is folded: ids and paths are for copying."""
    import shutil
    import textwrap

    indent = " " * (max(len(name) for name, _ in pairs) + 2)
    # A line that fills the last column would be followed by an empty one on some terminals.
    width = shutil.get_terminal_size().columns - 1 if _on_terminal() else _LONGEST_LINE
    for name, value in pairs:
        lines = textwrap.wrap(
            visible(value),
            max(width - len(indent), 20),
            break_long_words=False,
            break_on_hyphens=False,
        )
        click.echo(f"{name:<{len(indent)}}" + f"\n{indent}".join(lines or [""]))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for position, name in enumerate(header):
        # The first column names the row: it is for copying, and must stay whole.
        table.add_column(name, overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*map(visible_line, row))
    _print(table)


def _print(table: Table) -> None:
    """Fold at the terminal's width; in a file or a pipe, keep lines whole and unpadded."""
    from rich.console import Console

    on_terminal = _on_terminal()
    width = None if on_terminal else _LONGEST_LINE
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line if on_terminal else line.rstrip())


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def print_report(report: Report, *, err: bool = False) -> None:
    """Findings, worst first, with bounded examples and exact counts."""
    for group in report.findings:
        for finding in group.examples:
            hint = f"\n  {visible(finding.hint)}" if finding.hint else ""
            said = visible_line(f"{group.level}: {finding.place}: {finding.message}")
            click.echo(f"{said}{hint}", err=err)
        more = group.count - len(group.examples)
        if more:
            click.echo(f"  … and {more:,} more rows like these ({group.code})", err=err)


def note(line: str) -> None:
    """A line about what happens, on standard error."""
    click.echo(visible(line), err=True)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 row, 2 rows."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(size_bytes: int) -> str:
    """A number of bytes for people."""
    value = float(size_bytes)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def duration(seconds: float) -> str:
    """A time span for people: 47 s, 3 m 20 s, 4 h 05 m, 12 d."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 86_400} d"
