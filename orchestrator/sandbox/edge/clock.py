"""The clock of a sandbox: the machine's own, moved forward on request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import InputError
from orchestrator.sandbox.edge.tokens import write_private


class SandboxClock:
    """Implements `Clock`. Runs with `base`, and hours pass at once with `advance`.

    Over a `base` that stands still, time moves only by `advance`. How far it was moved is kept in
    `file`, if given: what was stamped before a restart is not in the future after it. Safe for
    threads.
    """

    def __init__(self, base: Clock = SYSTEM_CLOCK, file: Path | None = None) -> None:
        self._base = base
        self._file = file
        self._ahead_s = 0.0 if file is None else _kept_s(file)
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
            ahead_s = self._ahead_s + seconds
            if self._file is not None:
                write_private(self._file, orjson.dumps({"ahead_s": ahead_s}))
            self._ahead_s = ahead_s
            self._moved.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each `advance`, in the thread that moved the clock."""
        with self._moved:
            self._listeners.append(listener)


def _kept_s(file: Path) -> float:
    """How far the clock was moved that kept it in `file`; nothing if there is no file."""
    try:
        return float(orjson.loads(file.read_bytes())["ahead_s"])
    except FileNotFoundError:
        return 0.0
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{file} does not say how far the clock of the sandbox was moved",
            hint="Remove it: the clock starts again with the machine's time.",
        ) from error
