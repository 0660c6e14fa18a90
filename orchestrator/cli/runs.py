"""`orchestrator runs`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.printing import duration, note, print_json, print_table
from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.errors import InputError
from orchestrator.ledger import DamagedRun, Facts, Ledger
from orchestrator.report.costs import Cost, run_cost
from orchestrator.settings import Settings
from orchestrator.state import RunState, Status, status

_DEFAULT_LIMIT = 20


@dataclass(frozen=True)
class _Line:
    """A run in the list."""

    facts: Facts
    status: Status
    age_s: float
    cost: Cost

    def cells(self) -> tuple[str, ...]:
        run = self.facts.run
        return (
            run.id,
            run.plan.name,
            str(self.status.state),
            run.target.service,
            duration(self.age_s),
            str(self.cost),
            run.target.repo or "–",
        )

    def to_json(self) -> dict[str, Any]:
        run = self.facts.run
        return {
            "run": run.id,
            "name": run.plan.name,
            "state": str(self.status.state),
            "reason": self.status.reason,
            "service": run.target.service,
            "project": run.target.project,
            "location": run.target.location,
            "created_at": run.created_at.isoformat(),
            "age_s": round(self.age_s),
            "cost_usd": round(self.cost.usd, 4),
            "cost_is_estimate": self.cost.is_estimate,
            "repo": run.target.repo,
        }


@click.command()
@click.option("--state", "states", metavar="STATES", default="", help="Only these: failed,held.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10**6),
    default=_DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="At most so many.",
)
@click.option("--all", "every", is_flag=True, help="As many as there are.")
@json_option
def command(states: str, limit: int, every: bool, as_json: bool) -> int:
    """List the runs, newest first.

    The cost is that of the tokens which the service has reported; until then it is the plan's
    estimate, and says `about`. Reads the ledger only: `orchestrator poll` asks the services.
    """
    wanted = _states(states)
    ledger = Ledger(Settings.from_env().ledger_url)
    try:
        lines: list[_Line] = []
        damaged: list[DamagedRun] = []
        more = False
        for line in _lines(ledger, SYSTEM_CLOCK.now(), damaged):
            if wanted and line.status.state not in wanted:
                continue
            if not every and len(lines) == limit:
                more = True
                break
            lines.append(line)
    finally:
        ledger.close()
    for problem in damaged:
        note(f"warning: {problem}")
    code = 1 if damaged else 0
    if as_json:
        print_json([line.to_json() for line in lines])
        return code
    if not lines and damaged:
        return code
    if not lines:
        click.echo("no such runs" if wanted else "no runs")
        note("next: orchestrator submit SPEC" if not wanted else "next: orchestrator runs --all")
        return code
    header = ("run", "name", "state", "service", "age", "cost", "repo")
    print_table(header, [line.cells() for line in lines])
    note(("there are more: --all\n" if more else "") + "next: orchestrator show RUN")
    return code


def _lines(ledger: Ledger, now: datetime, damaged: list[DamagedRun]) -> Iterator[_Line]:
    """The runs, newest first, each read when it is asked for; `damaged` takes those that cannot."""
    for run_id in reversed(ledger.run_ids()):
        try:
            facts = ledger.facts(run_id)
            found = status(facts, now)
        except DamagedRun as problem:
            damaged.append(problem)
            continue
        age_s = (now - facts.run.created_at).total_seconds()
        yield _Line(facts, found, age_s, run_cost(facts))


def _states(text: str) -> frozenset[RunState]:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in RunState.__members__]
    if unknown:
        raise InputError(
            f"--state: there is no state {unknown[0].lower()}",
            hint=f"States: {', '.join(RunState).lower()}.",
        )
    return frozenset(RunState[name] for name in names)
