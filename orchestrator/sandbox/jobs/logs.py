"""The log of a job: JSON lines in a file, and the stream of events that clients read."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import orjson

from orchestrator.clock import Clock
from orchestrator.sandbox.edge.waking import Wakers
from orchestrator.sandbox.hub.wire import instant

#: The service puts no limit on a line that is known; a stream must hold no gigabytes.
LONGEST_LINE_BYTES = 1 << 20
#: A log may be larger than what is fit to be held at once.
_READ_BYTES = 1 << 18
KEEP_ALIVE = b": keep-alive\n\n"
#: Values shorter than this are words that any log may hold.
_LEAST_SECRET = 8
_MASK = b"***"


class JobLog:
    """Takes the lines of one job. Safe for threads. `secrets` are masked in every line.

    `masked` says whether that ever was necessary, `broken` why no more lines are taken.
    """

    def __init__(
        self, file: Path, clock: Clock, changed: Callable[[], None], secrets: Sequence[str] = ()
    ) -> None:
        self._file = file.open("ab")
        file.chmod(0o600)
        self._clock = clock
        self._changed = changed
        self._secrets = _masked_parts(secrets)
        self._lock = threading.Lock()
        self._held = b""
        self.masked = False
        self.broken: OSError | None = None

    def append(self, text: str) -> None:
        """Add a line, with the time."""
        self._write(self._mask(text.encode("utf-8", "replace")))

    def take(self, piece: bytes) -> None:
        """Add output as it comes: a line with its end, or a part of a very long one."""
        line = self._mask(self._held + piece)
        if line.endswith(b"\n"):
            self._held = b""
            self._write(line)
            return
        if len(line) < LONGEST_LINE_BYTES:
            self._held = line
            return
        # A secret may have begun, or a character: their rest comes with the next piece.
        cut = max(0, len(line) - max(map(len, self._secrets), default=1))
        while cut and line[cut] & 0xC0 == 0x80:  # inside a character
            cut -= 1
        self._held = line[cut:]
        if cut:
            self._write(line[:cut])

    def end_line(self) -> None:
        """Nothing more comes of a line that was begun."""
        held, self._held = self._held, b""
        if held:
            self._write(held)

    def close(self) -> None:
        """Take no more lines."""
        with self._lock, contextlib.suppress(OSError):
            self._file.close()

    def _mask(self, line: bytes) -> bytes:
        for secret in self._secrets:
            if secret in line:
                self.masked = True
                line = line.replace(secret, _MASK)
        return line

    def _write(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        value = {"data": text, "timestamp": instant(self._clock.now())}
        with self._lock:
            if self._file.closed or self.broken is not None:
                return
            try:
                self._file.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
                self._file.flush()
            except OSError as error:
                self.broken = error
        self._changed()


def _masked_parts(secrets: Sequence[str]) -> list[bytes]:
    """The secrets and, of those with several lines, each line: output comes in lines."""
    parts = {part for one in secrets for part in (one, *one.splitlines())}
    long = [one.encode("utf-8", "replace") for one in parts if len(one) >= _LEAST_SECRET]
    return sorted(long, key=len, reverse=True)


async def log_events(
    file: Path,
    ended: Callable[[], bool],
    wakers: Wakers,
    *,
    keep_alive_s: float,
    tail: int | None = None,
) -> AsyncIterator[bytes]:
    """The log as server-sent events, from its beginning or its last lines until `ended`."""
    offset = 0 if tail is None else _offset_of_tail(file, tail)
    with wakers.woken() as woken:
        while True:
            woken.clear()
            # Asked first: what was written before the end is read after it.
            last = ended()
            lines, offset = _lines_from(file, offset)
            if lines:
                yield b"".join(b"data: " + line + b"\n\n" for line in lines)
                continue
            if last:
                return
            try:
                await asyncio.wait_for(woken.wait(), keep_alive_s)
            except TimeoutError:
                yield KEEP_ALIVE


def _offset_of_tail(file: Path, count: int) -> int:
    """Where the last whole lines of a file begin."""
    starts: deque[int] = deque(maxlen=count + 1)
    starts.append(0)
    with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                starts.append(starts[-1] + len(line))
    return starts[0]


def _lines_from(file: Path, offset: int) -> tuple[list[bytes], int]:
    """Some of the whole lines from an offset on, and where the next one begins."""
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            found = stream.read(_READ_BYTES) + stream.readline()
    except FileNotFoundError:
        return [], offset
    whole = found[: found.rfind(b"\n") + 1]
    return whole.splitlines(), offset + len(whole)
