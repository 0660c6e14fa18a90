"""Moves tuning jobs through their states by the clock, each training in a thread of its own.

Every move is stamped with the instant at which it was due, so that a clock that jumps over hours
leaves the same times as one that ran through them. A job that was training when the process died
stays RUNNING, and its training starts again from the beginning.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.aiplatform_v1beta1.types import JobState

from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import JobRule
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.jobs import (
    Ended,
    JobRecord,
    JobStore,
    Train,
    cancelled,
    freed_places,
    instant,
)
from orchestrator.sandbox.vertex.run import JobRun

_LOG = logging.getLogger(__name__)
_QUEUED = int(JobState.JOB_STATE_QUEUED)
_PENDING = int(JobState.JOB_STATE_PENDING)
_RUNNING = int(JobState.JOB_STATE_RUNNING)
_CANCELLING = int(JobState.JOB_STATE_CANCELLING)
_CANCELLED = int(JobState.JOB_STATE_CANCELLED)
_EXPIRED = int(JobState.JOB_STATE_EXPIRED)
_SUCCEEDED = int(JobState.JOB_STATE_SUCCEEDED)
#: States that use up the quota.
_HOLDING = frozenset({_PENDING, _RUNNING, _CANCELLING})
_STOP_S = 10.0
#: A machine that was suspended does not count that time in a wait, so none is longer.
_LONGEST_WAIT_S = 60.0
_ALWAYS = datetime.min.replace(tzinfo=UTC)


class JobQueue:
    """All jobs of the face."""

    def __init__(
        self, store: JobStore, train: Train, conduct: VertexConduct, clock: SandboxClock
    ) -> None:
        self._store = store
        self._train = train
        self.conduct = conduct
        self.clock = clock
        self.changed = threading.Condition()
        self._records = store.load()
        self._threads: dict[str, threading.Thread] = {}
        #: When each training began that is under way, on the clock.
        self._began: dict[str, datetime] = {}
        #: For each project, when the places became free that were used before.
        self._freed = freed_places(self._records.values(), conduct.running_quota)
        self._timer: threading.Thread | None = None
        self._changes = 0
        self.stopping = False
        clock.on_advance(self._advanced)

    def start(self) -> None:
        """Take up the jobs that an earlier process left unfinished, and follow the clock."""
        with self.changed:
            self._timer = threading.Thread(target=self._keep_time, daemon=True)
            self._step()
            self._timer.start()

    def stop(self) -> None:
        """Interrupt the trainings and wait for them; they start again at the next start."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
            threads = [*self._threads.values(), *([self._timer] if self._timer else [])]
        for thread in threads:
            thread.join(timeout=_STOP_S)

    def records(self) -> list[JobRecord]:
        """All jobs, newest first, as copies."""
        with self.changed:
            return [one.copy() for one in reversed(self._records.values())]

    def get(self, name: str) -> JobRecord | None:
        """A copy of one job, or None."""
        with self.changed:
            one = self._records.get(name)
            return one and one.copy()

    def add(
        self,
        job: Any,
        *,
        over_quota: Exception | None,
        choose: Callable[[], JobRule | None],
    ) -> JobRecord:
        """Accept a named job and return it as first saved.

        Raises `over_quota`, if given, where the project's quota is used up. `choose` is asked for
        the outcome of a job that is accepted.
        """
        with self.changed:
            sequence = max((one.sequence for one in self._records.values()), default=0) + 1
            record = JobRecord(sequence, job)
            if over_quota is not None:
                active = sum(one.project == record.project for one in self._unfinished())
                if active >= self.conduct.running_quota:
                    raise over_quota
            record.rule = choose()
            now = self.clock.now()
            job.create_time.FromDatetime(now)
            waits = any(one.project == record.project for one in self._waiting())
            slot = None if self.conduct.queued_s or waits else self._take_slot(record.project)
            self._set(record, _QUEUED if slot is None else _PENDING, now)
            self._records[record.name] = record
            answer = record.copy()
            self._step()
            return answer

    def cancel(self, name: str) -> bool:
        """Stop a job that has not ended; returns whether there was one."""
        with self.changed:
            record = self._records.get(name)
            if record is None or record.ended:
                return False
            now = self.clock.now()
            if name not in self._threads:
                self._end(record, cancelled(), now)
                self._step()
            elif record.job.state != _CANCELLING:
                self._set(record, _CANCELLING, now)
            return True

    def wait_for(self, name: str, states: frozenset[int], timeout_s: float) -> Any:
        """The job's message once it is in one of `states`; raises TimeoutError."""
        with self.changed:
            if not self.changed.wait_for(
                lambda: name in self._records and self._records[name].job.state in states,
                timeout=timeout_s,
            ):
                raise TimeoutError(f"{name} reached none of the states {sorted(states)}")
            return self._records[name].copy().job

    def expiry(self, record: JobRecord) -> datetime | None:
        """When a job expires that has not ended until then."""
        if self.conduct.expires_after_s is None:
            return None
        return instant(record.job.create_time) + timedelta(seconds=self.conduct.expires_after_s)

    def wait(self, due: datetime | None) -> None:
        """Wait for a change, at most until `due`. The lock is held."""
        left_s = _LONGEST_WAIT_S
        if due is not None:
            left_s = min(left_s, max(0.0, (due - self.clock.now()).total_seconds()))
        self.changed.wait(left_s)

    def bill(self, name: str, tokens: int) -> None:
        """Keep how many tokens a job is billed for."""
        with self.changed:
            record = self._records[name]
            record.billable_tokens = tokens
            self._store.save(record)

    def _unfinished(self) -> list[JobRecord]:
        return [one for one in self._records.values() if not one.ended]

    def _waiting(self) -> list[JobRecord]:
        return [one for one in self._unfinished() if one.job.state == _QUEUED]

    def _keep_time(self) -> None:
        with self.changed:
            while not self.stopping:
                self.wait(self._step())

    def _advanced(self) -> None:
        with self.changed:
            self._step()
            self.changed.notify_all()

    def _step(self) -> datetime | None:
        """Move every job as far as it is due; returns when the next move is. The lock is held."""
        if self.stopping or self._timer is None:
            return None
        while True:
            before = self._changes
            dues = [self._move(record) for record in self._unfinished()]
            # A job that ended may have left its place to one that was looked at before it.
            if self._changes == before:
                return min((due for due in dues if due is not None), default=None)

    def _move(self, record: JobRecord) -> datetime | None:
        """Move one job as far as it is due; returns when its next move is, if that is known."""
        now, expiry = self.clock.now(), self.expiry(record)
        while record.name not in self._threads:
            state = record.job.state
            if state == _CANCELLING:
                self._end(record, cancelled(), now)
                return None
            if state == _RUNNING:
                self._begin(record, now)
                return None
            stay_s = self.conduct.queued_s if state == _QUEUED else self.conduct.pending_s
            ready = instant(record.job.update_time) + timedelta(seconds=stay_s)
            if expiry is not None and expiry <= min(now, ready):
                self._end(record, Ended(state=_EXPIRED), expiry)
                return None
            if ready > now:
                return ready if expiry is None else min(ready, expiry)
            if state == _PENDING:
                record.job.start_time.FromDatetime(ready)
                self._began[record.name] = ready
                self._set(record, _RUNNING, ready)
                continue
            slot = self._take_slot(record.project)
            if slot is not None:
                self._set(record, _PENDING, max(ready, slot))
            elif expiry is not None and expiry <= now:
                self._end(record, Ended(state=_EXPIRED), expiry)
                return None
            else:
                return expiry
        return None

    def _take_slot(self, project: str) -> datetime | None:
        """Since when a place is free in the project's quota, or None if none is."""
        held = sum(
            one.project == project and one.job.state in _HOLDING for one in self._unfinished()
        )
        if held >= self.conduct.running_quota:
            return None
        freed = self._freed.get(project, [])
        never_used = held + len(freed) < self.conduct.running_quota
        return _ALWAYS if never_used else heapq.heappop(freed)

    def _begin(self, record: JobRecord, now: datetime) -> None:
        # Not there yet if it is taken up after a restart: then the training begins now.
        self._began.setdefault(record.name, now)
        thread = threading.Thread(target=self._run, args=(record,), daemon=True)
        self._threads[record.name] = thread
        thread.start()

    def _run(self, record: JobRecord) -> None:
        run = JobRun(self, record)
        # How long the training really took: what the clock was moved meanwhile does not count.
        began_s = self.clock.elapsed_s() - self.clock.ahead_s
        ended = self._train(record.copy(), run)
        trained_s = self.clock.elapsed_s() - self.clock.ahead_s - began_s
        with self.changed:
            del self._threads[record.name]
            began = self._began.pop(record.name)
            # An interrupted job stays as it is on disk, and starts again from there.
            if not run.interrupted:
                self._end(record, ended, self._ended_at(record, ended, began, trained_s))
            self._step()
            self.changed.notify_all()

    def _ended_at(
        self, record: JobRecord, ended: Ended, began: datetime, trained_s: float
    ) -> datetime:
        now, expiry = self.clock.now(), self.expiry(record)
        if ended.state == _CANCELLED:
            return now
        if ended.state == _EXPIRED and expiry is not None and expiry <= now:
            return max(expiry, began)
        planned = instant(record.job.start_time) + timedelta(seconds=self.conduct.running_s)
        return min(now, max(planned, began + timedelta(seconds=trained_s)))

    def _end(self, record: JobRecord, ended: Ended, at: datetime) -> None:
        job = record.job
        if job.state in _HOLDING:
            heapq.heappush(self._freed.setdefault(record.project, []), at)
        record.differences = ended.differences
        if ended.stats is not None:
            job.tuning_data_stats.supervised_tuning_data_stats.CopyFrom(ended.stats)
        if ended.error_code:
            job.error.code, job.error.message = ended.error_code, ended.error_message
            _LOG.info("%s ended: %s", record.name, ended.error_message)
        if ended.state == _SUCCEEDED:
            parent, _, number = record.name.rpartition("/tuningJobs/")
            job.tuned_model.model = f"{parent}/models/{number}@1"
            job.tuned_model.endpoint = f"{parent}/endpoints/{number}"
        job.end_time.FromDatetime(at)
        self._set(record, ended.state, at)

    def _set(self, record: JobRecord, state: int, at: datetime) -> None:
        record.job.state = state
        record.job.update_time.FromDatetime(at)
        self._store.save(record)
        self._changes += 1
        self.changed.notify_all()
