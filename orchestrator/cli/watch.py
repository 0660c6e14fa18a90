"""Repeated polling, shared by `submit --watch` and `poll --watch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from orchestrator.cli.printing import note
from orchestrator.cli.session import tell
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.pipeline import Pipeline
from orchestrator.state import Action, RunState

F = TypeVar("F", bound=Callable[..., Any])


def interval_option(function: F) -> F:
    """--interval SECONDS."""
    return click.option(
        "--interval",
        "interval_s",
        type=click.FloatRange(0.1, 86_400.0),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="Time between two polls with --watch.",
    )(function)


def watch(
    pipeline: Pipeline, run_ids: Sequence[str], interval_s: float, clock: Clock = SYSTEM_CLOCK
) -> int:
    """Poll until all of the runs have ended; 1 if one failed or is held. Ctrl-C leaves them be."""
    waiting = list(run_ids)
    failed = False
    shown: dict[str, str] = {}
    try:
        while True:
            for outcome in pipeline.poll(waiting):
                line = f"{outcome.status.state} {outcome.status.reason} {outcome.error or ''}"
                if shown.get(outcome.run_id) != line:
                    tell(outcome)
                    shown[outcome.run_id] = line
                if outcome.status.action is Action.DONE:
                    waiting.remove(outcome.run_id)
                    good = (RunState.PUBLISHED, RunState.COLLECTED)
                    failed = failed or outcome.status.state not in good
            if not waiting:
                return 1 if failed else 0
            clock.sleep(interval_s)
    except KeyboardInterrupt:
        note("interrupted: the jobs go on at the service; go on with: orchestrator poll --watch")
        return 130
