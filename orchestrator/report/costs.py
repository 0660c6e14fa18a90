"""What a run costs: by the tokens or time that the service reports, or by the plan's estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger import ADOPTED, AttemptFacts, Facts
from orchestrator.plan import Plan
from orchestrator.services.base import AttemptKind


@dataclass(frozen=True)
class Cost:
    """US dollars. `is_estimate` unless every job of the run has reported its tokens."""

    usd: float
    is_estimate: bool

    def __str__(self) -> str:
        return f"{'about ' if self.is_estimate else ''}${self.usd:,.2f}"


def run_cost(facts: Facts) -> Cost:
    """The cost of all jobs of a run, storage not included; of its training if none was launched.

    What was trained elsewhere, and adopted, is not counted.

    The service's count of billable tokens is taken to cover all epochs.
    """
    plan = facts.run.plan
    jobs = [one for one in facts.attempts if one.handle and one.handle.service != ADOPTED]
    if not jobs and facts.last("adopted") is None:
        return Cost(plan.estimate.cost_usd, is_estimate=True)
    price = (plan.model.usd_per_million_tokens or 0.0) / 1e6
    reported = [_reported_usd(attempt, price) for attempt in jobs]
    usd = sum(
        _estimated_usd(job.kind, plan) if cost is None else cost
        for job, cost in zip(jobs, reported, strict=True)
    )
    return Cost(usd, is_estimate=None in reported)


def _estimated_usd(kind: AttemptKind, plan: Plan) -> float:
    """What the plan says that one job of a kind costs at most."""
    if kind is AttemptKind.TUNE:
        return plan.estimate.cost_usd
    if kind is AttemptKind.GENERATE:
        return plan.evaluation.usd[1] if plan.evaluation and plan.evaluation.usd else 0.0
    finishing = [one for one in plan.attempt_kinds if one in ("merge", "export")]
    return plan.estimate.finishing_usd[1] / len(finishing) if plan.estimate.finishing_usd else 0.0


def _reported_usd(attempt: AttemptFacts, usd_per_token: float) -> float | None:
    """What one job cost by what its service reports; of a job that goes on, nothing is said."""
    stats = attempt.snapshot.stats if attempt.snapshot else {}
    cost = stats.get("cost_usd")
    if isinstance(cost, int | float) and attempt.is_over:
        return float(cost)
    tokens = _billable_tokens(attempt)
    return None if tokens is None else tokens * usd_per_token


def _billable_tokens(attempt: AttemptFacts) -> int | None:
    value: Any = attempt.snapshot.stats if attempt.snapshot else {}
    for name in ("tuning_data_stats", "supervised_tuning_data_stats", "total_billable_token_count"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) else None
