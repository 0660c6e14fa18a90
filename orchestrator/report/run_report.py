"""Everything that a run's page shows, as data; the page only lays it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from orchestrator.audit_facts import scores_given
from orchestrator.dataset.rules import SplitName
from orchestrator.evaluation.evidence import Evidence, Figures
from orchestrator.ledger import Facts, Metric
from orchestrator.report.advice import advice_of
from orchestrator.report.advising import Advice
from orchestrator.report.bars import BarPlot, conditions_plot, slice_plots
from orchestrator.report.causes import CauseGroup, cause_groups
from orchestrator.report.costs import Cost, run_cost
from orchestrator.report.curves import CurvePlot, curve_plots
from orchestrator.report.evaluated import (
    TUNED,
    UnreadableEvaluation,
    evaluation_of,
    main_metric,
)
from orchestrator.report.local_answers import LocalAnswers, read_local_answers
from orchestrator.report.side_by_side import ExampleGroup, example_groups
from orchestrator.report.views import RunView
from orchestrator.services.base import AttemptState

#: Scores of a person or a judge.
SCORES = range(6)
_MOST_METRICS = 3


@dataclass(frozen=True)
class Audit:
    """What one reviewer (or judge) gave the answers: how many rows got each score."""

    who: str
    rubric: str
    counts: tuple[int, ...]
    unjudged: int

    @property
    def rows(self) -> int:
        """How many rows got a score."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """The mean score; None where there is none."""
        given = sum(score * count for score, count in zip(SCORES, self.counts, strict=True))
        return given / self.rows if self.rows else None


@dataclass(frozen=True)
class Override:
    """Who let a run be published although it was held, and why."""

    by: str
    reason: str


@dataclass(frozen=True)
class RunReport:
    """A run as its page shows it. `unreadable` is why its evaluation is not shown, or empty."""

    view: RunView
    cost: Cost
    evaluation: Evidence | None
    unreadable: str
    curves: tuple[CurvePlot, ...]
    overall: BarPlot | None
    slices: tuple[BarPlot, ...]
    examples: tuple[ExampleGroup, ...]
    causes: tuple[CauseGroup, ...]
    advice: tuple[Advice, ...]
    overrides: tuple[Override, ...]
    audits: tuple[Audit, ...]
    problems: tuple[str, ...]

    @property
    def page(self) -> str:
        """The name of its file."""
        return f"{self.view.facts.run.id}.html"

    @property
    def main(self) -> Figures | None:
        """The tuned model's main metric."""
        tuned = self.evaluation.condition(TUNED) if self.evaluation else None
        name = main_metric(self.evaluation) if self.evaluation else None
        return tuned.metric(name) if tuned and name else None

    @property
    def gates(self) -> str:
        """How many gates passed, in a word or two."""
        if self.evaluation is None:
            return "–"
        if not self.evaluation.gates:
            return "none set"
        passed = sum(gate.passed for gate in self.evaluation.gates)
        words = f"{passed} of {len(self.evaluation.gates)} passed"
        return f"{words}, overridden" if self.overrides else words


def run_report(
    view: RunView, metrics: Iterable[Metric], run_folder: Path, *, examples: int
) -> RunReport:
    """Read what there is of a run: from the ledger, and its answers where they are at hand."""
    facts = view.facts
    curves = curve_plots(metrics)
    evaluation, unreadable = _evaluation(facts)
    answers = LocalAnswers()
    if evaluation is not None:
        # The ledger's word for a split is no path, and not even sure to be a name.
        split = evaluation.split if evaluation.split in get_args(SplitName) else "test"
        rows = Path(facts.run.data_folder) / f"{split}.jsonl"
        answers = read_local_answers(run_folder, rows)
    metric = main_metric(evaluation) if evaluation else None
    return RunReport(
        view=view,
        cost=run_cost(facts),
        evaluation=evaluation,
        unreadable=unreadable,
        curves=curves,
        overall=conditions_plot(evaluation, metric) if evaluation and metric else None,
        slices=_slices(evaluation) if evaluation else (),
        examples=example_groups(evaluation, answers, most=examples) if evaluation else (),
        causes=cause_groups(evaluation, answers) if evaluation else (),
        advice=advice_of(facts.run.plan, curves, evaluation, trained=_is_trained(facts)),
        overrides=tuple(_overrides(facts)),
        audits=tuple(_audits(facts)),
        problems=answers.problems,
    )


def _evaluation(facts: Facts) -> tuple[Evidence | None, str]:
    try:
        return evaluation_of(facts), ""
    except UnreadableEvaluation as error:
        return None, str(error)


def _is_trained(facts: Facts) -> bool:
    """Whether the service says that the training ended well."""
    snapshot = facts.tune.snapshot if facts.tune else None
    return snapshot is not None and snapshot.state is AttemptState.SUCCEEDED


def _slices(evaluation: Evidence) -> tuple[BarPlot, ...]:
    """The main metric by slice, and the other gated ones."""
    named = [main_metric(evaluation), *(gate.metric for gate in evaluation.gates)]
    metrics = [name for name in dict.fromkeys(named) if name is not None][:_MOST_METRICS]
    return tuple(plot for metric in metrics for plot in slice_plots(evaluation, metric))


def _overrides(facts: Facts) -> Iterable[Override]:
    for event in facts.events:
        if event.kind == "gates_overridden":
            yield Override(str(event.data.get("by") or ""), str(event.data.get("reason") or ""))


def _audits(facts: Facts) -> Iterable[Audit]:
    """The newest scores of each reviewer and judge of the answers that are the run's."""
    newest: dict[str, Audit] = {}
    for event in scores_given(facts):
        name = "reviewer" if event.kind == "audited" else "model"
        who = str(event.data.get(name) or "")
        who = who if event.kind == "audited" else f"judge {who}"
        newest[who] = _audit(who, event.data)
    return newest.values()


def _audit(who: str, data: Mapping[str, Any]) -> Audit:
    lines = data.get("scores")
    given = [one.get("score") for one in lines if isinstance(one, Mapping)] if lines else []
    counts = Counter(score for score in given if isinstance(score, int) and score in SCORES)
    return Audit(
        who,
        str(data.get("rubric") or ""),
        tuple(counts[score] for score in SCORES),
        len(given) - counts.total(),
    )
