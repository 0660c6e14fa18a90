"""Ctrl-C: stops at once, except where an answer is awaited that must not be lost."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

_STDERR = 2
_ALONE = (signal.SIGINT,)


class _Arrivals:
    """Which signals came, for any thread to ask.

    Python runs a handler only when the main thread goes on. A signal that comes just before that
    thread waits for a lock does not end its waiting, so the handler alone may never hear of it.
    """

    def __init__(self, numbers: frozenset[int]) -> None:
        self._numbers = numbers
        self._some = False
        # A socket and not a pipe: once closed, it never stands for another file's number.
        self._read, self._written = socket.socketpair()
        for end in (self._read, self._written):
            end.setblocking(False)
        self._before = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)

    def any(self) -> bool:
        """Whether one of the signals came since this was made."""
        with suppress(OSError):  # nothing new, or closed
            # Python writes here what it handles elsewhere too.
            if not self._numbers.isdisjoint(self._read.recv(64)):
                self._some = True
        return self._some

    def close(self) -> None:
        signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
        self._read.close()
        self._written.close()


class Interrupts:
    """Takes SIGINT inside its context, where Python itself would have taken it.

    Work in other threads asks `check` now and then, so that it ends as soon as the main thread.
    `ending` takes SIGTERM and SIGHUP too, for commands with processes that would outlive them.
    """

    def __init__(self, *, ending: bool = False) -> None:
        self._wanted = threading.Event()
        self._waiting_for = ""
        self._numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if ending else _ALONE
        self._previous: dict[int, Any] = {}
        self._arrivals: _Arrivals | None = None

    def __enter__(self) -> Self:
        mine = threading.current_thread() is threading.main_thread()
        for number in self._numbers if mine else ():
            # Whoever ignores a signal (SIGINT: a job in the background), or handles it, has a
            # reason.
            if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                self._previous[number] = signal.signal(number, self._take)
        if self._previous:
            self._arrivals = _Arrivals(frozenset(self._previous))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._arrivals is not None:
            self._arrivals.close()
        while self._previous:
            signal.signal(*self._previous.popitem())

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if one came, in whatever thread this is."""
        if self._came() and not self._waiting_for:
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

    def _came(self) -> bool:
        return self._wanted.is_set() or (self._arrivals is not None and self._arrivals.any())

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        first = not self._wanted.is_set()
        self._wanted.set()
        if first and self._waiting_for:
            # Not through Python's streams: the signal may have come in the middle of a write.
            text = f"interrupted: waiting for {self._waiting_for}; Ctrl-C again stops at once\n"
            os.write(_STDERR, text.encode())
            return
        raise KeyboardInterrupt
