"""Runs one command, and leaves nothing of it behind: not even where the sandbox itself is killed.

Run as a file in a process of its own, with a descriptor and the command. The descriptor is one end
of a pipe whose other end the sandbox holds: when that is closed, by the sandbox or because it has
died, everything that the command started is killed. The same happens when the command ends. Uses
the standard library only, for it starts with every job.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

_SIGNALLED = 128
_NOT_FOUND = 127
#: From `linux/prctl.h`: processes whose parent has died become children of this one.
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.005


def main(descriptor: int, command: list[str]) -> int:
    """Run the command to its end; returns its exit code, or 128 and the signal that ended it."""
    os.set_inheritable(descriptor, False)
    _adopt_orphans()
    # Set before the command is there: whoever asks it to end is heard.
    asked: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        _send(child, number)

    signal.signal(signal.SIGTERM, pass_on)
    child = 0
    try:
        child = os.posix_spawn(command[0], command, os.environ, setpgroup=0)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return _NOT_FOUND
    for got in asked:
        _send(child, got)
    threading.Thread(target=_kill_when_closed, args=(descriptor, child), daemon=True).start()
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            break
    pause = threading.Event()
    while _has_children():
        _kill_all(child)
        pause.wait(_LOOK_S)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _SIGNALLED - code


def _adopt_orphans() -> None:
    """Keep in sight what detaches itself; only Linux can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_when_closed(descriptor: int, child: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(descriptor, 1):
            pass
    pause = threading.Event()
    while True:
        _kill_all(child)
        pause.wait(_LOOK_S)


def _has_children() -> bool:
    """Whether any child is left; those that have ended are taken leave of."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _kill_all(child: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    for pid in _descendants():
        _send(pid, signal.SIGKILL)


def _descendants() -> list[int]:
    """The processes below this one; none where nothing tells."""
    children: dict[int, list[int]] = {}
    folders = Path("/proc").iterdir() if sys.platform == "linux" else ()
    for folder in folders:
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # Behind the name, which may hold spaces: the state, and the parent.
                parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(folder.name))
    found: list[int] = []
    below = [os.getpid()]
    while below:
        below = [pid for parent in below for pid in children.get(parent, [])]
        found += below
    return found


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        if pid:
            os.kill(pid, number)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2:]))
