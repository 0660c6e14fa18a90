"""The report of `check` as one HTML page that opens from disk and asks for nothing.

No script, no request: a content security policy says so to the browser, and text of rows is
escaped wherever it stands.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.report import Histogram, Level, Report, Table
from orchestrator.dataset.rules import KINDS
from orchestrator.report.histogram_drawing import MARK_LINE, Drawing, draw, interval
from orchestrator.visible_text import visible_line

if TYPE_CHECKING:
    import jinja2

_TEMPLATE = "rows_page.html.jinja"
_STYLE = "rows_page.css"
_FOLDER = Path(__file__).parent


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
    environment = _environment()
    style = (_FOLDER / _STYLE).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
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
        style=style,
        style_digest=digest,
    )


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["cell"] = _cell
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.globals.update(interval=interval, mark_line=MARK_LINE)
    return environment


def _shown(value: Any) -> Any:
    """Text as it is, but for what would be obeyed; what is marked as safe is our own."""
    return value if hasattr(value, "__html__") else visible_line(str(value))


def _cell(value: Any) -> str:
    """A cell of a table: numbers with separators, a gap for what there is not."""
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    # Fractions are shares everywhere.
    return f"{value:.1%}" if isinstance(value, float) else str(value)
