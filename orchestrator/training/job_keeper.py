"""Keeps checkpoints on the branch while the training goes on, and the rest at its end."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orchestrator.training.job_branch import Branch, BranchProblem
    from orchestrator.training.job_kept import (
        files_below,
        finished_files,
        hold,
        hold_growing,
        obsolete,
    )
else:
    from job_branch import Branch, BranchProblem
    from job_kept import files_below, finished_files, hold, hold_growing, obsolete

#: What kept files are called that are no checkpoint.
PROGRESS, REST = "progress", "rest"
SHORT_WAIT_S = 1.0


class Tell(Protocol):
    """Reports an event."""

    def __call__(self, event: str, **fields: object) -> None: ...


class Keeper:
    """Uploads from a thread of its own to `prefix` on the branch; the newest checkpoint wins.

    What grows (metrics, predictions) goes up with each checkpoint, and by itself every `every_s`
    seconds. An upload that fails is told, and the work goes on.
    """

    def __init__(
        self, branch: Branch, prefix: str, output: Path, tell: Tell, *, every_s: float
    ) -> None:
        self._branch = branch
        self._prefix = prefix
        self._output = output
        self._tell = tell
        self._every_s = every_s
        output.parent.mkdir(parents=True, exist_ok=True)
        # Beside the output: on the same file system, where a second name costs no bytes.
        self._held = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
        self._changed = threading.Condition()
        self._pending: tuple[str, Path] | None = None
        self._rounds = 0
        self._growing: dict[str, bytes] = {}
        self._closing = False
        self._hurry = False
        self._final_kept = False
        # A daemon: an upload that hangs must not outlive the job's time.
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def offer(self, name: str) -> None:
        """Keep a checkpoint that is whole; one that still waits is passed over for it."""
        self.keep(name, self.hold(name))

    def hold(self, name: str) -> Path | None:
        """Give a checkpoint second names, so that the trainer may delete its own; None if not."""
        self._rounds += 1
        held = self._held / str(self._rounds)
        try:
            hold(self._output / name, held / name)
            hold_growing(self._output, held)
        except OSError as error:
            self._tell("not_kept", prefix=self._prefix, what=name, message=str(error))
            return None
        return held

    def keep(self, name: str, held: Path | None) -> None:
        """Have what `hold` gave uploaded."""
        if held is None:
            return
        with self._changed:
            passed_over, self._pending = self._pending, (name, held)
            self._changed.notify()
        if passed_over is not None:
            shutil.rmtree(passed_over[1], ignore_errors=True)

    def finish(self, left_s: Callable[[], float | None]) -> bool:
        """Keep what waits, then all else that is in the output; whether the latter succeeded.

        `left_s` says how many seconds there are yet, None for as many as it takes.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        while self._thread.is_alive():
            left = left_s()
            if left is not None:
                with self._changed:
                    self._hurry = True
                    self._changed.notify()
                if left <= 0:
                    self._tell(
                        "not_kept", prefix=self._prefix, what=REST, message="the time was over"
                    )
                    return False
            self._thread.join(0.2 if left is None else min(0.2, left))
        shutil.rmtree(self._held, ignore_errors=True)
        return self._final_kept

    # --- In the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        due_s = time.monotonic() + self._every_s
        while True:
            with self._changed:
                while self._pending is None and not self._closing:
                    left_s = due_s - time.monotonic()
                    if left_s <= 0:
                        break
                    self._changed.wait(left_s)
                waiting, self._pending = self._pending, None
                closing = self._closing
            if waiting is not None:
                what, held = waiting
                self._keep(what, dict(files_below(held)))
                shutil.rmtree(held, ignore_errors=True)
            elif closing:
                self._final_kept = self._keep(REST, finished_files(self._output))
                return
            else:
                self._keep_growing()
            due_s = time.monotonic() + self._every_s

    def _keep_growing(self) -> None:
        held = self._held / PROGRESS
        try:
            hold_growing(self._output, held)
        except OSError as error:
            self._tell("not_kept", prefix=self._prefix, what=PROGRESS, message=str(error))
            return
        files = dict(files_below(held))
        content = {name: file.read_bytes() for name, file in files.items()}
        if content != self._growing and self._keep(PROGRESS, files):
            self._growing = content

    def _keep(self, what: str, files: Mapping[str, Path]) -> bool:
        began = time.monotonic()
        try:
            revision = self._branch.put(
                self._prefix,
                files,
                lambda paths: obsolete(paths, self._prefix),
                title=f"{self._prefix}: {what}",
                wait=self._wait,
            )
        except BranchProblem as error:
            self._tell("not_kept", prefix=self._prefix, what=what, message=str(error))
            return False
        self._tell(
            "kept",
            prefix=self._prefix,
            what=what,
            revision=revision,
            files=len(files),
            seconds=round(time.monotonic() - began, 3),
        )
        return True

    def _wait(self, seconds: float) -> bool:
        """Wait before the next try; whether something newer waits already.

        Short pauses once time is short: whoever waits for the end gives up by the clock.
        """
        with self._changed:
            hurry = self._hurry
            self._changed.wait_for(
                lambda: self._pending is not None or self._hurry != hurry,
                min(seconds, SHORT_WAIT_S) if hurry else seconds,
            )
            return self._pending is not None
