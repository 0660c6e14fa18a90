"""One command as a process group of its own, of which nothing is left in the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.sandbox.jobs.logs import LONGEST_LINE_BYTES

_GUARD = Path(__file__).with_name("guard.py")
#: For the last lines of what has been killed.
_DRAIN_S = 5.0


class JobProcess:
    """Runs a command; `on_output` gets what it says, `on_exit` is called at its end.

    Pieces are lines with their end, or as much of a longer one as is taken at once. Both are
    called in threads of their own. Between this process and the command is a guard, which ends
    whatever the command started, also when this process dies. Raises `OSError` where nothing can
    be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        on_output: Callable[[bytes], None],
        on_exit: Callable[[], None],
    ) -> None:
        self._job_id = environment["JOB_ID"]
        self._on_output, self._on_exit = on_output, on_exit
        watched, self._held = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(watched), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(environment),
                pass_fds=(watched,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._held)
            raise
        finally:
            os.close(watched)
        self._releasing = threading.Lock()
        self.group = self._process.pid
        #: The exit code, once the command has ended and nothing of it is left.
        self.code: int | None = None
        self._pump = threading.Thread(target=self._read, daemon=True)
        self._watch = threading.Thread(target=self._wait, daemon=True)
        self._pump.start()
        self._watch.start()

    def terminate(self) -> None:
        """Ask the command to end: it alone is asked, as the first process of a container is."""
        # The guard passes it on.
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End everything that the command started, at once."""
        with self._releasing:
            if self._held >= 0:
                os.close(self._held)
                self._held = -1
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_DRAIN_S)
        # Where the guard itself was killed.
        kill_group(self.group, self._job_id)

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended, at most so long in the machine's own time."""
        self._watch.join(timeout_s)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 (it was asked for)
        with self._process.stdout as said, contextlib.suppress(ValueError):
            while piece := said.readline(LONGEST_LINE_BYTES):
                self._on_output(piece)

    def _wait(self) -> None:
        code = self._process.wait()
        self.kill()
        self._pump.join(_DRAIN_S)
        self.code = code
        self._on_exit()


def kill_group(group: int, job_id: str) -> None:
    """End a process group, and on Linux whatever else carries the job's id."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    for pid in _carriers(job_id):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def is_of_job(group: int, job_id: str) -> bool:
    """Whether a process group that was written down is still that of the job."""
    return any(_group_of(pid) == group for pid in _carriers(job_id))


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def _carriers(job_id: str) -> list[int]:
    """The processes whose environment names the job; none where nothing tells."""
    if sys.platform != "linux":
        return []
    wanted = f"JOB_ID={job_id}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def cpu_ticks_and_memory_bytes(job_id: str) -> tuple[int, int]:
    """What the processes of a job have used of the processor so far, and their memory now."""
    ticks = size_bytes = 0
    for pid in _carriers(job_id):
        with contextlib.suppress(OSError, IndexError, ValueError):
            # Behind the name, which may hold spaces: utime and stime are the 12th and 13th.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            size_bytes += pages * os.sysconf("SC_PAGE_SIZE")
    return ticks, size_bytes
