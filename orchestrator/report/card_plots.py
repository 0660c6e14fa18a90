"""The plots of a model card: PNG files with the words and the tables that stand beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.evaluation.evidence import Evidence
from orchestrator.ledger import Metric
from orchestrator.report.bars import BarPlot, conditions_plot, draw_bars, slice_plots
from orchestrator.report.curves import CurvePlot, curve_plots, draw_curves
from orchestrator.report.evaluated import main_metric
from orchestrator.report.picture_png import picture_png
from orchestrator.report.pictures import WIDE, Picture

#: The folder in the published repo.
FOLDER = "plots"
#: A card is for reading: the report has the rest.
_MOST_SLICE_PLOTS = 3
_TRAINING = ("loss", "accuracy", "learning-rate")


@dataclass(frozen=True)
class CardPlot:
    """One plot: its file in the repo, what it says in words, and its numbers.

    `note` says what the table leaves out, or is empty.
    """

    file_name: str
    title: str
    alt: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str
    picture: Picture

    def png(self) -> bytes:
        """The file's bytes; raises `InputError` where Pillow is not installed."""
        return picture_png(self.picture)


def card_plots(metrics: Iterable[Metric], evaluation: Evidence | None) -> tuple[CardPlot, ...]:
    """The plots of a run, in the order of the card: training, then the evaluation's.

    There is no text of a row in them; slices are named as the evaluation names them.
    """
    plots = [_curves(plot) for plot in curve_plots(metrics) if plot.name in _TRAINING]
    metric = main_metric(evaluation) if evaluation else None
    if evaluation is not None and metric is not None:
        whole = conditions_plot(evaluation, metric)
        bars = [*([whole] if whole else []), *slice_plots(evaluation, metric)[:_MOST_SLICE_PLOTS]]
        plots += [_bars(plot) for plot in bars]
    return tuple(_named_apart(plots))


def _curves(plot: CurvePlot) -> CardPlot:
    return CardPlot(
        f"{FOLDER}/{plot.name}.png",
        plot.title,
        f"{plot.title}: {plot.words()}",
        plot.header,
        tuple(plot.rows()),
        plot.note(),
        draw_curves(plot, WIDE),
    )


def _bars(plot: BarPlot) -> CardPlot:
    return CardPlot(
        f"{FOLDER}/{plot.name}.png",
        plot.title,
        plot.words(),
        plot.header,
        tuple(plot.table()),
        "",
        draw_bars(plot, WIDE),
    )


def _named_apart(plots: Iterable[CardPlot]) -> Iterable[CardPlot]:
    """Slices may have names that are one file name: the later ones are left to the report."""
    seen: set[str] = set()
    for plot in plots:
        if plot.file_name not in seen:
            seen.add(plot.file_name)
            yield plot
