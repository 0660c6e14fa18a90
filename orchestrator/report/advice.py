"""Advice on what to try next, by stated rules: each tells its numbers and its threshold.

Rules are about one run. They say what stands out, not what is certain: a rule that needs figures
which are not there is silent.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.evaluation.evidence import Evidence
from orchestrator.plan import Plan
from orchestrator.report.advice_evaluation import EVALUATION_RULES
from orchestrator.report.advice_training import TRAINING_RULES
from orchestrator.report.advising import Advice
from orchestrator.report.curves import CurvePlot


def advice_of(
    plan: Plan, plots: Sequence[CurvePlot], evaluation: Evidence | None, *, trained: bool
) -> tuple[Advice, ...]:
    """All that the rules find, training first; of that nothing until it has ended well."""
    found: list[Advice] = []
    if trained:
        curves = {curve.name: curve for plot in plots for curve in plot.curves}
        found += [advice for rule in TRAINING_RULES for advice in rule(plan, curves)]
    if evaluation is not None:
        found += [advice for rule in EVALUATION_RULES for advice in rule(evaluation)]
    return tuple(found)
