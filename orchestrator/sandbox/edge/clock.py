"""The clock of a sandbox: the machine's own, moved forward on request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from orchestrator.clock import SYSTEM_CLOCK, Clock


class SandboxClock:
    """Implements `Clock`. Runs with `base`, and hours pass at once with `advance`.

    Over a `base` that stands still, time moves only by `advance`. Safe for threads.
    """

    def __init__(self, base: Clock = SYSTEM_CLOCK) -> None:
        self._base = base
        self._ahead_s = 0.0
        self._moved = threading.Condition()
        self._listeners: list[Callable[[], None]] = []

    @property
    def ahead_s(self) -> float:
        """How far this clock was moved ahead of its base, in seconds."""
        with self._moved:
            return self._ahead_s

    def now(self) -> datetime:
        return self._base.now() + timedelta(seconds=self.ahead_s)

    def elapsed_s(self) -> float:
        return self._base.elapsed_s() + self.ahead_s

    def sleep(self, seconds: float) -> None:
        """Wait until the clock shows `seconds` more, by itself or because it was moved."""
        until_s = self.elapsed_s() + seconds
        with self._moved:
            while (left_s := until_s - self._base.elapsed_s() - self._ahead_s) > 0:
                self._moved.wait(left_s)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake everyone who waits for it. Time never goes back (ValueError)."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"time cannot pass by {seconds} seconds")
        with self._moved:
            self._ahead_s += seconds
            self._moved.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each `advance`, in the thread that moved the clock."""
        with self._moved:
            self._listeners.append(listener)
