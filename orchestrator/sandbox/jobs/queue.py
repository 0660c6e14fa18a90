"""Moves jobs through their stages by the clock, each running in a thread of its own.

A job that ran when the process died is in ERROR from the next start on; one that waited goes on.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import JobRule
from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.jobs.process import is_of_job, kill_group
from orchestrator.sandbox.jobs.records import JobRecord, JobStore, Stage
from orchestrator.sandbox.jobs.runner import TIMED_OUT, Ended, Run

_LOG = logging.getLogger(__name__)
#: Runs a job until it ends or is told to stop. Never raises.
RunJob = Callable[[JobRecord, Mapping[str, str], Run], Ended]
LOST = "The machine of the job was lost: the sandbox ended while it ran."
_STOP_S = 10.0
#: A machine that was suspended does not count that time in a wait, so none is longer.
_LONGEST_WAIT_S = 60.0


class JobsQueue:
    """All jobs of the face. `wake` is called after every change."""

    def __init__(
        self,
        store: JobStore,
        run: RunJob,
        conduct: JobsConduct,
        clock: SandboxClock,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._run = run
        self.conduct = conduct
        self.clock = clock
        self._wake = wake
        self.changed = threading.Condition(threading.RLock())
        self._records = store.load()
        #: The jobs whose machine is still busy, whatever their stage.
        self._threads: dict[str, threading.Thread] = {}
        #: Those that could not start when they were ready, because there was no place.
        self._waited: set[str] = set()
        self._timer: threading.Thread | None = None
        self.stopping = False
        clock.on_advance(self.tell)

    def start(self) -> None:
        """Give up what ran in an earlier process, and follow the clock."""
        with self.changed:
            for record in list(self._records.values()):
                if record.stage is Stage.RUNNING:
                    if record.process_group and is_of_job(record.process_group, record.id):
                        kill_group(record.process_group, record.id)
                    self._end(record.id, Ended(Stage.ERROR, LOST))
                    self._store.remove_work(record.id)
            self._timer = threading.Thread(target=self._keep_time, daemon=True)
            self._timer.start()

    def stop(self) -> None:
        """End the jobs that run, and wait for them; what waits goes on at the next start."""
        with self.changed:
            self.stopping = True
            threads = [*self._threads.values(), *([self._timer] if self._timer else [])]
            self.tell()
        for thread in threads:
            thread.join(timeout=_STOP_S)

    def tell(self) -> None:
        """Let whoever waits look again."""
        with self.changed:
            self.changed.notify_all()
        self._wake()

    def records(self) -> list[JobRecord]:
        """All jobs, newest first."""
        with self.changed:
            return list(reversed(self._records.values()))

    def get(self, job_id: str) -> JobRecord | None:
        """One job, or None."""
        with self.changed:
            return self._records.get(job_id)

    def add(
        self,
        make: Callable[[int, datetime], JobRecord],
        secrets: Mapping[str, str],
        choose: Callable[[JobRecord], JobRule | None],
    ) -> JobRecord:
        """Accept a job and return it as first saved. `choose` is asked for its outcome."""
        with self.changed:
            sequence = max((one.sequence for one in self._records.values()), default=0) + 1
            record = make(sequence, self.clock.now())
            record = record.model_copy(update={"rule": choose(record)})
            try:
                self._store.keep_secrets(record.id, secrets)
                self._store.save(record)
            except OSError:
                # What is not written down is not accepted.
                self._store.forget(record.id)
                raise
            self._hold(record)
            return record

    def cancel(self, job_id: str) -> JobRecord:
        """Stop a job unless it has ended; returns it as it is then. Raises KeyError."""
        with self.changed:
            if not self._records[job_id].ended:
                self._end(job_id, Ended(Stage.CANCELED))
            return self._records[job_id]

    def change(self, job_id: str, **update: Any) -> JobRecord:
        """Set fields of a job and keep it. Raises KeyError."""
        with self.changed:
            record = self._records[job_id].model_copy(update=update)
            self._save(record)
            return record

    def is_quiet(self, job_id: str) -> bool:
        """Whether nothing will come of a job any more: it has ended, and its machine is free."""
        with self.changed:
            record = self._records.get(job_id)
            return record is None or (record.ended and job_id not in self._threads)

    def wait_for(self, is_so: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something is so; the lock is held while it is asked."""
        with self.changed:
            return self.changed.wait_for(is_so, timeout=timeout_s)

    def wait(self, due: datetime | None) -> None:
        """Wait for a change, at most until `due`. The lock is held."""
        left_s = _LONGEST_WAIT_S
        if due is not None:
            left_s = min(left_s, max(0.0, (due - self.clock.now()).total_seconds()))
        self.changed.wait(left_s)

    def timeout_of(self, record: JobRecord) -> datetime | None:
        """When a job that runs is stopped."""
        if record.started_at is None:
            return None
        timeout_s = record.request.timeout_s or self.conduct.default_timeout_s
        try:
            return record.started_at + timedelta(seconds=timeout_s)
        except OverflowError:  # the wire takes numbers that are thousands of centuries
            return None

    def _keep_time(self) -> None:
        with self.changed:
            while not self.stopping:
                self.wait(self._step())

    def _step(self) -> datetime | None:
        """Start every job that is due; returns when the next one is. The lock is held."""
        if self.stopping:
            return None
        now, dues = self.clock.now(), []
        held = Counter(self._records[job_id].namespace for job_id in self._threads)
        for record in list(self._records.values()):
            if record.stage is not Stage.SCHEDULING:
                continue
            ready = record.created_at + timedelta(seconds=self.conduct.scheduling_s)
            if ready > now:
                dues.append(ready)
            elif held[record.namespace] < self.conduct.running_quota:
                held[record.namespace] += 1
                self._begin(record, now if record.id in self._waited else ready)
            else:
                self._waited.add(record.id)
        return min(dues, default=None)

    def _begin(self, record: JobRecord, at: datetime) -> None:
        update = {"stage": Stage.RUNNING, "started_at": at}
        try:
            secrets = self._store.take_secrets(record.id)
        except (OSError, ValueError) as error:
            # One job that cannot start must not keep the others from it.
            _LOG.warning("the secrets of the job %s cannot be read: %r", record.id, type(error))
            self._end(record.id, Ended(Stage.ERROR, "The secrets of the job cannot be read."))
            return
        record = record.model_copy(update=update)
        thread = threading.Thread(target=self._work, args=(record, secrets), daemon=True)
        self._threads[record.id] = thread
        self._save(record)
        thread.start()

    def _work(self, record: JobRecord, secrets: Mapping[str, str]) -> None:
        ended = self._run(record, secrets, JobRun(self, record))
        with self.changed:
            del self._threads[record.id]
            found = {"differences": ended.differences, "exit_code": ended.exit_code}
            if ended.command:
                found["command"] = ended.command
            self.change(record.id, **found)
            if not self._records[record.id].ended:
                lost = self.stopping and ended.stage is Stage.CANCELED
                self._end(record.id, Ended(Stage.ERROR, LOST) if lost else ended)
            self.tell()

    def _end(self, job_id: str, ended: Ended) -> None:
        record = self._records[job_id]
        at = self.clock.now()
        timeout = self.timeout_of(record)
        if ended.message == TIMED_OUT and timeout is not None:
            at = min(at, timeout)
        self._store.forget_secrets(job_id)
        update = {"stage": ended.stage, "message": ended.message, "finished_at": at}
        self._save(record.model_copy(update={**update, "process_group": None}))

    def _save(self, record: JobRecord) -> None:
        try:
            self._store.save(record)
        except OSError as error:
            # This process knows what became of the job; the next one will call it lost.
            _LOG.warning("the job %s cannot be written down: %s", record.id, error.strerror)
        self._hold(record)

    def _hold(self, record: JobRecord) -> None:
        self._records[record.id] = record
        self.tell()


class JobRun:
    """Implements `Run` for one job of a queue."""

    def __init__(self, queue: JobsQueue, record: JobRecord) -> None:
        self._queue = queue
        self._id = record.id
        self._timeout = queue.timeout_of(record)
        started = record.started_at or queue.clock.now()
        self._planned_end = started + timedelta(seconds=queue.conduct.running_s)

    def stop_stage(self) -> Stage | None:
        with self._queue.changed:
            record = self._queue.get(self._id)
            if record is None or record.stage is Stage.CANCELED or self._queue.stopping:
                return Stage.CANCELED
            over = self._timeout is not None and self._timeout <= self.now()
            return Stage.ERROR if over else None

    def wait(self, done: Callable[[], bool]) -> None:
        with self._queue.changed:
            while not done() and self.stop_stage() is None:
                self._queue.wait(self._timeout)

    def wait_stopped(self, done: Callable[[], bool], until: datetime) -> None:
        with self._queue.changed:
            while not (done() or self._queue.stopping) and self.now() < until:
                self._queue.wait(until)

    def wait_out(self, *, forever: bool) -> None:
        def over() -> bool:
            return not forever and self._planned_end <= self.now()

        with self._queue.changed:
            while not over() and self.stop_stage() is None:
                dues = [self._timeout, None if forever else self._planned_end]
                self._queue.wait(min((due for due in dues if due is not None), default=None))

    def now(self) -> datetime:
        return self._queue.clock.now()

    def started(self, group: int, command: tuple[str, ...]) -> None:
        self._queue.change(self._id, process_group=group, command=command)

    def is_closing(self) -> bool:
        return self._queue.stopping

    def failed_once(self) -> None:
        record = self._queue.get(self._id)
        if record is not None:
            self._queue.change(self._id, failure_count=record.failure_count + 1)

    def changed(self) -> None:
        self._queue.tell()
