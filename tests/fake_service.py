"""A service with behaviour, in memory: jobs, labels, lost answers, lists that lag."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.errors import Ambiguous, OrchestratorError
from orchestrator.services.base import (
    AttemptKind,
    AttemptRequest,
    AttemptState,
    Handle,
    Logs,
    MaySend,
    Snapshot,
)


class FakeService:
    """Holds the jobs that it was asked for. `refuse_with` and `lose_answer` act on one launch."""

    name = "vertex"
    kinds = frozenset({AttemptKind.TUNE})

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.requests: list[AttemptRequest] = []
        self.states: dict[str, Snapshot] = {}
        self.hidden: set[str] = set()
        self.refuse_with: OrchestratorError | None = None
        self.lose_answer = False
        self.unreachable = False

    def launch(self, attempt: AttemptRequest, token: str, *, may_send: MaySend) -> Handle:
        may_send()
        error, self.refuse_with = self.refuse_with, None
        if error is not None:
            raise error
        handle = Handle(self.name, f"jobs/{len(self.jobs) + 1}")
        self.jobs[token] = handle.id
        self.requests.append(attempt)
        if self.lose_answer:
            self.lose_answer = False
            raise Ambiguous("the connection was lost")
        return handle

    def find(self, token: str) -> Handle | None:
        if self.unreachable:
            raise Ambiguous("no route to the service")
        job = self.jobs.get(token)
        return Handle(self.name, job) if job and job not in self.hidden else None

    def inspect(self, handles: Iterable[Handle]) -> dict[Handle, Snapshot]:
        running = Snapshot(AttemptState.RUNNING, "JOB_STATE_RUNNING")
        known = set(self.jobs.values())
        return {h: self.states.get(h.id, running) for h in handles if h.id in known}

    def cancel(self, handle: Handle) -> None:
        self.states[handle.id] = Snapshot(AttemptState.CANCELLED, "JOB_STATE_CANCELLED")

    def logs(self, handle: Handle) -> Logs:
        return Logs(None, f"https://console.invalid/{handle.id}")

    def outputs(self, handle: Handle) -> str:
        return f"gs://bucket/outputs/{handle.id}"
