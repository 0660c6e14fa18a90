"""The command line of bubblewrap: what a program in the jail sees of the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.jail.limits import Limits

#: Where the jail's own program stands inside.
INSIDE = "/jail/inside.py"
_SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/libx32")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_UID = "1000"
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "TMPDIR": "/tmp",  # noqa: S108 (the jail's own)
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
}


@dataclass(frozen=True)
class Handed:
    """Numbers of the pipes that bubblewrap and the program inside are given."""

    inside: int
    syscalls: int
    information: int
    questions: int
    answers: int

    @property
    def all(self) -> tuple[int, ...]:
        """All of them, to be left open when the command starts."""
        return (self.inside, self.syscalls, self.information, self.questions, self.answers)


def command(bwrap: str, python: Path, limits: Limits, handed: Handed) -> list[str]:
    """Everything up to the last argument; nothing of it comes from a program.

    The root, /dev and all of the system are read-only; what can be written is /tmp alone, of a
    bounded size. There is no /proc and no /sys, no network, no home folder and no terminal.
    """
    line = [bwrap, "--unshare-all", "--unshare-user", "--uid", _UID, "--gid", _UID]
    line += ["--hostname", "jail", "--die-with-parent", "--new-session"]
    line += ["--seccomp", str(handed.syscalls), "--info-fd", str(handed.information)]
    line += _system(python)
    line += ["--size", "65536", "--tmpfs", "/dev"]
    for name in _DEVICES:
        line += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    line += ["--symlink", "/tmp", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108 (inside)
    line += ["--ro-bind-data", str(handed.inside), INSIDE]
    line += ["--size", str(limits.temporary_bytes), "--tmpfs", "/tmp"]  # noqa: S108 (inside)
    line += ["--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]  # noqa: S108 (inside)
    for name, value in _ENVIRONMENT.items():
        line += ["--setenv", name, value]
    # No site-packages and no user's folder: programs have the standard library.
    line += ["--", str(python), "-s", "-S", "-B", INSIDE]
    return [*line, str(handed.questions), str(handed.answers)]


def _system(python: Path) -> list[str]:
    """/usr and what belongs to it, as the machine has it; and Python's own folder elsewhere."""
    line = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            line += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            line += ["--ro-bind", name, name]
    line += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    prefix = folder_of(python)
    if prefix is not None:
        line += ["--ro-bind", os.fspath(prefix), os.fspath(prefix)]
    return line


def folder_of(python: Path) -> Path | None:
    """The folder of a Python that is no part of the system; all of it is seen inside."""
    prefix = python.parent.parent
    return None if Path("/usr") in python.parents or prefix == Path("/") else prefix
