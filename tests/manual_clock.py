"""A clock that tests drive: nothing waits, and hours pass at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class ManualClock:
    """Implements `Clock`. `sleeps` holds what was slept, in seconds."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._elapsed_s = 1000.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return self._now

    def elapsed_s(self) -> float:
        return self._elapsed_s

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
        self._elapsed_s += seconds

    def set(self, now: datetime) -> None:
        """Move the wall clock; time that passes forward counts as elapsed."""
        self._elapsed_s += max(0.0, (now - self._now).total_seconds())
        self._now = now
