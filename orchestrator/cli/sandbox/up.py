"""`orchestrator sandbox up`."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.extras import need_sandbox_extra
from orchestrator.cli.printing import note
from orchestrator.cli.sandbox.options import answers_option, dir_option

if TYPE_CHECKING:
    from orchestrator.sandbox.standins.base import Answers

_PORT = click.IntRange(0, 65535)


@click.command()
@dir_option("Where the state is kept; the folder of a kept rehearsal is served again.")
@click.option(
    "--stand-in",
    type=click.Choice(["tiny", "replay"]),
    help="What is trained in place of the base model. Default: tiny, or as the folder was made.",
)
@answers_option
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML with `faults:` (what shall go wrong), `vertex:` and `jobs:` (how they behave). It "
    "is kept in the folder; without the option, the kept one holds.",
)
@click.option("--storage-port", type=_PORT, default=0, help="0: a free one.")
@click.option("--vertex-port", type=_PORT, default=0, help="0: a free one.")
@click.option("--vertex-rest-port", type=_PORT, default=0, help="0: a free one.")
@click.option("--hub-port", type=_PORT, default=0, help="0: a free one.")
@click.option(
    "--no-token",
    is_flag=True,
    help="Let any program of this machine in, for tools that cannot send a token.",
)
def up(
    folder: Path,
    stand_in: str | None,
    answers: Answers | None,
    config: Path | None,
    storage_port: int,
    vertex_port: int,
    vertex_rest_port: int,
    hub_port: int,
    no_token: bool,
) -> int:
    """Serve until interrupted; prints the settings that lead programs here.

    The first lines on standard output are `export NAME=VALUE`, then `ready`. They hold the tokens
    of this sandbox. Other terminals get them from `orchestrator sandbox env`.
    """
    need_sandbox_extra(trains=False)
    from orchestrator.errors import InputError
    from orchestrator.sandbox.config import load_config
    from orchestrator.sandbox.running import Ports, Sandbox, is_sandbox, load_options

    folder = folder.absolute()
    if folder.exists() and not is_sandbox(folder) and (folder.is_file() or any(folder.iterdir())):
        raise InputError(f"{folder} is not a sandbox", hint="Name an empty or a new folder.")
    options = load_options(folder)
    if stand_in:
        options = dataclasses.replace(options, stand_in=stand_in)
    if answers:
        training = dataclasses.replace(options.training, answers=answers)
        options = dataclasses.replace(options, training=training)
    if config:
        options = dataclasses.replace(options, config=load_config(config))
    ports = Ports(
        storage=storage_port, vertex=vertex_port, vertex_rest=vertex_rest_port, hub=hub_port
    )
    sandbox = Sandbox(folder, options, ports=ports, need_token=not no_token)
    stop = threading.Event()
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, lambda *_: stop.set())
    with sandbox:
        for name, value in sandbox.environment().items():
            click.echo(f"export {name}={shlex.quote(value)}")
        click.echo("ready")
        note(f"the sandbox in {folder} is being served; stop it with Ctrl-C")
        stop.wait()
    return 0
