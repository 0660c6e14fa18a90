"""`orchestrator audit`."""

from __future__ import annotations

import click

from orchestrator.cli.audit.judge import judge
from orchestrator.cli.audit.record import record
from orchestrator.cli.audit.sample import sample
from orchestrator.cli.audit.show import show


@click.group()
def command() -> None:
    """Let people, or a judge model, score answers of an evaluated run from 0 to 5.

        orchestrator audit sample RUN -n 30        # a file to fill in

        orchestrator audit record RUN FILE --reviewer NAME

        orchestrator audit show RUN

    Answers stay on this machine: the ledger gets keys of rows and scores, the card their figures
    and no name.
    """


for _subcommand in (sample, record, judge, show):
    command.add_command(_subcommand)
