"""`orchestrator plan`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.evaluation_told import evaluation_pairs
from orchestrator.cli.given import plan_given, read_given
from orchestrator.cli.machine_told import cost_text, print_memory, recipe_pairs, service_text
from orchestrator.cli.options import data_option, json_option, limit_option, spec_argument
from orchestrator.cli.printing import print_json, print_pairs, print_table, size
from orchestrator.cli.rows_told import duplicates_text, left_out_text
from orchestrator.cli.tools_given import tools_option, with_tools
from orchestrator.plan import DataFacts, Hyperparameters, Plan


@click.command()
@spec_argument
@data_option
@tools_option
@limit_option
@json_option
def command(
    spec: Path, data: str | None, tools: Path | None, limit: int | None, as_json: bool
) -> int:
    """Show what would be trained, what it costs and what the service would refuse.

    SPEC is a YAML file, or the name of a spec that is shipped (`orchestrator specs`).

        orchestrator plan router/llama-3.1-8b --data rows.jsonl --limit 200

    Asks no service, and is the same on every machine: the digest names exactly this spec, data and
    catalog. Exit 1 if the service would refuse the job, or answers would be cut. The rows are
    prepared first (`orchestrator prepare`), and kept below ORCHESTRATOR_HOME: the next plan of them
    is quick.
    """
    plan = plan_given(with_tools(read_given(spec), tools), data, limit=limit).plan
    if as_json:
        print_json(plan.to_json())
    else:
        print_plan(plan)
    return 1 if plan.refusals or plan.errors else 0


def _rows_told(data: DataFacts) -> list[tuple[str, str]]:
    """What became of rows that are not simply in a split of their own."""
    told = [
        ("left out", left_out_text(data.left_out)),
        ("duplicates", duplicates_text(data.kept_together)),
    ]
    return [(name, text) for name, text in told if text]


def _rank_text(hyper: Hyperparameters) -> str | None:
    return f"rank {hyper.rank}" if hyper.rank else None


def _tokens_text(plan: Plan) -> str:
    tokens = f"{'' if plan.estimate.exact else 'about '}{plan.estimate.tokens:,}"
    return f"{tokens} billed" if plan.machine is None else f"{tokens} to train on"


def print_plan(plan: Plan) -> None:
    """The plan for people."""
    hyper = plan.hyperparameters
    rate = f"{hyper.learning_rate:g}"
    if hyper.learning_rate_multiplier is not None:
        rate += (
            f"  ({hyper.learning_rate_multiplier:g} × baseline {hyper.baseline_learning_rate:g})"
        )
    adapter = plan.adapter
    adapter_size = (
        f"{adapter.parameters:,} parameters, about {size(adapter.size_bytes)} ({adapter.basis})"
        if adapter.parameters is not None and adapter.size_bytes is not None
        else adapter.basis
    )
    limited = f", limited to {plan.data.limit}" if plan.data.limit else ""
    print_pairs(
        [
            ("plan", plan.digest),
            ("name", plan.name),
            ("base model", f"{plan.model.id}  ({plan.model.hub_id}, licence {plan.model.licence})"),
            ("service", service_text(plan)),
            ("data", f"{plan.data.rows} rows{limited}, sha256 {plan.data.sha256}"),
            *_rows_told(plan.data),
            (
                "mode",
                ", ".join(filter(None, (hyper.mode, _rank_text(hyper), hyper.adapter_size))),
            ),
            ("epochs", str(hyper.epochs)),
            ("learning rate", rate),
            ("adapter", adapter_size),
            *recipe_pairs(plan),
            ("tokens", _tokens_text(plan)),
            ("cost", cost_text(plan)),
            ("basis", plan.estimate.basis),
            *evaluation_pairs(plan),
            ("publish to", plan.spec.publish.repo if plan.spec.publish else "nowhere"),
        ]
    )
    click.echo()
    print_table(
        ("split", "rows", "bytes", "sha256"),
        [(s.name, str(s.rows), str(s.size_bytes), s.sha256) for s in plan.splits],
    )
    print_memory(plan)
    for warning in plan.warnings:
        click.echo(f"\nwarning: {warning}")
    for refusal in plan.refusals:
        click.echo(f"\nthe service would refuse this: {refusal}")
    for error in plan.errors:
        click.echo(f"\nerror: {error}")
