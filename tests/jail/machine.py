"""The machine around the jail: what must be as it was when a program has ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.jail.available import jail
from orchestrator.jail.running import Jail
from orchestrator.jail.session import UNPRIVILEGED_UID
from orchestrator.jail.verdicts import JailUnavailable

SECRET = "hf_neverInsideTheJail0123456789"
_CANARY = "a file of the user's\n"
_PR_SET_CHILD_SUBREAPER = 36


def jail_or_skip() -> Jail:
    """The jail; where the machine has no walls to build one of, the test is skipped."""
    try:
        return jail()
    except JailUnavailable as error:
        if _walls_are_there():
            raise
        pytest.skip(error.message)


def _walls_are_there() -> bool:
    """Whether bubblewrap works here: then a jail that does not hold is a mistake of ours."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return False
    line = [bwrap, "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "/bin/true"]
    user = UNPRIVILEGED_UID if os.geteuid() == 0 else None
    return subprocess.run(line, user=user, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def orphans_adopted() -> Iterator[None]:
    """Let what loses its parent be a child of this process instead of the system's first one."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@dataclass(frozen=True)
class Machine:
    """A folder with a file, somebody who listens in three ways, and a process."""

    folder: Path
    listeners: tuple[socket.socket, ...]
    port: int
    abstract: str
    process: subprocess.Popen[bytes]
    hostname: str
    before: frozenset[int]

    @property
    def canary(self) -> Path:
        """The file that nobody may read or change."""
        return self.folder / "canary"

    def assert_unharmed(self) -> None:
        """Nothing changed, nobody called, nothing is left running."""
        assert [one.name for one in self.folder.iterdir()] == ["canary"]
        assert self.canary.read_text() == _CANARY
        assert self.canary.stat().st_nlink == 1
        for listener in self.listeners:
            with pytest.raises(BlockingIOError):
                listener.accept()
        assert self.process.poll() is None
        assert _state(self.process.pid) in "SR"
        assert socket.gethostname() == self.hostname
        # Orphans of ours come to us (see below): only the canary process may be new.
        assert below(os.getpid()) - self.before == {self.process.pid}


@contextlib.contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder that any user may read and write, so that only the jail is in the way."""
    with tempfile.TemporaryDirectory(prefix="around-the-jail-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A machine to be left as it was."""
    abstract = f"\0jail-canary-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(orphans_adopted())
        before = frozenset(below(os.getpid()))  # other tests' own, that serve all of them
        folder = stack.enter_context(open_to_all())
        (folder / "canary").write_text(_CANARY)
        (folder / "canary").chmod(0o666)
        listeners = [
            stack.enter_context(socket.socket(family, kind))
            for family, kind in (
                (socket.AF_INET, socket.SOCK_STREAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
            )
        ]
        listeners[0].bind(("127.0.0.1", 0))
        listeners[1].bind(abstract)
        for listener in listeners:
            listener.listen()
            listener.setblocking(False)
        process = stack.enter_context(
            subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: S607
        )
        stack.callback(process.kill)
        port = listeners[0].getsockname()[1]
        name = socket.gethostname()
        yield Machine(folder, tuple(listeners), port, abstract, process, name, before)


def below(pid: int) -> set[int]:
    """All processes that descend from one, those that only wait to be buried apart."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found.update(children)
        waiting += children
    return found


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
