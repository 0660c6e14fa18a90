"""Options that the commands of `audit` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.ledger import Ledger
from orchestrator.run_folders import run_folder
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.audits import Audits

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class AuditedRun:
    """A run, the folder of its files, and what works on its audits."""

    id: str
    folder: Path
    ledger: Ledger
    audits: Audits


@contextmanager
def open_run(name: str) -> Iterator[AuditedRun]:
    """The run of a name. No service and no store is asked."""
    from orchestrator.audits import Audits

    settings = Settings.from_env()
    ledger = Ledger(settings.ledger_url)
    try:
        run_id = ledger.resolve_id(name)
        folder = run_folder(settings, run_id)
        yield AuditedRun(run_id, folder, ledger, Audits(ledger, SYSTEM_CLOCK))
    finally:
        ledger.close()


def condition_option(function: F) -> F:
    """--condition NAME."""
    return click.option(
        "--condition",
        metavar="NAME",
        default="tuned",
        show_default=True,
        help="Whose answers: tuned, base, few-shot, published.",
    )(function)


def draw_options(function: F) -> F:
    """-n and --seed."""
    function = click.option(
        "--seed",
        type=click.IntRange(0, 2**32),
        default=0,
        show_default=True,
        help="The same seed and number draw the same answers, for all reviewers.",
    )(function)
    return click.option(
        "-n",
        "count",
        type=click.IntRange(1, 100_000),
        default=30,
        show_default=True,
        metavar="N",
        help="So many answers, in proportion to right and wrong ones and to slices.",
    )(function)
