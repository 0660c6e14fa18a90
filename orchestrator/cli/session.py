"""What the commands that need the ledger open, and close again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.cli.interrupts import Interrupts
from orchestrator.cli.printing import note
from orchestrator.cli.progress import Display
from orchestrator.connections import Connections
from orchestrator.ledger import Ledger
from orchestrator.pipeline import Outcome, Pipeline
from orchestrator.settings import Settings
from orchestrator.state import Action, RunState, Status

#: Of more runs than these, the next command names none: it then takes all.
_MOST_NAMED = 4


@dataclass(frozen=True)
class Session:
    """Everything that a command works with."""

    settings: Settings
    ledger: Ledger
    connections: Connections
    pipeline: Pipeline
    display: Display


@contextmanager
def open_session(settings: Settings | None = None, *, quiet: bool = False) -> Iterator[Session]:
    """The pipeline over the ledger that the settings name; it tells what happens on stderr.

    `quiet` leaves the lines, but draws no bars.
    """
    settings = settings or Settings.from_env()
    _fill_standard_streams()
    with Interrupts() as interrupts:
        display = Display(interrupts, quiet=quiet)
        ledger = Ledger(settings.ledger_url)
        try:
            connections = Connections(settings)
            pipeline = Pipeline(
                settings, ledger, connections, notify=_note_if_read, reporter=display
            )
            yield Session(settings, ledger, connections, pipeline, display)
        finally:
            ledger.close()


@contextmanager
def open_pipeline(settings: Settings | None = None) -> Iterator[tuple[Pipeline, Ledger]]:
    """Pipeline and ledger of a session, for commands that need no more."""
    with open_session(settings) as session:
        yield session.pipeline, session.ledger


def _fill_standard_streams() -> None:
    """Keep files from taking the numbers of streams that are closed: libraries write to those."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _note_if_read(line: str) -> None:
    """A line about what happens. Work does not stop because nobody reads it any more."""
    with contextlib.suppress(OSError):
        note(line)


def tell(outcome: Outcome) -> None:
    """One line on where a run stands, and what kept it from going on."""
    reason = f": {outcome.status.reason}" if outcome.status.reason else ""
    note(f"{outcome.run_id}: {outcome.status.state}{reason}")
    if outcome.error is not None:
        note(f"warning: {outcome.run_id}: {outcome.error}")


def next_command(run_id: str, found: Status) -> str:
    """What a person would run next for a run that stands so."""
    if found.state is RunState.UNCERTAIN:
        return f"orchestrator resolve {run_id} --launched JOB_NAME | --not-launched"
    if found.state is RunState.FAILED:
        # Of what was trained elsewhere only a job of answers can have logged something.
        return f"orchestrator {'logs' if found.tuned or not found.adopted else 'show'} {run_id}"
    if found.state is RunState.CANCELLED:
        # What is trained is paid for, and can be judged by answers from elsewhere.
        if found.unjudged:
            return f"orchestrator evaluate {run_id} --predictions FILE"
        return f"orchestrator show {run_id}" if found.tuned else "orchestrator submit SPEC --again"
    if found.action is Action.DONE:
        return f"orchestrator show {run_id}"
    return f"orchestrator poll --watch {run_id}"


def tell_interrupted(run_ids: Sequence[str]) -> int:
    """Say how to go on after Ctrl-C; gives the exit code."""
    names = " ".join(run_ids) if len(run_ids) <= _MOST_NAMED else ""
    note("interrupted: jobs at the service go on")
    note(f"  go on:  orchestrator poll --watch {names}".rstrip())
    note(f"  cancel: orchestrator cancel {names if len(run_ids) == 1 else 'RUN'}")
    return 130
