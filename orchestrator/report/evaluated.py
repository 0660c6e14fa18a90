"""The evaluation of a run as reports and plots look at it."""

from __future__ import annotations

from orchestrator.evaluation.evidence import (
    ConditionFigures,
    Evidence,
    Figures,
    GateVerdict,
    MetricMeaning,
    SliceFigures,
)
from orchestrator.ledger import Facts

TUNED, BASE = "tuned", "base"
#: The ways to answer in their order, from the humblest to the run's own.
ORDER = ("constant", "majority", BASE, "few-shot", "published", TUNED)


class UnreadableEvaluation(ValueError):
    """The event is not of the shape that evaluations have: another release wrote it."""


def evaluation_of(facts: Facts) -> Evidence | None:
    """The newest evaluation of a run; raises `UnreadableEvaluation`."""
    event = facts.last("evaluated")
    if event is None:
        return None
    try:
        return Evidence.from_json(event.data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UnreadableEvaluation(f"{type(error).__name__}: {error}") from error


def in_order(evaluation: Evidence) -> list[ConditionFigures]:
    """The ways to answer, from the humblest to the run's own."""
    places = {name: place for place, name in enumerate(ORDER)}
    return sorted(evaluation.conditions, key=lambda one: places.get(one.name, len(ORDER)))


def main_metric(evaluation: Evidence) -> str | None:
    """The metric that stands for the others: the scorer's first that was measured."""
    tuned = evaluation.condition(TUNED)
    measured = [one.name for one in tuned.metrics] if tuned else []
    named = [*(kind.name for kind in evaluation.kinds), *measured]
    return next((name for name in named if name in measured), None)


def meaning_of(evaluation: Evidence, metric: str) -> MetricMeaning:
    """What a metric means; one that the scorer does not list has no meaning to tell."""
    found = next((kind for kind in evaluation.kinds if kind.name == metric), None)
    return found or MetricMeaning(metric, "", "higher")


def higher_is_better(evaluation: Evidence, metric: str) -> bool:
    """Which direction of a metric is good."""
    return meaning_of(evaluation, metric).better != "lower"


def slice_of(condition: ConditionFigures | None, name: str, of: str) -> SliceFigures | None:
    """One of the slices of a condition."""
    slices = condition.slices if condition else ()
    return next((one for one in slices if (one.slice, one.of) == (name, of)), None)


def metric_of(part: SliceFigures | None, metric: str) -> Figures | None:
    """One of the metrics of a slice."""
    return next((one for one in part.metrics if one.name == metric), None) if part else None


def wanted(gate: GateVerdict) -> str:
    """What a gate asks for, in words."""
    words = [
        f"{word} {bound:g}"
        for word, bound in (("at least", gate.min), ("at most", gate.max))
        if bound is not None
    ]
    if gate.better_than:
        sure = f" (confidence {gate.confidence:g})" if gate.confidence is not None else ""
        words.append(f"better than {gate.better_than}{sure}")
    return ", ".join(words)
