"""Request retries: seconds long, for transient errors of idempotent requests only.

Never wrap a call of an SDK that retries by itself, and never a call that creates a job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import Ambiguous

T = TypeVar("T")


class _Wait(tenacity.wait.wait_base):
    """Exponential with jitter, but never shorter than the server's Retry-After."""

    def __init__(self) -> None:
        self._backoff = tenacity.wait_exponential_jitter(initial=0.5, max=8.0, jitter=0.5)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        wait_s = self._backoff(retry_state)
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, Ambiguous) else None
        return max(wait_s, asked_s or 0.0)


class _TotalTime(tenacity.stop.stop_base):
    """Stop if the next wait would end after the total time."""

    def __init__(self, total_s: float, clock: Clock) -> None:
        self._clock = clock
        self._end_s = clock.elapsed_s() + total_s

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return self._clock.elapsed_s() + retry_state.upcoming_sleep > self._end_s


def retry_request(
    call: Callable[[], T],
    *,
    attempts: int = 5,
    total_s: float = 60.0,
    clock: Clock = SYSTEM_CLOCK,
) -> T:
    """Run an idempotent request, again after each `Ambiguous`, capped in attempts and in time."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Ambiguous),
        wait=_Wait(),
        stop=tenacity.stop_any(tenacity.stop_after_attempt(attempts), _TotalTime(total_s, clock)),
        sleep=clock.sleep,
        reraise=True,
    ):
        with attempt:
            return call()
    raise AssertionError("unreachable: tenacity re-raises the last error")
