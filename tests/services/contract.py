"""What the contract suite needs of a service under test: the service, and a hand on its far side.

A new service joins the suite by an entry in `BENCHES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from orchestrator.services.base import AttemptRequest, Handle, Service
from tests.services.hf_jobs_bench import hf_jobs_bench
from tests.services.vertex_bench import vertex_bench


class Bench(Protocol):
    """A service on a sandbox that starts out empty. At least three jobs may train at once."""

    @property
    def service(self) -> Service:
        """The service under test; its clock does not really sleep."""
        ...

    def request(self, **changes: Any) -> AttemptRequest:
        """A request that the service accepts, with fields changed."""
        ...

    def refused_request(self) -> AttemptRequest:
        """A request that the service refuses as invalid."""
        ...

    def foreign_request(self) -> AttemptRequest:
        """A request of a type that is for another service."""
        ...

    def unknown_handle(self) -> Handle:
        """A well-formed handle of a job that never existed."""
        ...

    def job_count(self) -> int:
        """How many jobs exist on the far side."""
        ...

    def launch_calls(self) -> int:
        """How many requests to create a job arrived there."""
        ...

    def list_calls(self) -> int:
        """How many requests to list jobs arrived there."""
        ...

    def read_calls(self) -> int:
        """How many requests to read a single job arrived there."""
        ...

    def wait_until_running(self, handle: Handle) -> None:
        """Return once the job trains."""
        ...

    def wait_until_ended(self, handle: Handle) -> None:
        """Return once the job's state is final."""
        ...

    def let_train(self, handle: Handle) -> None:
        """Let trainings, which are held up until now, go on; return once this job has ended."""
        ...

    def fail_trainings(self, message: str) -> None:
        """Let the trainings of jobs that are launched from now on end in failure."""
        ...

    def lose_next_launch(self, *, after_effect: bool) -> None:
        """Lose the next request to create a job, or its answer."""
        ...

    def stall_next_launch(self) -> None:
        """Carry out the next request to create a job, and never answer it."""
        ...

    def break_next_read(self) -> None:
        """Answer the next list, read and cancel with a transient error."""
        ...

    def hide_from_lists(self, handle: Handle) -> None:
        """Let the service's lists lag behind this job."""
        ...

    def report_unheard_of_state(self, handle: Handle) -> str:
        """Report a state that nobody knows for the job; returns its raw name."""
        ...


BENCHES: Mapping[str, Callable[[Path], AbstractContextManager[Bench]]] = {
    "vertex": vertex_bench,
    "hf-jobs": hf_jobs_bench,
}
