"""`orchestrator audit judge`."""

from __future__ import annotations

import click

from orchestrator.cli.audit.options import condition_option, draw_options, open_run
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import counted, note, print_json


@click.command()
@click.argument("run")
@click.option("--url", required=True, help="The endpoint's address, up to and with /v1.")
@click.option("--model", required=True, metavar="NAME", help="The model that judges.")
@click.option(
    "--token-variable",
    metavar="NAME",
    help="The environment variable with the endpoint's token.",
)
@draw_options
@condition_option
@click.option(
    "--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, metavar="N"
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 10**6),
    default=1024,
    show_default=True,
    metavar="N",
    help="For one verdict, thinking included.",
)
@json_option
def judge(
    run: str,
    url: str,
    model: str,
    token_variable: str | None,
    count: int,
    seed: int,
    condition: str,
    concurrency: int,
    max_tokens: int,
    as_json: bool,
) -> int:
    """Let a model score answers by the rubric that people use.

    The endpoint speaks OpenAI's protocol; questions, expected answers and answers are sent to it.
    The same -n and --seed as of `audit sample` judge the answers that people got.
    """
    from orchestrator.answering.endpoint import Asking, Endpoint

    endpoint = Endpoint(url, model, token_variable=token_variable, concurrency=concurrency)
    with open_run(run) as found:
        drawn = found.audits.draw(
            found.id, found.folder, count=count, seed=seed, condition=condition
        )
        asking = Asking(max_tokens=max_tokens)
        judged = found.audits.judge(found.id, drawn, found.folder, endpoint, asking)
        run_id = found.id
    if as_json:
        print_json({"run": run_id, "condition": condition, **judged.to_json()})
        return 0
    mean = "" if judged.mean is None else f", mean {judged.mean:.2f}"
    click.echo(f"{model} scored {counted(len(judged.scores), 'answer')}{mean}")
    if judged.without_answer:
        empty = counted(len(judged.without_answer), "row")
        note(f"{empty} without an answer got the lowest score, unasked")
    for why in sorted(set(judged.unjudged.values())):
        many = sum(one == why for one in judged.unjudged.values())
        note(f"{counted(many, 'answer')} without a verdict: {why}")
    if judged.new_tokens:
        read = f"{judged.prompt_tokens or 0:,} tokens were read by the judge"
        note(f"{read}, {judged.new_tokens:,} written")
    note(f"next: orchestrator audit show {run_id}")
    return 0
