"""The only module that reads the time or sleeps, so that tests can drive both."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time as the program sees it."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        ...

    def elapsed_s(self) -> float:
        """Seconds on a clock that never goes back and that counts suspension of the machine.

        Leases are checked on it: a laptop that slept through its lease must notice.
        """
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed_s(self) -> float:
        # On Linux CLOCK_MONOTONIC stops during suspension and CLOCK_BOOTTIME does not;
        # elsewhere the monotonic clock counts it or there is nothing better.
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
