"""Memory of all that is in a jail, read from /proc of the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
#: An inode and its name in a tmpfs, rounded up.
_FILE_BYTES = 2048


def can_watch() -> bool:
    """Whether the kernel tells the children of a process."""
    return (_PROC / "self" / "task" / str(os.getpid()) / "children").is_file()


def memory_bytes(first: int) -> int:
    """Memory in use by a process and all below it, as resident pages, and by what is in its /tmp.

    What processes share after a fork counts for each of them: rather too much than too little.
    """
    return sum(_resident(pid) for pid in _tree(first)) + _temporary(first)


def offer_to_the_kernel(first: int) -> None:
    """Let the kernel end these processes first when the machine runs out of memory."""
    for pid in _tree(first):
        with contextlib.suppress(OSError):
            (_PROC / str(pid) / "oom_score_adj").write_text("1000")


def _tree(first: int) -> Iterator[int]:
    waiting, seen = [first], set[int]()
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        yield pid
        # A process, or a thread of it, that ended meanwhile has no children here.
        with contextlib.suppress(OSError):
            for thread in (_PROC / str(pid) / "task").iterdir():
                with contextlib.suppress(OSError):
                    waiting += map(int, (thread / "children").read_text().split())


def _temporary(first: int) -> int:
    """Files in memory: what they hold, and what the kernel keeps of each, which no size bounds."""
    with contextlib.suppress(OSError):
        room = os.statvfs(_PROC / str(first) / "root" / "tmp")
        used = (room.f_blocks - room.f_bfree) * room.f_frsize
        return used + (room.f_files - room.f_ffree) * _FILE_BYTES
    return 0


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
    return 0
