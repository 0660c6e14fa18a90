"""`orchestrator sandbox clock` and `status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.printing import print_json, print_pairs, print_table
from orchestrator.cli.sandbox.options import Duration, dir_option, remote


@click.command()
@dir_option()
@click.option("--advance", type=Duration(), metavar="TIME", help="Let 90s, 15m, 4h or 2d pass now.")
@json_option
def clock(folder: Path, advance: float | None, as_json: bool) -> int:
    """Show the time of the sandbox, or let time pass in it."""
    sandbox = remote(folder)
    if advance is None:
        time = sandbox.call("GET", "/clock")
    else:
        time = sandbox.call("POST", "/clock", {"advance_s": advance})
    if as_json:
        print_json(time)
    else:
        click.echo(_time(time))
    return 0


@click.command()
@dir_option()
@json_option
def status(folder: Path, as_json: bool) -> int:
    """Show what is being served, and its jobs."""
    sandbox = remote(folder)
    about = sandbox.call("GET", "/status")
    jobs = sandbox.call("GET", "/vertex/jobs")
    hub_jobs = sandbox.call("GET", "/hub/jobs")
    if as_json:
        print_json({**about, "vertex_jobs": jobs, "hub_jobs": hub_jobs})
        return 0
    token = "needed" if about["token_needed"] else "not needed"
    pairs = [
        ("folder", about["folder"]),
        ("process", str(about["pid"])),
        *((name, address) for name, address in about["faces"].items()),
        ("token", token),
        ("stand-in", about["stand_in"]),
        ("clock", _time(about["clock"])),
        ("faults", f"{about['rules']} rules, {about['faults_injected']} injected"),
    ]
    print_pairs(pairs)
    if jobs:
        click.echo()
        print_table(("tuning job", "name", "state", "cost"), [_job(job) for job in jobs])
    if hub_jobs:
        click.echo()
        print_table(("job", "name", "stage", "cost"), [_job(job) for job in hub_jobs])
    return 0


def _time(time: dict[str, Any]) -> str:
    ahead_s = time["ahead_s"]
    return f"{time['now']}" + (f"  ({ahead_s:g} s ahead of the machine's)" if ahead_s else "")


def _job(job: dict[str, Any]) -> tuple[str, str, str, str]:
    cost = "" if job["cost_usd"] is None else f"${job['cost_usd']:.2f}"
    return job["name"], job["display_name"], job["state"], cost
