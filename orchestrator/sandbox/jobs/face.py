"""The Jobs face: it belongs to a Hub face, and is served at its address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import JobRule
from orchestrator.sandbox.edge.waking import Wakers
from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.jobs.hardware import FLAVORS
from orchestrator.sandbox.jobs.queue import JobsQueue
from orchestrator.sandbox.jobs.records import JobRecord, JobStore, Stage
from orchestrator.sandbox.jobs.runner import JobRunner
from orchestrator.sandbox.jobs.stand_in import JobStandIn

__all__ = ["JobRecord", "JobsFace", "Stage"]


@dataclass(frozen=True)
class JobCost:
    """What a job would have cost, in US dollars; it counts on while the job runs."""

    job_id: str
    name: str
    stage: Stage
    cost_usd: float


class JobsFace:
    """Hugging Face Jobs over the repositories and accounts of `hub`.

    Commands run as processes of this machine, without a container: only trusted ones may be given.
    Jobs are kept under `root`. `endpoint` gives the address of the Hub, for the jobs themselves.
    """

    def __init__(
        self,
        root: Path,
        hub: HubFace,
        *,
        endpoint: Callable[[], str],
        clock: SandboxClock,
        book: FaultBook | None = None,
        conduct: JobsConduct = JobsConduct(),  # noqa: B008 (frozen)
        stand_in: JobStandIn | None = None,
    ) -> None:
        self.hub = hub
        self.conduct = conduct
        self.store = JobStore(root)
        self.wakers = Wakers()
        self._book = book or FaultBook(clock=clock)
        self._stopped = False
        runner = JobRunner(
            self.store, hub, self._book, endpoint, stand_in=stand_in, grace_s=conduct.grace_s
        )
        self.queue = JobsQueue(self.store, runner, conduct, clock, self.wakers.wake)

    def start(self) -> None:
        """Take up the jobs that wait."""
        self.queue.start()

    def stop(self) -> None:
        """End the jobs that run, and all streams of logs."""
        self._stopped = True
        self.queue.stop()
        self.wakers.wake()

    def create(
        self, make: Callable[[int, datetime], JobRecord], secrets: Mapping[str, str]
    ) -> JobRecord:
        """Accept a job; rules of the fault book may choose its outcome."""
        return self.queue.add(make, secrets, self._outcome)

    def jobs(self) -> list[JobRecord]:
        """All jobs, newest first."""
        return self.queue.records()

    def bill(self) -> list[JobCost]:
        """What each job would have cost, newest first."""
        return [
            JobCost(one.id, one.labels.get("name", ""), one.stage, self.cost_usd(one))
            for one in self.jobs()
        ]

    def cost_usd(self, record: JobRecord) -> float:
        """What a job costs until it ended, or until now; nothing while it waits."""
        if record.started_at is None:
            return 0.0
        ended = record.finished_at or self.queue.clock.now()
        running = max(timedelta(), ended - record.started_at)
        return FLAVORS[record.request.flavor].cost_usd(running)

    def all_ended(self) -> bool:
        """Whether no job waits or runs, and no machine winds down."""
        return all(self.queue.is_quiet(one.id) for one in self.jobs())

    def differences(self, job_id: str) -> tuple[str, ...]:
        """Where what was run departed from the job, a line each; raises KeyError."""
        record = self.queue.get(job_id)
        if record is None:
            raise KeyError(job_id)
        return record.differences

    def wait_until_ended(self, job_id: str, *, timeout_s: float = 60.0) -> JobRecord:
        """The job once nothing will come of it any more; raises TimeoutError."""
        return self._once(job_id, lambda: self.queue.is_quiet(job_id), timeout_s)

    def wait_until_running(self, job_id: str, *, timeout_s: float = 60.0) -> JobRecord:
        """The job once its command runs, or has run; raises TimeoutError."""

        def runs() -> bool:
            record = self.queue.get(job_id)
            return record is not None and (record.process_group is not None or record.ended)

        return self._once(job_id, runs, timeout_s)

    def log_ends(self, job_id: str) -> bool:
        """Whether a stream of a job's log has nothing more to wait for."""
        return self._stopped or self.queue.is_quiet(job_id)

    def _once(self, job_id: str, is_so: Callable[[], bool], timeout_s: float) -> JobRecord:
        if not self.queue.wait_for(is_so, timeout_s):
            raise TimeoutError(f"the job {job_id} is not so far after {timeout_s:g} s")
        record = self.queue.get(job_id)
        if record is None:
            raise KeyError(job_id)
        return record

    def _outcome(self, record: JobRecord) -> JobRule | None:
        return self._book.job(record.searched(), "jobs")
