"""The pages of a report: a list of runs, and a page for each, which open from disk.

A page asks for nothing: style and plots are in it, there is no script, and a content security
policy says so to the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from markupsafe import Markup

from orchestrator.report.axes import interval_text, number_text
from orchestrator.report.bars import BarPlot, draw_bars
from orchestrator.report.curves import CurvePlot, draw_curves
from orchestrator.report.evaluated import in_order
from orchestrator.report.page_tables import (
    ANSWERS,
    ATTEMPTS,
    AUDIT,
    COMPARISONS,
    about,
    answer_rows,
    attempt_rows,
    audit_rows,
    cause_header,
    cause_rows,
    comparison_rows,
    gate_rows,
    made_rows,
    metric_rows,
    seconds_text,
    split_rows,
)
from orchestrator.report.pages import Style, page_environment, page_style
from orchestrator.report.picture_svg import picture_svg
from orchestrator.report.pictures import NARROW, WIDE, Picture
from orchestrator.report.run_report import RunReport
from orchestrator.state import Action, RunState

INDEX = "index.html"
_STYLES = ("page.css", "report_page.css")
_MOODS = {
    RunState.PUBLISHED: "good",
    RunState.FAILED: "bad",
    RunState.HELD: "bad",
    RunState.UNCERTAIN: "bad",
}


@dataclass(frozen=True)
class _Drawn:
    """A plot for a page: drawn for a desktop and for a phone, with its table."""

    title: str
    wide: Markup
    narrow: Markup
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


@dataclass(frozen=True)
class _Head:
    """What stands at the top of a page, and in the list of runs."""

    id: str
    name: str
    page: str
    state: str
    mood: str
    reason: str
    unfinished: bool
    metric: str
    value: str
    gates: str
    cost: str
    time: str
    service: str
    base_model: str
    stand_in: bool


def report_pages(
    reports: Sequence[RunReport], *, made_at: datetime, problems: Sequence[str] = ()
) -> dict[str, str]:
    """The pages by the names of their files. `problems` are told on the first."""
    environment = page_environment()
    environment.filters["figure"] = number_text
    environment.tests["figure"] = lambda cell: cell[:1].isdigit() or cell[:1] in ("+", "-", "–")
    style = page_style(*_STYLES)
    index = environment.get_template("report_index.html.jinja").render(
        runs=[_head(report) for report in reports],
        problems=problems,
        made_at=f"{made_at:%Y-%m-%d %H:%M} UTC",
        style=style,
    )
    template = environment.get_template("report_run.html.jinja")
    pages = {report.page: template.render(_run(report, style)) for report in reports}
    return {INDEX: index, **pages}


def _run(report: RunReport, style: Style) -> Mapping[str, Any]:
    """What the page of a run is filled with."""
    evaluation, drawn = report.evaluation, _Drawer()
    examples = [group for group in report.examples if group.rows]
    values: dict[str, Any] = {
        "style": style,
        "report": report,
        "run": _head(report),
        "about": about(report),
        "stand_in": _stand_in(report),
        "evaluation": evaluation,
        "examples": examples,
        "has_rows": any(g.examples for g in report.examples)
        or any(g.examples for g in report.causes),
        "overall": drawn.bars(report.overall) if report.overall else None,
        "slices": [drawn.bars(plot) for plot in report.slices],
        "curves": [drawn.curves(plot) for plot in report.curves],
        "audit_header": AUDIT,
        "audits": audit_rows(report.audits),
        "causes_header": cause_header(report.causes),
        "causes": cause_rows(report.causes),
        "cost": _cost(report),
        "attempts_header": ATTEMPTS,
        "attempts": attempt_rows(report),
        "made": made_rows(report),
        "splits": split_rows(report),
    }
    if evaluation is not None:
        conditions = in_order(evaluation)[::-1]
        values |= {
            "conditions": conditions,
            "gates": gate_rows(evaluation),
            "metrics_header": ("metric", *(one.name for one in conditions)),
            "metrics": metric_rows(evaluation),
            "comparisons_header": COMPARISONS,
            "comparisons": comparison_rows(evaluation),
            "answers_header": ANSWERS,
            "answers": answer_rows(evaluation),
        }
    return values


def _head(report: RunReport) -> _Head:
    view, main = report.view, report.main
    run, status = view.facts.run, view.status
    return _Head(
        id=run.id,
        name=run.plan.name,
        page=report.page,
        state=str(status.state),
        mood=_MOODS.get(status.state, ""),
        reason=status.reason,
        unfinished=status.action is not Action.DONE,
        metric=main.name if main else "",
        value=interval_text(main.value, main.low, main.high) if main else "",
        gates=report.gates,
        cost=str(report.cost),
        time=seconds_text(view.training_seconds),
        service=run.target.service,
        base_model=run.plan.model.id,
        stand_in=view.stand_in is not None,
    )


def _stand_in(report: RunReport) -> str:
    found = report.view.stand_in
    return f"{found.get('name')} took the place of {found.get('for')}" if found else ""


def _cost(report: RunReport) -> str:
    if report.cost.is_estimate:
        return f"{str(report.cost).capitalize()}, by the plan's estimate: not all is reported yet."
    return f"{report.cost}, by what the service reported (list price, not a bill)."


class _Drawer:
    """Draws plots for one page, in which every picture has a name of its own."""

    def __init__(self) -> None:
        self._count = 0

    def bars(self, plot: BarPlot) -> _Drawn:
        """Bars with their table."""
        draw = partial(draw_bars, plot)
        return self._drawn(plot.title, draw, plot.header, plot.table(), "")

    def curves(self, plot: CurvePlot) -> _Drawn:
        """Curves with their table."""
        draw = partial(draw_curves, plot)
        return self._drawn(plot.title, draw, plot.header, plot.rows(), plot.note())

    def _drawn(
        self,
        title: str,
        draw: Callable[[float], Picture],
        header: tuple[str, ...],
        rows: list[tuple[str, ...]],
        note: str,
    ) -> _Drawn:
        self._count += 1
        name = f"plot{self._count}"
        # Every text in it is escaped where it is written.
        wide = Markup(picture_svg(draw(WIDE), f"{name}w", kind="wideone"))  # noqa: S704
        narrow = Markup(picture_svg(draw(NARROW), f"{name}n", kind="narrow"))  # noqa: S704
        return _Drawn(title, wide, narrow, header, tuple(rows), note)
