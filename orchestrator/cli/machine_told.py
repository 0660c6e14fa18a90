"""What a plan says of the machine that hf-jobs rents, for people."""

from __future__ import annotations

import click

from orchestrator.cli.printing import print_table, size
from orchestrator.hardware.durations import format_duration
from orchestrator.plan import Plan

#: What the trainer is told, where it is not the usual; the others are in `plan --json`.
_QUIET = {"none", None, False, "auto"}
_TOLD_ELSEWHERE = {"alpha", "targets", "max_unparsed", "answer_syntax", "plateau_min_delta"}


def service_text(plan: Plan) -> str:
    """Where the job runs."""
    service, machine = plan.spec.service, plan.machine
    if machine is None:
        return f"{service.name}, {service.location}"
    price = f"${machine.usd_per_hour:.2f} an hour"
    longest = format_duration(machine.timeout_s)
    return f"{service.name}, {machine.flavor} at {price}, for {longest} at most"


def cost_text(plan: Plan) -> str:
    """The price, as one number or from the least to the most."""
    estimate = plan.estimate
    if estimate.least_usd is None:
        return f"about ${estimate.cost_usd:,.2f}"
    told = f"${estimate.least_usd:,.2f} to ${estimate.cost_usd:,.2f}"
    if estimate.finishing_usd is not None:
        least, most = estimate.finishing_usd
        after = "merge and export" if plan.adapter.parameters is not None else "the export"
        told += f", and ${least:,.2f} to ${most:,.2f} for {after}"
    return told


def recipe_pairs(plan: Plan) -> list[tuple[str, str]]:
    """What the trainer is told beside epochs, learning rate and rank."""
    recipe = plan.recipe
    if recipe is None:
        return []
    told = {
        name.replace("_", " "): value
        for name, value in recipe.model_dump().items()
        if value not in _QUIET and name not in _TOLD_ELSEWHERE
    }
    pairs = [("recipe", ", ".join(f"{name} {value}" for name, value in told.items()))]
    if recipe.probes:
        what = "text" if recipe.answer_syntax == "none" else recipe.answer_syntax
        pairs.append(
            (
                "format drift",
                f"stops if over {recipe.max_unparsed:.0%} of {recipe.probes} answers are no {what}",
            )
        )
    return pairs


def print_memory(plan: Plan) -> None:
    """The terms of the memory that the training takes."""
    machine = plan.machine
    if machine is None or machine.memory_bytes is None or machine.available_bytes is None:
        return
    click.echo()
    rows = [(term.name, size(term.size_bytes), term.formula) for term in machine.memory]
    rows.append(("in all", size(machine.memory_bytes), f"of {size(machine.available_bytes)}"))
    print_table(("memory", "bytes", "how"), rows)
