"""A run as one value for everything that shows runs: the terminal, JSON and the model card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.ledger import ADOPTED, Artifact, AttemptFacts, Facts, Metric
from orchestrator.services.base import AttemptKind
from orchestrator.state import Status, status


@dataclass(frozen=True)
class Series:
    """A time series reduced to what fits on a line."""

    name: str
    points: int
    first: float
    last: float
    lowest: float


@dataclass(frozen=True)
class RunView:
    """What is shown of a run. `stand_in` is set when the weights come from a rehearsal.

    `libraries` are names and versions of what trained, where the job told.
    """

    facts: Facts
    status: Status
    series: tuple[Series, ...]
    stand_in: dict[str, Any] | None
    adapter: dict[str, Any] | None
    summary: dict[str, float]
    metrics: tuple[Metric, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def published(self) -> dict[str, Any] | None:
        """Repo, revision and tag, once published."""
        event = self.facts.last("published")
        return dict(event.data) if event else None

    @property
    def training_seconds(self) -> float | None:
        """From start to end of all training jobs, as the service says; None while one goes on."""
        return _seconds(one for one in self.facts.attempts if one.kind is AttemptKind.TUNE)

    @property
    def seconds_of_all_jobs(self) -> float | None:
        """The same of every job of the run; what was trained elsewhere is none of it."""
        mine = (one for one in self.facts.attempts if one.handle and one.handle.service != ADOPTED)
        return _seconds(mine)

    @property
    def adapter_files(self) -> dict[str, Artifact]:
        """The files that are, or would be, published."""
        return self.facts.artifacts_of("adapter")

    def to_json(self) -> dict[str, Any]:
        """The run as `show --json` prints it."""
        run, attempt = self.facts.run, self.facts.tune
        return {
            "run": run.id,
            "name": run.plan.name,
            "state": str(self.status.state),
            "next": str(self.status.action),
            "reason": self.status.reason,
            "created_at": run.created_at.isoformat(),
            "plan_digest": run.plan.digest,
            "target": run.target.to_json(),
            "attempts": [
                {
                    "id": item.id,
                    "kind": str(item.kind),
                    "token": item.token,
                    "job": item.handle.id if item.handle else None,
                    "state": str(item.snapshot.state) if item.snapshot else None,
                    "raw_state": item.snapshot.raw_state if item.snapshot else None,
                    "error": item.snapshot.error if item.snapshot else None,
                    "stats": dict(item.snapshot.stats) if item.snapshot else {},
                }
                for item in self.facts.attempts
            ],
            "training_seconds": self.training_seconds if attempt else None,
            "metrics": {
                item.name: {
                    "points": item.points,
                    "first": item.first,
                    "last": item.last,
                    "lowest": item.lowest,
                }
                for item in self.series
            },
            "summary": self.summary,
            "stand_in": self.stand_in,
            "adapter": self.adapter,
            "files": [
                {"name": item.name, "size_bytes": item.size_bytes, "sha256": item.sha256}
                for item in self.adapter_files.values()
            ],
            "published": self.published,
            "events": [
                {
                    "at": event.at.isoformat(),
                    "kind": event.kind,
                    "attempt": event.attempt_id,
                    "data": dict(event.data),
                }
                for event in self.facts.events
            ],
        }


def view(facts: Facts, metrics: list[Metric], now: datetime) -> RunView:
    """Reduce the facts of a run to what is shown."""
    checked = facts.last("adapter_checked")
    collected = facts.last("collected")
    adapter = dict(checked.data) if checked else None
    return RunView(
        facts=facts,
        status=status(facts, now),
        series=_series(metrics),
        stand_in=adapter.get("stand_in") if adapter else None,
        adapter=adapter,
        summary=dict(collected.data.get("summary", {})) if collected else {},
        metrics=tuple(metrics),
        libraries=dict(collected.data.get("libraries") or {}) if collected else {},
    )


def _seconds(attempts: Iterable[AttemptFacts]) -> float | None:
    """The times of attempts together: a training that went on in a second job took both."""
    times = []
    for attempt in attempts:
        found = attempt.snapshot
        if found is not None and found.started_at is not None and found.ended_at is not None:
            times.append((found.ended_at - found.started_at).total_seconds())
        elif attempt.handle is not None and not attempt.is_over:
            return None
    return sum(times) if times else None


def _series(metrics: list[Metric]) -> tuple[Series, ...]:
    by_name: dict[str, list[float]] = {}
    for point in sorted(metrics, key=lambda point: (point.name, point.step)):
        by_name.setdefault(point.name, []).append(point.value)
    return tuple(
        Series(name, len(values), values[0], values[-1], min(values))
        for name, values in by_name.items()
    )
