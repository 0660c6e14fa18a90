"""The report of `check` as one HTML page that opens from disk and asks for nothing.

No script, no request: a content security policy says so to the browser, and text of rows is
escaped wherever it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.dataset.report import Histogram, Level, Report, Table
from orchestrator.dataset.rules import KINDS
from orchestrator.report.histogram_drawing import MARK_LINE, Drawing, draw, interval
from orchestrator.report.pages import page_environment, page_style

_TEMPLATE = "rows_page.html.jinja"


@dataclass(frozen=True)
class KindCounts:
    """How many errors and warnings a kind has. Notes are for knowing, and count for nothing."""

    kind: str
    errors: int
    warnings: int


@dataclass(frozen=True)
class Plot:
    """A histogram with its drawing."""

    histogram: Histogram
    drawing: Drawing


def kind_counts(report: Report, kinds: tuple[str, ...]) -> list[KindCounts]:
    """The findings by kind, in the order of the kinds; form always, for it decides."""
    found = {group.kind for group in report.groups.values()}
    shown = [kind for kind in KINDS if kind in kinds or kind in found]
    shown += sorted(found - set(KINDS))

    def count(kind: str, level: Level) -> int:
        groups = report.groups.values()
        return sum(g.count for g in groups if g.kind == kind and g.level is level)

    return [
        KindCounts(kind, count(kind, Level.ERROR), count(kind, Level.WARNING)) for kind in shown
    ]


def rows_page(report: Report, *, spec: str, data: str, kinds: tuple[str, ...]) -> str:
    """The whole page. `spec` and `data` are names for people."""
    environment = page_environment()
    environment.filters["cell"] = _cell
    environment.globals.update(interval=interval, mark_line=MARK_LINE)
    style = page_style("page.css", "rows_page.css")
    counts = kind_counts(report, kinds)
    return environment.get_template(_TEMPLATE).render(
        spec=spec,
        data=data,
        report=report,
        counts=counts,
        totals={
            "error": sum(count.errors for count in counts),
            "warning": sum(count.warnings for count in counts),
        },
        plots=[Plot(f, draw(f)) for f in report.figures if isinstance(f, Histogram)],
        tables=[figure for figure in report.figures if isinstance(figure, Table)],
        style=style.text,
        style_digest=style.digest,
    )


def _cell(value: Any) -> str:
    """A cell of a table: numbers with separators, a gap for what there is not."""
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    # Fractions are shares everywhere.
    return f"{value:.1%}" if isinstance(value, float) else str(value)
