"""The database of runs, attempts, events and artifacts: the only place that knows SQL."""

from orchestrator.ledger.facts import (
    ADOPTED,
    Adopted,
    Artifact,
    AttemptFacts,
    DamagedRun,
    Event,
    Facts,
    Metric,
    Refusal,
    RunFacts,
    Target,
)
from orchestrator.ledger.lease import Lease
from orchestrator.ledger.store import Ledger

__all__ = [
    "ADOPTED",
    "Adopted",
    "Artifact",
    "AttemptFacts",
    "DamagedRun",
    "Event",
    "Facts",
    "Lease",
    "Ledger",
    "Metric",
    "Refusal",
    "RunFacts",
    "Target",
]
