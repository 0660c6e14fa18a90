"""Ctrl-C: stops at once, except where an answer is awaited that must not be lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

_STDERR = 2


class Interrupts:
    """Takes SIGINT inside its context, where Python itself would have taken it.

    Work in other threads asks `check` now and then, so that it ends as soon as the main thread.
    """

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._waiting_for = ""
        self._previous: Any = None

    def __enter__(self) -> Self:
        mine = threading.current_thread() is threading.main_thread()
        # Whoever ignores SIGINT (a job in the background), or handles it, has a reason.
        if mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if one came, in whatever thread this is."""
        if self._wanted.is_set() and not self._waiting_for:
            raise KeyboardInterrupt

    @contextmanager
    def held_back(self, waiting_for: str) -> Iterator[None]:
        """Let the first interruption wait until the end of the context."""
        self._waiting_for = waiting_for
        try:
            yield
        finally:
            self._waiting_for = ""
        self.check()

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        first = not self._wanted.is_set()
        self._wanted.set()
        if first and self._waiting_for:
            # Not through Python's streams: the signal may have come in the middle of a write.
            text = f"interrupted: waiting for {self._waiting_for}; Ctrl-C again stops at once\n"
            os.write(_STDERR, text.encode())
            return
        raise KeyboardInterrupt
