"""Who serves a sandbox's folder, and where: one process at a time, found by every other one."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson

from orchestrator.errors import InputError
from orchestrator.sandbox.edge.tokens import write_private

_SERVING = "serving.json"
_LOCK = "lock"


@dataclass(frozen=True)
class Serving:
    """A sandbox that is being served: by which process, and how other programs reach it.

    `environment` leads programs to the faces; `control_url` and `token` to the control face.
    """

    folder: str
    pid: int
    control_url: str
    token: str
    environment: dict[str, str]

    def write(self) -> None:
        """Leave it in the folder; only the owner can read it."""
        write_private(Path(self.folder) / _SERVING, orjson.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Serving | None:
        """What the folder says; None if nothing. A process that was killed leaves its own."""
        try:
            return cls(**orjson.loads((folder / _SERVING).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


class FolderLock:
    """Held by the process that serves a folder; the system frees it when the process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises `InputError`, which says who has it, or that none can be made."""
        self._folder = folder
        try:
            self._file: IO[bytes] = (folder / _LOCK).open("ab")
        except OSError as error:
            raise InputError(
                f"{folder} cannot be written: {error.strerror}",
                hint="A sandbox keeps its state there: name a folder that you may write, by --dir.",
            ) from error
        if not _lock(self._file):
            self._file.close()
            raise InputError(
                f"the sandbox in {folder} is being served already{_by(folder)}",
                hint=f"Use that one: orchestrator sandbox env --dir {folder}. "
                "Or give another folder.",
            )

    def release(self) -> None:
        """Let another process serve the folder; nothing says any more that this one does."""
        (self._folder / _SERVING).unlink(missing_ok=True)
        self._file.close()


def _by(folder: Path) -> str:
    serving = Serving.read(folder)
    if serving is None:
        return ""
    return ", by this process" if serving.pid == os.getpid() else f", by process {serving.pid}"


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks (some network drives): better served than not.
            return True
        return True
