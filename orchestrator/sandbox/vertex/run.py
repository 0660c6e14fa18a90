"""A job's time on the training machines, counted on the clock of its queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from google.cloud.aiplatform_v1beta1.types import JobState

from orchestrator.sandbox.vertex.jobs import JobRecord, instant

if TYPE_CHECKING:
    from orchestrator.sandbox.vertex.queue import JobQueue

_CANCELLING = int(JobState.JOB_STATE_CANCELLING)
_CANCELLED = int(JobState.JOB_STATE_CANCELLED)
_EXPIRED = int(JobState.JOB_STATE_EXPIRED)
#: In so many steps the log of a job is shown that has more planned time than its training took.
_LOG_STEPS = 20


class JobRun:
    """Implements `Run` for one job of a queue."""

    def __init__(self, queue: JobQueue, record: JobRecord) -> None:
        self._queue = queue
        self._record = record
        self._start = instant(record.job.start_time)
        self._planned_s = queue.conduct.running_s
        self.interrupted = False

    def stop_state(self) -> int | None:
        with self._queue.changed:
            self.interrupted = self.interrupted or self._queue.stopping
            if self.interrupted or self._record.job.state == _CANCELLING:
                return _CANCELLED
            expiry = self._queue.expiry(self._record)
            return _EXPIRED if expiry is not None and expiry <= self._queue.clock.now() else None

    def share(self) -> float:
        passed_s = (self._queue.clock.now() - self._start).total_seconds()
        return min(1.0, passed_s / self._planned_s) if self._planned_s else 1.0

    def bill(self, tokens: int) -> None:
        self._queue.bill(self._record.name, tokens)

    def wait_out(self, tick: Callable[[float], None], *, forever: bool) -> None:
        while True:
            share = self.share()
            # Outside the lock: it may write to the storage.
            tick(share)
            with self._queue.changed:
                if self.stop_state() is not None or (share >= 1 and not forever):
                    return
                self._queue.wait(self._next_look(share))

    def _next_look(self, share: float) -> datetime | None:
        """When there is more of the log to show, or the time is over."""
        looks = [self._queue.expiry(self._record)]
        if share < 1:
            # A little more, or rounding would find the same step again.
            step = int(share * _LOG_STEPS + 1e-6) + 1
            looks.append(self._start + timedelta(seconds=self._planned_s * step / _LOG_STEPS))
        return min((look for look in looks if look is not None), default=None)
