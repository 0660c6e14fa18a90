"""The processes and pipes of one run; everything that was started is gone at the end of `with`."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.errors import CheckFailed
from orchestrator.jail import watching
from orchestrator.jail.command import Handed, command
from orchestrator.jail.conversation import Conversation
from orchestrator.jail.limits import Limits
from orchestrator.jail.pipes import Pipes
from orchestrator.jail.syscall_filter import syscall_filter
from orchestrator.jail.verdicts import JailUnavailable

#: Who runs the jail where the user is root: root's processes are counted by no limit. The number
#: belongs to nobody (Debian and systemd leave it free), and programs see another one.
UNPRIVILEGED_UID = 65533
_END_TIMEOUT_S = 60.0
_INSIDE = Path(__file__).with_name("inside.py")
_FIRST = re.compile(rb'"child-pid"\s*:\s*(\d+)')


class Session:
    """One jail while it runs. The program begins only when there is a hold on all of it."""

    #: How long to wait for something to happen, and between two looks at the memory.
    LOOK_S = 0.02

    def __init__(
        self, bwrap: str, python: Path, limits: Limits, talk: Conversation, stdin: bytes
    ) -> None:
        self.stdout = self.stderr = b""
        self.output_bytes = self.memory_bytes = 0
        self._command = (bwrap, python, limits)
        self._talk = talk
        self._most = limits.output_bytes
        self._pipes = Pipes()
        self._stdin = stdin
        self._told = b""  # what bubblewrap tells of itself
        self._first: int | None = None  # the first process of the jail, by the machine's numbers
        self._hold: int | None = None  # on it: with it everything inside ends

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._pipes.close()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        try:
            self._end()
        finally:
            self._pipes.close()
            if self._hold is not None:
                os.close(self._hold)

    @property
    def code(self) -> int | None:
        """How the jail ended; None while it runs."""
        return self._process.poll()

    def turn(self) -> bool:
        """Read and write what can be, after a short wait; whether there was anything to read."""
        heard = False
        for key, data in self._pipes.turn(self.LOOK_S if self.code is None else 0.0):
            heard = True
            match key:
                case "answers":
                    self._pipes.send("questions", self._talk.hear(data))
                case "facts":
                    self._told += data
                    self._take_hold()
                case "stdout":
                    self.stdout += data[: self._most - len(self.stdout)]
                    self.output_bytes += len(data)
                case "stderr":
                    self.stderr += data[: self._most - len(self.stderr)]
                    self.output_bytes += len(data)
        return heard

    def end(self) -> None:
        """End everything inside, and read what is left in the pipes: nobody can add to it."""
        self._end()
        while self.turn():
            pass

    def look(self) -> int:
        """Bytes of memory that the jail uses now."""
        now = watching.memory_bytes(self._first) if self._first is not None else 0
        self.memory_bytes = max(self.memory_bytes, now)
        return now

    def _start(self) -> None:
        bwrap, python, limits = self._command
        pipes = self._pipes
        handed = Handed(
            inside=pipes.filled(_INSIDE.read_bytes()),
            syscalls=pipes.filled(syscall_filter()),
            information=pipes.to_read("facts"),
            questions=pipes.to_write("questions"),
            answers=pipes.to_read("answers"),
        )
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        uid = UNPRIVILEGED_UID
        other: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": []} if root else {}
        stdin, stdout, stderr = (
            pipes.to_write("stdin"),
            pipes.to_read("stdout"),
            pipes.to_read("stderr"),
        )
        try:
            self._process = subprocess.Popen(
                command(bwrap, python, limits, handed),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=handed.all,
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
                start_new_session=True,  # Ctrl-C is for us, and this ends with us
                **other,
            )
        except OSError as error:
            raise JailUnavailable(
                f"bubblewrap could not be started, so nothing was run: {error}"
            ) from error
        pipes.close_theirs()
        pipes.send("stdin", self._stdin)
        pipes.finish("stdin")
        pipes.hold_back("answers")

    def _take_hold(self) -> None:
        """Keep hold of the jail's first process, and only then let the program in."""
        found = _FIRST.search(self._told)
        if found is None or self._hold is not None:
            return
        first = int(found[1])
        with contextlib.suppress(OSError):  # it is gone already: bubblewrap says why
            self._hold = os.pidfd_open(first)
            self._first = first
            watching.offer_to_the_kernel(first)
            self._pipes.let_in("answers")

    def _end(self) -> None:
        """End everything inside; an end of the first process waits for that of all others."""
        if self._hold is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._hold, signal.SIGKILL)
        self._process.kill()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise _stays() from None
        if self._hold is not None:
            gone = select.poll()
            gone.register(self._hold, select.POLLIN)
            if not gone.poll(_END_TIMEOUT_S * 1000):
                raise _stays()


def _stays() -> CheckFailed:
    return CheckFailed(
        "a program in the jail could not be ended",
        hint="Its processes may hang in the kernel; look for them with `ps` before going on.",
    )
