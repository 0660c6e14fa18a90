"""What a job says of itself while it runs, and when it fails: its metrics and its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from orchestrator.clock import Clock
from orchestrator.connections import Connections
from orchestrator.errors import Ambiguous, Refused
from orchestrator.ledger import AttemptFacts, Facts, Lease
from orchestrator.services.base import Snapshot
from orchestrator.settings import Settings
from orchestrator.training_log import failure_reason, metric_points

#: How often the log of a job that runs is read for its metrics.
_METRICS_EVERY_S = 30.0


class JobFollowing:
    """Reads the logs of jobs of runs whose lease is held."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        clock: Clock,
        notify: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._clock = clock
        self._notify = notify
        self._metrics_read_s: dict[str, float] = {}

    def with_reason(
        self, facts: Facts, attempt: AttemptFacts, snapshot: Snapshot, lease: Lease
    ) -> Snapshot:
        """The snapshot with what the script itself says went wrong: the service knows no more
        than its exit code. What the script had measured until then is recorded as well.
        """
        target = facts.run.target.of(attempt.kind)
        if target.service != "hf-jobs" or attempt.handle is None:
            return snapshot
        lines = self._connections.jobs(target.project).log_lines(attempt.handle)
        try:
            texts = [line.text for line in lines]
        except (Ambiguous, Refused):
            return snapshot  # the page with the log is still there
        points = metric_points(texts)
        if points:
            lease.record_metrics(attempt.id, points)
        reason = failure_reason(texts)
        if reason is None:
            return snapshot
        reason = self._without_secrets(facts, reason)
        return dataclasses.replace(snapshot, error=f"{snapshot.error}: {reason}")

    def _without_secrets(self, facts: Facts, text: str) -> str:
        """What a script said, without the values of the secrets that its job was given."""
        settings, names = self._settings, facts.run.plan.spec.service.secrets
        values = {name: settings.secrets.get(name) for name in names}
        for name, value in {**values, "HF_TOKEN": settings.hub_token}.items():
            if value:
                text = text.replace(value, f"[{name}]")
        return text

    def follow_metrics(self, facts: Facts, attempt: AttemptFacts, lease: Lease) -> None:
        """Record the time series of a training that goes on, where the service streams its log."""
        target, now_s = facts.run.target.of(attempt.kind), self._clock.elapsed_s()
        read_s = self._metrics_read_s.get(attempt.id)
        early = read_s is not None and read_s + _METRICS_EVERY_S > now_s
        if target.service != "hf-jobs" or attempt.handle is None or early:
            return
        self._metrics_read_s[attempt.id] = now_s
        lines = self._connections.jobs(target.project).log_lines(attempt.handle)
        try:
            points = metric_points(line.text for line in lines)
        except (Ambiguous, Refused) as problem:
            # Metrics are for information: the state of the job counts.
            self._notify(f"no metrics of {attempt.handle.id} now: {problem.message}")
            return
        if points:
            lease.record_metrics(attempt.id, points)
