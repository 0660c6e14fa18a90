"""The report on rows for people: findings, small histograms, and how many of each kind."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.printing import counted
from orchestrator.dataset.report import Group, Histogram, Level, Report, Table
from orchestrator.visible_text import visible_line

if TYPE_CHECKING:
    from orchestrator.report.rows_page import KindCounts

#: How many examples a finding shows: what fails the check in full, what is for knowing once.
_MOST_SHOWN = {Level.ERROR: 5, Level.WARNING: 2, Level.NOTE: 1}
#: In a file or a pipe nobody sets a width; bars need one all the same.
_WIDTH_OF_A_PIPE = 100
_MOST_BARS = 8
_MOST_TABLE_ROWS = 8
#: A column of words that gives way keeps so much at least.
_FEWEST_LETTERS = 12
_LINE = re.compile(r":\d+$")
_BLOCKS = " ▏▎▍▌▋▊▉█"


def print_findings(report: Report) -> None:
    """Findings, worst first, with bounded examples and exact counts."""
    for group in report.findings:
        _print_group(group)


def _print_group(group: Group) -> None:
    shown = group.examples[: _MOST_SHOWN[group.level]]
    told = ""
    for finding in shown:
        _print_folded(f"{group.level}: {finding.place}: {finding.message}", "  ")
        # The same advice again says nothing.
        if finding.hint and finding.hint != told:
            _print_folded(f"  {finding.hint}", "  ")
        told = finding.hint
    more = group.count - len(shown)
    if more and len(group.examples) == 1:
        click.echo(f"  … in all {group.count:,} times ({group.code})")
    elif more:
        alike = "these" if len(shown) > 1 else "this"
        click.echo(f"  … and {more:,} more like {alike} ({group.code})")


def _print_folded(text: str, indent: str) -> None:
    """Prose is folded at a terminal's width; in a file or a pipe a line stays a line."""
    text = visible_line(text)
    if not _on_terminal():
        click.echo(text)
        return
    lines = textwrap.wrap(
        text.strip(),
        max(_width() - 1, 20),
        initial_indent=indent if text.startswith(indent) else "",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo("\n".join(lines) or text)


def print_figures(report: Report) -> None:
    """Histograms as bars, and the first rows of the tables.

    Where rows are wrong, tables of what they hold would only push that off the screen.
    """
    tables = [figure for figure in report.figures if isinstance(figure, Table)]
    for figure in report.figures:
        if isinstance(figure, Histogram):
            print_histogram(figure)
        elif not report.error_count:
            print_figure_table(figure)
        else:
            continue
        click.echo()
    if tables and report.error_count:
        click.echo(f"{counted(len(tables), 'table')} of the rows: --html or --json shows them\n")


def print_histogram(histogram: Histogram) -> None:
    """A few bars, with the marks beside the bar in which they fall. No bar if all are alike."""
    from orchestrator.report.histogram_drawing import coarser, interval

    click.echo(f"{histogram.name}, in {histogram.unit}")
    bins = coarser(histogram.bins, _MOST_BARS)
    labels = [interval(low, high).replace("–", _dash()) for low, high, _ in bins]
    most = max((rows for _, _, rows in bins), default=1) or 1
    counts = [f"{rows:,}" for _, _, rows in bins]
    marks = _marks(histogram, bins)
    wide = max(map(len, labels), default=0), max(map(len, counts), default=0)
    room = min(40, _width() - sum(wide) - 6 - max(map(len, marks), default=0))
    if len(bins) == 1:
        click.echo(f"  {labels[0]} in all {counts[0]} rows {marks[0]}".rstrip())
        return
    for label, count, (_, _, rows), mark in zip(labels, counts, bins, marks, strict=True):
        bar = _bar(rows / most, max(room, 5))
        click.echo(f"  {label:>{wide[0]}} {count:>{wide[1]}} {bar} {mark}".rstrip())


def _marks(histogram: Histogram, bins: Sequence[tuple[int, int, int]]) -> list[str]:
    """What is marked in each bin; what lies beyond them all, at the last."""
    found: list[list[str]] = [[] for _ in bins]
    for name, value in sorted(histogram.marks, key=lambda mark: mark[1]):
        inside = (n for n, (_, high, _) in enumerate(bins) if value <= high)
        position = next(inside, None)
        if bins:
            beyond = "beyond: " if position is None else ""
            beyond = "before: " if value < bins[0][0] else beyond
            found[len(bins) - 1 if position is None else position].append(
                f"{beyond}{name} {value:,}"
            )
    return [f"<- {', '.join(names)}" if names else "" for names in found]


def _bar(share: float, width: int) -> str:
    """A bar of eighths of a character, or of `#` where the console has no such characters."""
    eighths = round(share * width * 8)
    if share > 0 and not eighths:
        eighths = 1
    if not _can_print(_BLOCKS):
        return "#" * (-(-eighths // 8))
    whole, rest = divmod(eighths, 8)
    return _BLOCKS[8] * whole + (_BLOCKS[rest] if rest else "")


def print_figure_table(table: Table) -> None:
    """A table with its numbers to the right."""
    click.echo(visible_line(table.name))
    shown = [[_cell(value) for value in row] for row in table.rows[:_MOST_TABLE_ROWS]]
    numeric = [
        any(isinstance(row[column], int | float) for row in table.rows)
        for column in range(len(table.header))
    ]
    _print_columns(table.header, shown, numeric)
    more = len(table.rows) - len(shown)
    if more:
        click.echo(f"  … and {counted(more, 'row')} more (--html or --json shows all)")


def print_kinds(counts: Sequence[KindCounts]) -> None:
    """How many errors and warnings each kind has."""
    rows = [[c.kind, _count(c.errors), _count(c.warnings)] for c in counts]
    _print_columns(("kind", "errors", "warnings"), rows, [False, True, True])


def _print_columns(
    header: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> None:
    lines = [header, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(header))]
    # The widest columns of words give way, so that a line stays a line on a terminal.
    over = sum(widths) + 2 * len(widths) - _width()
    words = [n for n, is_number in enumerate(numeric) if not is_number]
    for n in sorted(words, key=lambda n: -widths[n]):
        narrower = min(widths[n], max(widths[n] - max(over, 0), _FEWEST_LETTERS))
        over -= widths[n] - narrower
        widths[n] = narrower
    for line in lines:
        cells = [
            _shortened(text, width).rjust(width)
            if is_number
            else _shortened(text, width).ljust(width)
            for text, width, is_number in zip(line, widths, numeric, strict=True)
        ]
        click.echo(("  " + "  ".join(cells)).rstrip())


def verdict(report: Report) -> str:
    """Rows, errors and warnings in a few words."""
    warnings = sum(g.count for g in report.groups.values() if g.level is Level.WARNING)
    errors = _counted(report.error_count, "error") if report.error_count else "no errors"
    return f"{_counted(report.rows, 'row')}, {errors}" + (
        f", {_counted(warnings, 'warning')}" if warnings else ""
    )


def _counted(number: int, noun: str) -> str:
    return counted(number, noun).replace(str(number), f"{number:,}", 1)


def _shortened(text: str, width: int) -> str:
    """The beginning of a text, or the end of a place: there its line stands."""
    if len(text) <= width:
        return text
    gap = "…" if _can_print("…") else "~"
    return gap + text[1 - width :] if _LINE.search(text) else text[: width - 1] + gap


def _count(number: int) -> str:
    """What is not there must not look like a figure."""
    return f"{number:,}" if number else "-"


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    # Fractions are shares everywhere. Text of rows may hold line ends; a line must stay one.
    return f"{value:.1%}" if isinstance(value, float) else visible_line(" ".join(value.split()))


def _dash() -> str:
    return "–" if _can_print("–") else "-"


def _can_print(text: str) -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _width() -> int:
    return shutil.get_terminal_size().columns if _on_terminal() else _WIDTH_OF_A_PIPE


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()
