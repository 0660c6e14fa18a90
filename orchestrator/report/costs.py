"""What a run costs: by the tokens or time that the service reports, or by the plan's estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger import AttemptFacts, Facts


@dataclass(frozen=True)
class Cost:
    """US dollars. `is_estimate` unless every job of the run has reported its tokens."""

    usd: float
    is_estimate: bool

    def __str__(self) -> str:
        return f"{'about ' if self.is_estimate else ''}${self.usd:,.2f}"


def run_cost(facts: Facts) -> Cost:
    """The cost of all jobs of a run, storage not included; of one job if none was launched yet.

    The service's count of billable tokens is taken to cover all epochs.
    """
    plan = facts.run.plan
    jobs = [attempt for attempt in facts.attempts if attempt.handle]
    price = (plan.model.usd_per_million_tokens or 0.0) / 1e6
    reported = [_reported_usd(attempt, price) for attempt in jobs] or [None]
    usd = sum(plan.estimate.cost_usd if cost is None else cost for cost in reported)
    return Cost(usd, is_estimate=None in reported)


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
