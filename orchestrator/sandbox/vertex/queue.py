"""Moves tuning jobs through their states, each training in a thread of its own.

A job that was running when the process died starts again from the beginning.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any

from google.cloud.aiplatform_v1beta1.types import JobState

from orchestrator.clock import Clock
from orchestrator.sandbox.vertex.jobs import Ended, JobRecord, JobStore, Train

_LOG = logging.getLogger(__name__)
_QUEUED = int(JobState.JOB_STATE_QUEUED)
_PENDING = int(JobState.JOB_STATE_PENDING)
_RUNNING = int(JobState.JOB_STATE_RUNNING)
_CANCELLING = int(JobState.JOB_STATE_CANCELLING)
_CANCELLED = int(JobState.JOB_STATE_CANCELLED)
_SUCCEEDED = int(JobState.JOB_STATE_SUCCEEDED)
_STOP_S = 10.0


class JobQueue:
    """All jobs of the face; at most `running_quota` of a project train at once."""

    def __init__(self, store: JobStore, train: Train, *, running_quota: int, clock: Clock) -> None:
        self._store = store
        self._train = train
        self._quota = running_quota
        self._clock = clock
        self._changed = threading.Condition()
        self._records = store.load()
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = False

    def start(self) -> None:
        """Take up the jobs that an earlier process left unfinished."""
        with self._changed:
            for record in self._records.values():
                if record.job.state == _CANCELLING:
                    self._end(record, Ended(state=_CANCELLED))
                elif not record.ended:
                    record.job.ClearField("start_time")
                    self._set(record, _QUEUED)
            self._schedule()

    def stop(self) -> None:
        """Interrupt the trainings and wait for them; their jobs start again at the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(timeout=_STOP_S)

    def records(self) -> list[JobRecord]:
        """All jobs, newest first, as copies."""
        with self._changed:
            return [
                JobRecord(one.sequence, one.copy(), one.differences)
                for one in reversed(self._records.values())
            ]

    def get(self, name: str) -> JobRecord | None:
        """A copy of one job, or None."""
        with self._changed:
            one = self._records.get(name)
            return one and JobRecord(one.sequence, one.copy(), one.differences)

    def add(self, job: Any, over_quota: Exception | None) -> Any:
        """Accept a named job and return its message as first saved.

        Raises `over_quota`, if given, where the project's quota is used up.
        """
        with self._changed:
            sequence = max((one.sequence for one in self._records.values()), default=0) + 1
            record = JobRecord(sequence, job)
            active = sum(
                one.project == record.project and not one.ended for one in self._records.values()
            )
            if over_quota is not None and active >= self._quota:
                raise over_quota
            job.create_time.FromDatetime(self._clock.now())
            self._set(record, _PENDING if active < self._quota else _QUEUED)
            self._records[record.name] = record
            answer = record.copy()
            self._schedule()
            return answer

    def cancel(self, name: str) -> bool:
        """Stop a job that has not ended; returns whether there was one."""
        with self._changed:
            record = self._records.get(name)
            if record is None or record.ended:
                return False
            if name in self._threads:
                self._set(record, _CANCELLING)
            else:
                self._end(record, Ended(state=_CANCELLED))
            return True

    def wait_for(self, name: str, states: frozenset[int], timeout_s: float) -> Any:
        """The job's message once it is in one of `states`; raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: name in self._records and self._records[name].job.state in states,
                timeout=timeout_s,
            ):
                raise TimeoutError(f"{name} reached none of the states {sorted(states)}")
            return self._records[name].copy()

    def _schedule(self) -> None:
        """Start the oldest waiting jobs that their project's quota allows."""
        if self._stopping:
            return
        running = Counter(self._records[name].project for name in self._threads)
        for record in self._records.values():
            waiting = not record.ended and record.name not in self._threads
            if waiting and running[record.project] < self._quota:
                running[record.project] += 1
                thread = threading.Thread(target=self._run, args=(record,), daemon=True)
                self._threads[record.name] = thread
                if record.job.state != _PENDING:
                    self._set(record, _PENDING)
                thread.start()

    def _run(self, record: JobRecord) -> None:
        with self._changed:
            if record.job.state == _PENDING:
                record.job.start_time.FromDatetime(self._clock.now())
                self._set(record, _RUNNING)
        interrupted = False

        def cancelled() -> bool:
            nonlocal interrupted
            with self._changed:
                interrupted = interrupted or self._stopping
                return interrupted or record.job.state == _CANCELLING

        ended = self._train(record.copy(), cancelled)
        with self._changed:
            del self._threads[record.name]
            # An interrupted job stays as it is on disk, and starts again from there.
            if not interrupted:
                self._end(record, ended)
            self._schedule()

    def _end(self, record: JobRecord, ended: Ended) -> None:
        job = record.job
        record.differences = ended.differences
        if ended.stats is not None:
            job.tuning_data_stats.supervised_tuning_data_stats.CopyFrom(ended.stats)
        if ended.error_code:
            job.error.code, job.error.message = ended.error_code, ended.error_message
            _LOG.info("%s failed: %s", record.name, ended.error_message)
        if ended.state == _SUCCEEDED:
            parent, _, number = record.name.rpartition("/tuningJobs/")
            job.tuned_model.model = f"{parent}/models/{number}@1"
            job.tuned_model.endpoint = f"{parent}/endpoints/{number}"
        job.end_time.FromDatetime(self._clock.now())
        self._set(record, ended.state)

    def _set(self, record: JobRecord, state: int) -> None:
        record.job.state = state
        record.job.update_time.FromDatetime(self._clock.now())
        self._store.save(record)
        self._changed.notify_all()
