"""What goes wrong on purpose at the edge of the Vertex face."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc

from orchestrator.sandbox.vertex.refusals import Garbled, Rejected


@dataclass(frozen=True)
class Fault:
    """One answer that is replaced: by `rejected`, or by none at all (the client's deadline ends
    the call). With `after_effect` the request is carried out first."""

    rejected: Rejected | None
    after_effect: bool


@dataclass
class VertexFaults:
    """Faults still to come, and how many requests came. Methods: create, get, list, cancel.

    With `ignore_filters` lists show every job, as a service that does not filter by label would.
    """

    ignore_filters: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    _next: dict[str, list[Fault]] = field(default_factory=dict)
    _unlisted: set[str] = field(default_factory=set)
    _states: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail_next(
        self,
        method: str,
        *,
        code: grpc.StatusCode,
        after_effect: bool = False,
        message: str = "injected fault",
        details: tuple[Any, ...] = (),
    ) -> None:
        """Answer the next request of this method with an error; several calls line up."""
        self._line_up(method, Fault(Rejected(code, message, details), after_effect))

    def garble_next(self, method: str, *, code: grpc.StatusCode) -> None:
        """Answer the next request with an error whose details no client can read."""
        self._line_up(method, Fault(Garbled(code, "injected fault"), after_effect=False))

    def stall_next(self, method: str, *, after_effect: bool = False) -> None:
        """Leave the next request of this method without an answer."""
        self._line_up(method, Fault(None, after_effect))

    def hide_from_lists(self, job_name: str) -> None:
        """Let lists lag: this job can be read, but no list shows it."""
        with self._lock:
            self._unlisted.add(job_name)

    def report_state(self, job_name: str, state: int) -> None:
        """Answer with this state number for the job, whatever its state is."""
        with self._lock:
            self._states[job_name] = state

    def take(self, method: str) -> Fault | None:
        """Count a request, and give the fault that it shall meet."""
        with self._lock:
            self.calls[method] += 1
            waiting = self._next.get(method)
            return waiting.pop(0) if waiting else None

    def listed(self, job_name: str) -> bool:
        """Whether lists show the job."""
        with self._lock:
            return job_name not in self._unlisted

    def disguise(self, job: Any) -> Any:
        """Give a job the state that is to be reported for it."""
        with self._lock:
            job.state = self._states.get(job.name, job.state)
        return job

    def _line_up(self, method: str, fault: Fault) -> None:
        if method not in ("create", "get", "list", "cancel"):
            raise ValueError(f"the face has no method {method!r}")
        with self._lock:
            self._next.setdefault(method, []).append(fault)
