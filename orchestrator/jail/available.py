"""Finds what the jail is made of on this machine, and tries whether it holds, once."""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import lru_cache
from pathlib import Path

from orchestrator.jail import watching
from orchestrator.jail.command import folder_of
from orchestrator.jail.limits import Limits
from orchestrator.jail.running import Jail
from orchestrator.jail.verdicts import JailUnavailable

#: Tries every bound from inside and prints the names of those that do not hold.
_TRIAL = r"""
import errno, json, os, socket

def refused(wanted, *errors):
    try:
        wanted()
    except OSError as error:
        return error.errno in errors
    return False

def crowd():
    hold, out = os.pipe()
    children = []
    try:
        while len(children) < LIMITS["processes"]:
            child = os.fork()
            if not child:
                os.close(out)
                os.read(hold, 1)
                os._exit(0)
            children.append(child)
    finally:
        os.close(out)
        for child in children:
            os.waitpid(child, 0)

def hoard():
    try:
        bytearray(LIMITS["process_memory_bytes"])
    except MemoryError:
        raise OSError(errno.ENOMEM, "") from None

def writable():
    return [one for one in ("/", "/usr", "/dev", "/jail", "/etc") if os.access(one, os.W_OK)]

room = os.statvfs("/tmp")
held = {
    "no network": refused(lambda: socket.socket(socket.AF_INET), errno.EAFNOSUPPORT),
    "no further namespaces": refused(lambda: os.unshare(0x10000000), errno.EPERM)
    if hasattr(os, "unshare") else True,
    "bounded processes": refused(crowd, errno.EAGAIN),
    "bounded memory": refused(hoard, errno.ENOMEM),
    "bounded /tmp": room.f_frsize * room.f_blocks <= LIMITS["temporary_bytes"],
    "a system that is read-only": not writable(),
    "processes of its own": os.getppid() == 1 and os.getpid() < 10,
    "no user's folder": not any(os.path.exists(one) for one in ("/home", "/root/.ssh", "/proc")),
    "no rights of root": os.getuid() != 0,
}
print(json.dumps([name for name, holds in held.items() if not holds]))
"""


@lru_cache(maxsize=1)
def jail() -> Jail:
    """The jail of this machine, tried. Raises `JailUnavailable` with the reason and what to do."""
    if sys.platform != "linux":
        raise JailUnavailable(
            "programs are run in a jail of bubblewrap, which is there on Linux alone;"
            " nothing was run"
        )
    bwrap = shutil.which("bwrap", path=os.environ.get("PATH", os.defpath))
    if bwrap is None:
        raise JailUnavailable(
            "programs are run in a jail, and bubblewrap (bwrap) is not installed; nothing was run",
            hint="apt-get install bubblewrap, or your system's package of that name",
        )
    if not watching.can_watch():
        raise JailUnavailable(
            "memory of the jail cannot be watched: the kernel tells no children of processes"
            " (CONFIG_PROC_CHILDREN); nothing was run"
        )
    return _first_that_holds(bwrap)


def _first_that_holds(bwrap: str) -> Jail:
    failure: JailUnavailable | None = None
    for python in _pythons():
        found = Jail(bwrap, python)
        try:
            _try(found)
        except JailUnavailable as error:
            failure = failure or error
        else:
            return found
    raise failure or JailUnavailable("there is no Python for the jail; nothing was run")


def _pythons() -> list[Path]:
    """This Python without its environment, then the system's: the jail's user may not reach ours.

    A home folder is closed to others, and root's jail is run by another user.
    """
    here = getattr(sys, "_base_executable", None) or sys.executable
    names = (here, "/usr/bin/python3", "/usr/local/bin/python3")
    found = dict.fromkeys(Path(one).resolve() for one in names if Path(one).is_file())
    return [one for one in found if not _shows_home(one)]


def _shows_home(python: Path) -> bool:
    """Whether the folder that holds this Python's libraries holds the user's own files too.

    One that was installed with the home folder as its prefix: all of the prefix is seen inside.
    """
    prefix, home = folder_of(python), Path(os.path.expanduser("~")).resolve()  # noqa: PTH111
    return prefix is not None and (home.is_relative_to(prefix) or prefix == home / ".local")


def _try(found: Jail) -> None:
    limits = Limits(process_memory_bytes=256 * 1024**2)
    bounds = {
        "processes": limits.processes,
        "process_memory_bytes": limits.process_memory_bytes,
        "temporary_bytes": limits.temporary_bytes,
    }
    outcome = found.run(f"LIMITS = {bounds!r}\n{_TRIAL}", limits=limits)
    if not outcome.passed:
        raise JailUnavailable(
            f"the jail could not be tried ({outcome.verdict}{' ' * bool(outcome.exception)}"
            f"{outcome.exception}), so nothing was run"
        )
    lacking = json.loads(outcome.stdout)
    if lacking:
        raise JailUnavailable(
            f"the jail does not hold here, so nothing was run; it lacks: {', '.join(lacking)}",
            hint="Limits of processes inside a user namespace need Linux 5.14 or newer.",
        )
