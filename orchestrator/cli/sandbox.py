"""`orchestrator sandbox`."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import threading
from pathlib import Path

import click

from orchestrator.cli.extras import need_sandbox_extra
from orchestrator.cli.printing import note


@click.group()
def command() -> None:
    """Cloud Storage, Vertex tuning and the Hub as local servers.

    They speak the wire protocols of the real services, so that this program and others run
    against them unchanged. They listen on 127.0.0.1 only.
    """


@command.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("sandbox"),
    show_default=True,
    help="Where the state is kept; the folder of a kept rehearsal is served again.",
)
@click.option(
    "--stand-in",
    type=click.Choice(["tiny", "replay"]),
    help="What is trained in place of the base model. Default: tiny, or as the folder was made.",
)
@click.option("--storage-port", type=click.IntRange(0, 65535), default=0, help="0: a free one.")
@click.option("--vertex-port", type=click.IntRange(0, 65535), default=0, help="0: a free one.")
@click.option("--hub-port", type=click.IntRange(0, 65535), default=0, help="0: a free one.")
def up(
    folder: Path, stand_in: str | None, storage_port: int, vertex_port: int, hub_port: int
) -> int:
    """Serve until interrupted; prints the settings that lead programs here.

    The first lines on standard output are `export NAME=VALUE`, then `ready`.
    """
    need_sandbox_extra(trains=False)
    from orchestrator.errors import InputError
    from orchestrator.sandbox.running import Sandbox, is_sandbox, load_options

    folder = folder.absolute()
    if folder.exists() and not is_sandbox(folder) and (folder.is_file() or any(folder.iterdir())):
        raise InputError(f"{folder} is not a sandbox", hint="Name an empty or a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    options = load_options(folder)
    if stand_in:
        options = dataclasses.replace(options, stand_in=stand_in)
    sandbox = Sandbox(
        folder, options, storage_port=storage_port, vertex_port=vertex_port, hub_port=hub_port
    )
    stop = threading.Event()
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, lambda *_: stop.set())
    with sandbox:
        for name, value in sandbox.environment().items():
            click.echo(f"export {name}={shlex.quote(value)}")
        # A kept rehearsal has its ledger beside the servers' state.
        if (folder / "home").is_dir():
            click.echo(f"export ORCHESTRATOR_HOME={shlex.quote(str(folder / 'home'))}")
        click.echo("ready")
        note(f"the sandbox in {folder} is being served; stop it with Ctrl-C")
        stop.wait()
    return 0
