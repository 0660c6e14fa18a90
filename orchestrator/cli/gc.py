"""`orchestrator gc`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json, print_table, size
from orchestrator.cli.session import open_session
from orchestrator.errors import OrchestratorError
from orchestrator.garbage import Category, Garbage
from orchestrator.sweeping import Survey, Sweeper

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
#: Longer lists are for programs.
_MOST_LINES = 40


class _Age(click.ParamType[timedelta]):
    """A time span like 30d, 12h, 45m, or 0."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d{1,5})([dhm])|0", str(value))
        if match is None:
            self.fail(f"{value!r} is no time span: write 30d, 12h, 45m or 0.", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match[2] else timedelta()


@click.command()
@click.option("--yes", "-y", is_flag=True, help="Remove it. Without this, it is only listed.")
@click.option(
    "--older-than",
    type=_Age(),
    default="30d",
    show_default=True,
    help="Only what nobody has used for so long: 30d, 12h, 45m or 0.",
)
@click.option(
    "--others",
    is_flag=True,
    help="Also what no run of this ledger names. Only where no other ledger uses this bucket and "
    "this home folder: it may be what somebody else's job reads.",
)
@json_option
def command(yes: bool, older_than: timedelta, others: bool, as_json: bool) -> int:
    """List what no run needs any more, with sizes and reasons; --yes removes it.

    Staged rows and outputs in the bucket, branches of candidates that this ledger has published,
    and below ORCHESTRATOR_HOME the rows and downloads of runs that have ended, rehearsals, and logs
    of bugs. Kept is what a run that has not ended, is HELD or UNCERTAIN, may still need, the
    adapters of all runs, checkpoints and exports on the Hub, and every name that is not of this
    program's own layout. Exit 1 if something could not be looked at, or not be removed.
    """
    failed: dict[str, str] = {}
    with open_session(quiet=as_json) as session:
        sweeper = Sweeper(session.settings, session.ledger, session.connections)
        survey = sweeper.survey(older_than=older_than, others=others)
        for problem in survey.problems:
            note(f"warning: {problem}")
        if not as_json:
            _print(survey)
        if yes:
            failed = _remove(sweeper, survey.items)
    removed = [item for item in survey.items if yes and item.name not in failed]
    if as_json:
        print_json(_document(survey, removed, failed))
    elif yes:
        freed = size(sum(item.size_bytes for item in removed))
        click.echo(f"removed {len(removed)} of {len(survey.items)}: {freed}")
    elif survey.items:
        note("nothing was removed; next: the same command with --yes")
    return 1 if failed or survey.problems else 0


def _remove(sweeper: Sweeper, items: Sequence[Garbage]) -> dict[str, str]:
    """Remove what was listed; gives what could not be, and why."""
    failed: dict[str, str] = {}
    for item in items:
        try:
            sweeper.remove(item)
        except (OrchestratorError, OSError) as error:
            failed[item.name] = str(error)
            note(f"warning: {item.name} stays: {error}")
    return failed


def _print(survey: Survey) -> None:
    if not survey.items:
        click.echo("nothing to remove")
    else:
        rows = [(str(item.category), size(item.size_bytes), item.name) for item in survey.items]
        print_table(("category", "size", "what"), rows[:_MOST_LINES])
        if len(rows) > _MOST_LINES:
            click.echo(f"… and {len(rows) - _MOST_LINES} more; --json lists all")
        click.echo()
        print_table(("category", "count", "size", "why"), _summary(survey.items))
    if survey.younger:
        note(f"{_sum(survey.younger)} more would be listed if --older-than were less")
    if survey.others:
        note(f"{_sum(survey.others)} more are named by no run of this ledger: --others")


def _summary(items: Sequence[Garbage]) -> list[tuple[str, str, str, str]]:
    """A line for each category and reason, and one for all of them."""
    groups: dict[tuple[Category, str], list[Garbage]] = {}
    for item in items:
        groups.setdefault((item.category, item.reason), []).append(item)
    lines = [
        (str(category), str(len(group)), size(sum(i.size_bytes for i in group)), reason)
        for (category, reason), group in groups.items()
    ]
    total = size(sum(item.size_bytes for item in items))
    return [*lines, ("all", str(len(items)), total, "")]


def _sum(items: Sequence[Garbage]) -> str:
    return f"{len(items)} ({size(sum(item.size_bytes for item in items))})"


def _document(
    survey: Survey, removed: Sequence[Garbage], failed: dict[str, str]
) -> dict[str, object]:
    gone = {item.name for item in removed}
    return {
        "items": [
            {
                "category": str(item.category),
                "name": item.name,
                "size_bytes": item.size_bytes,
                "reason": item.reason,
                "since": item.since.isoformat(),
                "runs": list(item.run_ids),
                "removed": item.name in gone,
                "error": failed.get(item.name),
            }
            for item in survey.items
        ],
        "size_bytes": sum(item.size_bytes for item in survey.items),
        "removed_bytes": sum(item.size_bytes for item in removed),
        "younger": len(survey.younger),
        "others": len(survey.others),
        "problems": list(survey.problems),
    }
