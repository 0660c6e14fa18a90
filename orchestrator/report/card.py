"""The model card, from the ledger alone: the same facts give the same bytes.

Its parts are the modules `card_*`; this one puts them together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.errors import InputError
from orchestrator.report.card_deploying import deploying_lines
from orchestrator.report.card_evaluation import evaluation_lines
from orchestrator.report.card_facts import CardFacts, card_facts
from orchestrator.report.card_gates import gate_lines
from orchestrator.report.card_limits import limit_lines, provenance_lines
from orchestrator.report.card_loading import loading_lines
from orchestrator.report.card_loading import run_tag as run_tag
from orchestrator.report.card_metadata import metadata_lines
from orchestrator.report.card_plots import CardPlot, card_plots
from orchestrator.report.card_training import stand_in_lines, training_lines, what_lines
from orchestrator.report.views import RunView


def model_card(view: RunView, plots: Collection[str] = ()) -> str:
    """README.md of the published repo.

    `plots` are the names of the files of `card_files` that lie beside it: those are shown. What
    they say stands in tables too.
    """
    card = card_facts(view)
    curves, bars = _plots(card)
    return "\n".join(
        [
            *metadata_lines(card),
            f"# {view.facts.run.plan.name}",
            "",
            *stand_in_lines(card),
            *what_lines(card),
            *loading_lines(card),
            *evaluation_lines(card, bars, plots),
            *gate_lines(card),
            *training_lines(card, curves, plots),
            *deploying_lines(card),
            *limit_lines(card),
            *provenance_lines(card),
        ]
    )


def card_files(view: RunView) -> Mapping[str, bytes]:
    """The pictures of the card by their paths in the repo; none where Pillow is not installed."""
    curves, bars = _plots(card_facts(view))
    try:
        return {plot.file_name: plot.png() for plot in (*curves, *bars)}
    except InputError:
        return {}


def _plots(card: CardFacts) -> tuple[list[CardPlot], list[CardPlot]]:
    """The plots of the training and those of the evaluation, with masked names."""
    every = card_plots(card.view.metrics, card.evaluation)
    training = len(card_plots(card.view.metrics, None))
    return list(every[:training]), list(every[training:])
