"""The log of a job: JSON lines in a file, and the stream of events that clients read."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import orjson

from orchestrator.clock import Clock
from orchestrator.sandbox.hub.wire import instant

#: The service puts no limit on a line that is known; a stream must hold no gigabytes.
LONGEST_LINE_BYTES = 1 << 20
KEEP_ALIVE = b": keep-alive\n\n"
#: Values shorter than this are words that any log may hold.
_LEAST_SECRET = 8
_MASK = "***"


class JobLog:
    """Takes the lines of one job. Safe for threads. `secrets` are masked in every line.

    `masked` says whether that ever was necessary.
    """

    def __init__(
        self, file: Path, clock: Clock, changed: Callable[[], None], secrets: Sequence[str] = ()
    ) -> None:
        self._file = file.open("ab")
        file.chmod(0o600)
        self._clock = clock
        self._changed = changed
        self._secrets = [one for one in secrets if len(one) >= _LEAST_SECRET]
        self._lock = threading.Lock()
        self.masked = False

    def append(self, text: str) -> None:
        """Add a line, with the time."""
        for secret in self._secrets:
            if secret in text:
                self.masked = True
                text = text.replace(secret, _MASK)
        line = {"data": text, "timestamp": instant(self._clock.now())}
        with self._lock:
            if self._file.closed:
                return
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()
        self._changed()

    def close(self) -> None:
        """Take no more lines."""
        with self._lock:
            self._file.close()


class Wakers:
    """Wakes the streams of any event loop when there may be more to send. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def wake(self) -> None:
        """Let every stream look again."""
        with self._lock:
            for loop, event in self._waiting:
                # A loop that is closed has no streams left.
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


async def log_events(
    file: Path,
    ended: Callable[[], bool],
    wakers: Wakers,
    *,
    keep_alive_s: float,
    tail: int | None = None,
) -> AsyncIterator[bytes]:
    """The log as server-sent events, from its beginning or its last lines until `ended`."""
    offset = 0
    with wakers.woken() as woken:
        while True:
            woken.clear()
            # Asked first: what was written before the end is read after it.
            last = ended()
            lines, offset = _lines_from(file, offset)
            if tail is not None:
                lines, tail = lines[len(lines) - min(tail, len(lines)) :], None
            for line in lines:
                yield b"data: " + line + b"\n\n"
            if last:
                return
            try:
                await asyncio.wait_for(woken.wait(), keep_alive_s)
            except TimeoutError:
                yield KEEP_ALIVE


def _lines_from(file: Path, offset: int) -> tuple[list[bytes], int]:
    """The whole lines from an offset on, and where the next one begins."""
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            found = stream.read()
    except FileNotFoundError:
        return [], offset
    whole = found[: found.rfind(b"\n") + 1]
    return whole.splitlines(), offset + len(whole)
