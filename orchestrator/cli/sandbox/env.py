"""`orchestrator sandbox env`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from orchestrator.cli.printing import print_json
from orchestrator.cli.sandbox.options import dir_option, remote

_THIS_MACHINE = ("127.0.0.1", "localhost")
_PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
#: Everything that the command may set, but for NO_PROXY, which also holds what is not ours.
_NAMES = (
    "GOOGLE_CLOUD_PROJECT",
    "ORCHESTRATOR_BUCKET",
    "ORCHESTRATOR_VERTEX_ENDPOINT",
    "ORCHESTRATOR_HOME",
    "STORAGE_EMULATOR_HOST",
    "GOOGLE_VERTEX_BASE_URL",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_HUB_DISABLE_XET",
    "GOOGLE_BASE_URL",
    "GOOGLE_BEARER_TOKEN",
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT",
)


@click.command()
@dir_option()
@click.option(
    "--format",
    "form",
    type=click.Choice(["export", "json", "dotenv"]),
    default="export",
    show_default=True,
    help="export: for a shell; dotenv: NAME=VALUE lines.",
)
@click.option("--unset", is_flag=True, help="Print `unset` lines that end what `env` began.")
def env(folder: Path, form: str, unset: bool) -> int:
    """Print the settings that lead programs to a sandbox that is being served.

        eval "$(orchestrator sandbox env)"

    They hold the tokens of the sandbox.
    """
    if unset:
        click.echo("\n".join(f"unset {name}" for name in _NAMES))
        return 0
    variables = remote(folder).serving.environment
    variables = {**variables, **no_proxy(os.environ)}
    if form == "json":
        print_json(variables)
        return 0
    prefix = "export " if form == "export" else ""
    for name, value in variables.items():
        click.echo(f"{prefix}{name}={shlex.quote(value)}")
    return 0


def no_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add where a proxy is set: it could not reach this machine's own addresses."""
    if not any(environment.get(name) for name in _PROXIES):
        return {}
    names = [name for name in ("no_proxy", "NO_PROXY") if name in environment] or ["NO_PROXY"]
    changed = {}
    for name in names:
        hosts = [host.strip() for host in environment.get(name, "").split(",") if host.strip()]
        missing = [host for host in _THIS_MACHINE if host not in hosts]
        if missing and "*" not in hosts:
            changed[name] = ",".join([*hosts, *missing])
    return changed
