"""What the commands that need the ledger open, and close again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.cli.printing import note
from orchestrator.connections import Connections
from orchestrator.ledger import Ledger
from orchestrator.pipeline import Outcome, Pipeline
from orchestrator.settings import Settings


@contextmanager
def open_pipeline(settings: Settings | None = None) -> Iterator[tuple[Pipeline, Ledger]]:
    """The pipeline over the ledger that the settings name; it tells what happens on stderr."""
    settings = settings or Settings.from_env()
    ledger = Ledger(settings.ledger_url)
    try:
        yield Pipeline(settings, ledger, Connections(settings), notify=note), ledger
    finally:
        ledger.close()


def tell(outcome: Outcome) -> None:
    """One line on where a run stands, and what kept it from going on."""
    reason = f": {outcome.status.reason}" if outcome.status.reason else ""
    note(f"{outcome.run_id}: {outcome.status.state}{reason}")
    if outcome.error is not None:
        note(f"warning: {outcome.run_id}: {outcome.error}")
