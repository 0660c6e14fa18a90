"""Commands as real processes that are watched line by line, interrupted, or given a terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Self

from tests.pipeline.bench import Bench

#: Far more than any step here needs; whoever waits for so long has hung.
_LONGEST_S = 60.0


def _script(before: str) -> str:
    """The command line after some lines, with Ctrl-C in force even if these tests ignore it."""
    return (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{textwrap.dedent(before)}\nfrom orchestrator.cli import main\nmain()\n"
    )


def environment(bench: Bench) -> dict[str, str]:
    """The settings that lead a process to the bench's sandbox and home."""
    return {
        **os.environ,
        **bench.sandbox.environment(),
        "ORCHESTRATOR_HOME": str(bench.settings.home),
    }


class Command:
    """The command line in a process of its own, after the Python lines `before`."""

    def __init__(self, arguments: list[str], env: dict[str, str], *, before: str = "") -> None:
        code = _script(before)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.err: list[str] = []
        self.out = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_for(self, wanted: str) -> None:
        """Read standard error until a line holds `wanted`."""
        self._read(self._process.stderr, wanted, self.err)

    def wait_for_output(self, wanted: str) -> None:
        """Read standard output until a line holds `wanted`."""
        lines: list[str] = []
        self._read(self._process.stdout, wanted, lines)
        self.out += "".join(lines)

    def interrupt(self) -> int:
        """Send what Ctrl-C sends, and wait for the end; gives the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.end()

    def signal(self) -> None:
        """Send what Ctrl-C sends."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for the end; gives the exit code."""
        out, err = self._process.communicate(timeout=_LONGEST_S)
        self.out += out
        self.err += err.splitlines(keepends=True)
        return self._process.returncode

    @property
    def said(self) -> str:
        """All of standard error so far."""
        return "".join(self.err)

    def _read(self, stream: IO[str] | None, wanted: str, into: list[str]) -> None:
        assert stream is not None
        while line := stream.readline():
            into.append(line)
            if wanted in line:
                return
        raise AssertionError(f"{wanted!r} was never said: {into}")


class Terminal:
    """A command whose streams are a terminal; `shown` is all that it wrote there."""

    def __init__(self, arguments: list[str], env: dict[str, str], *, before: str = "") -> None:
        import pty

        code = _script(before)
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**env, "TERM": "xterm", "COLUMNS": "120"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def wait_for(self, *wanted: str) -> None:
        """Read until all of these were shown."""
        self._read_until(lambda: all(text in self.shown for text in wanted))
        missing = [text for text in wanted if text not in self.shown]
        assert not missing, f"{missing} were never shown: {self.shown!r}"

    def type(self, text: str) -> None:
        """Type on its keyboard."""
        os.write(self._master, text.encode())

    def signal(self) -> None:
        """Send what Ctrl-C sends."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read until it ends; gives the exit code."""
        self._read_until(lambda: False)
        return self._process.wait(timeout=_LONGEST_S)

    def close(self) -> None:
        """End the process, if it has not."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _read_until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            ready, _, _ = select.select([self._master], [], [], _LONGEST_S)
            assert ready, f"nothing more came after {self.shown!r}"
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return  # so a terminal says that nobody is on its other side any more
            if not data:
                return
            self.shown += data.decode("utf-8", errors="replace")


@contextmanager
def terminal(arguments: list[str], env: dict[str, str], *, before: str = "") -> Iterator[Terminal]:
    """A command on a terminal, for as long as the context lasts."""
    made = Terminal(arguments, env, before=before)
    try:
        yield made
    finally:
        made.close()
