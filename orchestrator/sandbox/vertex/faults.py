"""What goes wrong on purpose at the edge of the Vertex face, for programs in this process."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, get_args

import grpc
from pydantic import Field

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.rules import Effect, RequestRule
from orchestrator.sandbox.vertex.conduct import Method
from orchestrator.sandbox.vertex.refusals import Garbled, Rejected, code_of, retry_info


class ExactRule(RequestRule):
    """A rule with what no file can say: the details of the error, or that they are unreadable."""

    details: tuple[Any, ...] = Field(default=(), exclude=True)
    garbled: bool = Field(default=False, exclude=True)


def refusal_of(rule: RequestRule) -> Rejected:
    """The error that a rule asks for."""
    code = grpc.StatusCode[rule.code] if rule.code else code_of(rule.status)
    if isinstance(rule, ExactRule) and rule.garbled:
        return Garbled(code, rule.message)
    details = rule.details if isinstance(rule, ExactRule) else ()
    if rule.retry_after_s is not None:
        details = (*details, retry_info(rule.retry_after_s))
    return Rejected(code, rule.message, details, None if rule.code else rule.status)


class VertexFaults:
    """Puts rules for the next requests into a book, counts requests, and disguises answers.

    Methods: create, get, list, cancel. With `ignore_filters` lists show every job, as a service
    that does not filter would.
    """

    def __init__(self, book: FaultBook) -> None:
        self.ignore_filters = False
        self.calls: Counter[str] = Counter()
        self._book = book
        #: For each method, the number of the last request that shall meet a fault.
        self._planned: Counter[str] = Counter()
        self._unlisted: set[str] = set()
        self._states: dict[str, int] = {}
        self._lock = threading.Lock()

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
        rule = {"code": code.name, "after": after_effect, "message": message, "details": details}
        self._line_up(method, **rule)

    def garble_next(self, method: str, *, code: grpc.StatusCode) -> None:
        """Answer the next request with an error whose details no client can read."""
        self._line_up(method, code=code.name, garbled=True)

    def stall_next(self, method: str, *, after_effect: bool = False) -> None:
        """Leave the next request of this method without an answer."""
        self._line_up(method, effect=Effect.STALL, after=after_effect)

    def hide_from_lists(self, job_name: str) -> None:
        """Let lists lag: this job can be read, but no list shows it."""
        with self._lock:
            self._unlisted.add(job_name)

    def report_state(self, job_name: str, state: int) -> None:
        """Answer with this state number for the job, whatever its state is."""
        with self._lock:
            self._states[job_name] = state

    def count(self, method: str) -> None:
        """Count a request."""
        with self._lock:
            self.calls[method] += 1

    def listed(self, job_name: str) -> bool:
        """Whether lists show the job."""
        with self._lock:
            return job_name not in self._unlisted

    def disguise(self, job: Any) -> Any:
        """Give a job the state that is to be reported for it."""
        with self._lock:
            job.state = self._states.get(job.name, job.state)
        return job

    def _line_up(self, method: str, **rule: Any) -> None:
        if method not in get_args(Method):
            raise ValueError(f"the face has no method {method!r}")
        with self._lock:
            so_far = self.calls[method]
            self._planned[method] = max(self._planned[method], so_far) + 1
            # A rule counts from when it is added, and so the ones before it count too.
            nth = self._planned[method] - so_far
            self._book.add(ExactRule(face="vertex", operation=method, nth=nth, **rule))
