"""`orchestrator sandbox`."""

from __future__ import annotations

import click

from orchestrator.cli.sandbox.env import env
from orchestrator.cli.sandbox.faults import faults
from orchestrator.cli.sandbox.steering import clock, status
from orchestrator.cli.sandbox.up import up


@click.group()
def command() -> None:
    """Cloud Storage, Vertex tuning, the Hub and its Jobs as local servers.

    They speak the wire protocols of the real services, so that this program and others run
    against them unchanged. They listen on 127.0.0.1 only.

        orchestrator sandbox up                    # in one terminal

        eval "$(orchestrator sandbox env)"         # in another one
    """


for _subcommand in (up, env, faults, clock, status):
    command.add_command(_subcommand)
