"""Lines of cells as text: CSV for spreadsheets, and tables of Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """The lines below a header; no cell becomes a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_inert(cell) for cell in line] for line in lines)
    return text.getvalue()


def markdown_lines(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, its header first; no cell ends its column or becomes HTML."""
    return [_row(columns), _row(["---"] * len(columns)), *(_row(line) for line in lines)]


def _inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula; a number may be below 0."""
    if not cell.startswith(("=", "@", "+", "-", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _row(cells: Sequence[str]) -> str:
    flat = (" ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(one.replace('<', '&lt;') for one in flat)} |"
