"""The plan: a spec resolved against data and catalog, with a digest; made by `planner`.

The digest covers everything that decides what is trained and published, and nothing else: not the
path of the data (its bytes count), not comments in the spec, not the project that pays. So the
same plan submitted from elsewhere is still the same plan.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from orchestrator.catalog import Mode, Model, VertexLimits
from orchestrator.spec import JobSpec


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFacts(_Part):
    """The file of rows: what it is, not where it is."""

    sha256: str
    size_bytes: int
    rows: int
    limit: int | None


class SplitFacts(_Part):
    """One split as it is uploaded."""

    name: str
    rows: int
    size_bytes: int
    characters: int
    sha256: str


class Hyperparameters(_Part):
    """What the service is told, and what it was compiled from."""

    mode: Mode
    epochs: int
    baseline_learning_rate: float | None
    learning_rate_multiplier: float | None
    learning_rate: float
    rank: int | None
    adapter_size: str | None


class AdapterEstimate(_Part):
    """How large the adapter becomes."""

    parameters: int | None
    size_bytes: int | None
    basis: str


class CostEstimate(_Part):
    """Billed tokens and their price, with where the numbers come from."""

    tokens: int
    cost_usd: float
    basis: str


class Plan(_Part):
    """Everything that is decided before anything is paid."""

    version: Literal[1] = 1
    name: str
    spec: JobSpec
    data: DataFacts
    splits: tuple[SplitFacts, ...]
    model: Model
    limits: VertexLimits
    hyperparameters: Hyperparameters
    adapter: AdapterEstimate
    estimate: CostEstimate
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    digest: str = ""

    def split(self, name: str) -> SplitFacts:
        """One of the splits, by its name."""
        return next(split for split in self.splits if split.name == name)

    def to_json(self) -> dict[str, Any]:
        """The plan as the ledger keeps it and `plan --json` prints it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        """The inverse of `to_json`."""
        return cls.model_validate_json(orjson.dumps(value))


def plan_digest(plan: Plan) -> str:
    """SHA-256 of the plan's canonical JSON, without the digest and the path of the data."""
    value = plan.model_dump(mode="json", exclude={"digest": True})
    value["spec"]["data"].pop("path")
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
