"""Wakes what waits in event loops, from any thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator


class Wakers:
    """Wakes the waits of any event loop when there may be more to see. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def wake(self) -> None:
        """Let every wait look again."""
        with self._lock:
            for loop, event in self._waiting:
                # A loop that is closed has no waits left.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(event.set)

    @contextlib.contextmanager
    def woken(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever it is time to look again."""
        one = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(one)
        try:
            yield one[1]
        finally:
            with self._lock:
                self._waiting.discard(one)
