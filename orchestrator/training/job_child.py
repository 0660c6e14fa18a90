"""Runs a script as a child process, and passes on what it says and what it is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

_TICK_S = 0.2
#: How long what the child left in its pipe may take to arrive once it has ended.
_DRAIN_S = 5.0


class Time:
    """How much time there is yet: as much as it takes, until a signal comes."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._until_s: float | None = None
        self.signal: int | None = None

    def is_short(self, signum: int) -> None:
        """Count down from now on; a second signal gives no more time."""
        if self._until_s is None:
            self.signal = signum
            self._until_s = time.monotonic() + self._grace_s

    def left_s(self) -> float | None:
        """Seconds until the end; None for as many as it takes."""
        return None if self._until_s is None else self._until_s - time.monotonic()

    def left_to_child_s(self) -> float | None:
        """The same for the child: a third of it, the rest is for uploading what it leaves."""
        left = self.left_s()
        return None if left is None else left - self._grace_s * 2 / 3


class Child:
    """A script that runs; each line of its standard output goes to `on_line`, as it comes."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[bytes], None],
    ) -> None:
        self._on_line = on_line
        # In this process's group: whoever kills that leaves no training behind.
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._read, name="child's output", daemon=True)
        self._reader.start()

    def pass_on(self, signum: int) -> None:
        """Send a signal on; nothing happens if the child has ended."""
        self._process.send_signal(signum)

    def wait(self, left_s: Callable[[], float | None]) -> int:
        """Its exit code, as a shell tells it; killed when there is no time left."""
        while True:
            try:
                code = self._process.wait(_TICK_S)
                break
            except subprocess.TimeoutExpired:
                left = left_s()
                if left is not None and left <= 0:
                    self._process.kill()
        # Something that the child started may still hold the pipe.
        self._reader.join(_DRAIN_S)
        return 128 - code if code < 0 else code

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 (it was asked for above)
        for line in stdout:
            try:
                self._on_line(line)
            except Exception as error:  # else the child would wait at a full pipe for ever
                sys.stderr.write(f"job.py: a line was passed over: {type(error).__name__}\n")


class Output:
    """Standard output: whole lines, one at a time, at once; never a token among them."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._lock = threading.Lock()

    def clean(self, line: bytes) -> bytes:
        """A whole line without the token."""
        clean = line.replace(self._secret, b"[token]")
        return clean if clean.endswith(b"\n") else clean + b"\n"

    def write(self, line: bytes) -> None:
        """Write a line."""
        whole = self.clean(line)
        with self._lock:
            try:
                sys.stdout.buffer.write(whole)
                sys.stdout.buffer.flush()
            except OSError:
                pass  # nobody reads any more, which is no reason to stop a training


def catch(handler: Callable[[int], None]) -> None:
    """Have SIGTERM (timeout, cancel) and SIGINT (a person) handled."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: handler(signum))
