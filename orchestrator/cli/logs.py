"""`orchestrator logs`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from orchestrator.cli.job_logs import print_job_document, print_job_log
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json
from orchestrator.cli.session import open_session, tell_interrupted
from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.errors import InputError
from orchestrator.services.base import Service
from orchestrator.training_log import JobLog, LogReader, follow, locate

#: Control characters of a log could do things to a terminal; tabs may stay.
_HARMLESS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\t")}, "\N{REPLACEMENT CHARACTER}")


@click.command()
@click.argument("run")
@click.option("--follow", "-f", "following", is_flag=True, help="Go on until the job has ended.")
@click.option("--tail", type=click.IntRange(0, 10**6), metavar="N", help="Only the last N lines.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1, 3600.0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks with --follow.",
)
@json_option
def command(run: str, following: bool, tail: int | None, interval_s: float, as_json: bool) -> int:
    """Print what the newest job of a run has logged.

    The log of Hugging Face Jobs, or the one that Vertex keeps in the bucket, goes to standard
    output. Otherwise the page with the logs is named, and why there is no more.
    """
    if following and as_json:
        raise InputError("--json prints one document: it does not go with --follow")
    with open_session(quiet=as_json) as session:
        run_id = session.ledger.resolve_id(run)
        facts = session.ledger.facts(run_id)
        log = locate(facts, session.connections)
        if log is None:
            raise InputError(
                f"run {run_id} has no job yet, so nothing was logged",
                hint=f"See: orchestrator show {run_id}",
            )
        target = log.target
        service = session.connections.service(target)
        if target.service == "hf-jobs":
            jobs = session.connections.jobs(target.project)
            try:
                if as_json:
                    print_job_document(jobs, run_id, log, tail)
                else:
                    print_job_log(jobs, run_id, log, _printer(), following=following, tail=tail)
            except KeyboardInterrupt:
                return tell_interrupted([run_id])
            return 0
        reader = LogReader(session.connections.store(target), log.uri) if log.uri else None
        try:
            if reader is not None and tail is not None:
                reader.skip_to_last(tail)
            if as_json:
                _print_document(run_id, log, reader)
            elif following and reader is not None:
                _follow(service, run_id, log, reader, interval_s)
            else:
                _print_lines(service, run_id, log, reader)
        except KeyboardInterrupt:
            return tell_interrupted([run_id])
    return 0


def _print_document(run_id: str, log: JobLog, reader: LogReader | None) -> None:
    there = reader is not None and reader.exists()
    lines = [*reader.new_lines(), *reader.rest()] if reader is not None and there else []
    print_json(
        {
            "run": run_id,
            "attempt": log.attempt_id,
            "source": "bucket" if there else None,
            "uri": log.uri if there else None,
            "link": log.link,
            "lines": lines,
        }
    )


def _print_lines(service: Service, run_id: str, log: JobLog, reader: LogReader | None) -> None:
    show = _printer()
    if reader is None:
        note("the service names no place for the log of this job")
    elif not reader.exists():
        note(f"there is no log in the bucket yet, at {log.uri}: {_state(service, log)}")
    else:
        for line in reader.new_lines():
            show(line)
        for line in reader.rest():
            show(line)
        if not _is_over(service, log):
            note(f"next: orchestrator logs --follow {run_id}")
        return
    note(f"look there: {log.link}")


def _follow(
    service: Service, run_id: str, log: JobLog, reader: LogReader, interval_s: float
) -> None:
    show = _printer()
    if not reader.exists():
        note(f"there is no log in the bucket yet ({_state(service, log)}); waiting for it")
        note(f"meanwhile, look there: {log.link}")
    lines = follow(
        reader,
        lambda: _is_over(service, log),
        clock=SYSTEM_CLOCK,
        interval_s=interval_s,
        trouble=lambda problem: note(f"warning: {problem}; trying again"),
    )
    any_line = False
    for line in lines:
        any_line = True
        show(line)
    state = _state(service, log)
    if not any_line:
        note(f"nothing was logged in the bucket; look there: {log.link}")
    note(f"the job has ended: {state}\nnext: orchestrator poll {run_id}")


def _printer() -> Callable[[str], None]:
    """Writes a line; on a terminal, without what would move its cursor or worse."""
    if sys.stdout.isatty():
        return lambda line: click.echo(line.translate(_HARMLESS))
    return click.echo


def _state(service: Service, log: JobLog) -> str:
    """The service's own word for the state of the job."""
    found = service.inspect([log.handle]).get(log.handle)
    return found.raw_state if found else "the service does not show the job any more"


def _is_over(service: Service, log: JobLog) -> bool:
    found = service.inspect([log.handle]).get(log.handle)
    return found is None or found.state.is_final
