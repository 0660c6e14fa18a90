"""Progress for people: bars and a running clock on a terminal, lines now and then elsewhere.

What is told in lines (`printing.note`) is told in both places, so a log misses nothing.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.cli.interrupts import Interrupts
from orchestrator.cli.printing import duration, note
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.progress import Moved

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

#: More lines than these would push everything else off the screen.
_MOST_LINES = 8
#: Whoever reads a log is told so often that something is still waited for.
_TOLD_EVERY_S = 5.0


@dataclass(frozen=True)
class Waiting:
    """A run that is waited for: what it does, and since when."""

    text: str
    since: datetime | None


class Display:
    """Implements `Reporter` for the command line. `quiet` draws nothing on a terminal either."""

    def __init__(
        self, interrupts: Interrupts, *, quiet: bool = False, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._interrupts = interrupts
        self._clock = clock
        # There is no such stream where whoever started this has closed it.
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        self.draws = not quiet and on_terminal and os.environ.get("TERM") != "dumb"
        self._drawn: Progress | None = None
        self._told_s = clock.elapsed_s()

    def tell(self, line: str) -> None:
        """A line on standard error; above what is drawn there, if anything is."""
        self._told_s = self._clock.elapsed_s()
        if self._drawn is None:
            note(line)
        else:
            self._drawn.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def transfer(self, doing: str, size_bytes: int) -> Iterator[Moved]:
        """A bar with the rate and the time left."""
        if not self.draws:
            yield lambda _: self._interrupts.check()
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bars = self._bars(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with bars:
            task = bars.add_task(doing, total=size_bytes)

            def moved(moved_bytes: int) -> None:
                self._interrupts.check()
                bars.advance(task, moved_bytes)

            yield moved

    @contextmanager
    def waiting(self, waiting_for: str) -> Iterator[None]:
        """A clock that runs; lines that are told meanwhile appear above it.

        Where nothing is drawn, a line says that it goes on, whenever nothing else was told.
        """
        if not self.draws:
            with self._told_in_lines(waiting_for):
                yield
            return
        from rich.progress import SpinnerColumn, TextColumn

        with self._bars(
            SpinnerColumn(), TextColumn("{task.description}"), _since(self._clock)
        ) as bars:
            bars.add_task(waiting_for, total=None, since=self._clock.now())
            self._drawn = bars
            try:
                yield
            finally:
                self._drawn = None

    @contextmanager
    def _told_in_lines(self, waiting_for: str) -> Iterator[None]:
        ended, since_s = threading.Event(), self._clock.elapsed_s()
        self._told_s = since_s

        def tell() -> None:
            left_s = _TOLD_EVERY_S
            while not ended.wait(left_s):
                now_s = self._clock.elapsed_s()
                left_s = self._told_s + _TOLD_EVERY_S - now_s
                if left_s <= 0:
                    left_s = _TOLD_EVERY_S
                    self.tell(f"{waiting_for}: {duration(now_s - since_s)} so far")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    def unbroken(self, waiting_for: str) -> AbstractContextManager[None]:
        """The first Ctrl-C waits for the end of the context."""
        return self._interrupts.held_back(waiting_for)

    def pause(self, runs: Sequence[Waiting], seconds: float) -> None:
        """Wait, and show meanwhile what is waited for."""
        self._interrupts.check()  # one may have come where Python drops what is raised
        if not self.draws or not runs:
            self._clock.sleep(seconds)
            return
        from rich.progress import SpinnerColumn, TextColumn

        with self._bars(
            SpinnerColumn(), TextColumn("{task.description}"), _since(self._clock)
        ) as b:
            for run in runs[:_MOST_LINES]:
                b.add_task(run.text, total=None, since=run.since)
            if len(runs) > _MOST_LINES:
                b.add_task(f"… and {len(runs) - _MOST_LINES} more", total=None, since=None)
            self._clock.sleep(seconds)

    @functools.cached_property
    def _console(self) -> Console:
        """One for all: bars that are drawn inside each other must know of each other."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    def _bars(self, *columns: ProgressColumn) -> Progress:
        from rich.progress import Progress

        return Progress(
            *columns,
            console=self._console,
            transient=True,
            get_time=self._clock.elapsed_s,
        )


def _since(clock: Clock) -> ProgressColumn:
    """A column with the time since `since`."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Since(ProgressColumn):
        def render(self, task: Task) -> Text:
            since: datetime | None = task.fields["since"]
            if since is None:
                return Text("")
            return Text(duration((clock.now() - since).total_seconds()))

    return Since()
