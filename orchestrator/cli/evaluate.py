"""`orchestrator evaluate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from orchestrator.cli.evidence_told import print_evidence
from orchestrator.cli.given import need_sound, plan_given, read_given
from orchestrator.cli.options import data_option, json_option, limit_option
from orchestrator.cli.printing import note, print_json
from orchestrator.cli.session import Session, next_command, open_session, tell, tell_interrupted
from orchestrator.cli.tools_given import tools_option, with_tools
from orchestrator.errors import InputError
from orchestrator.evaluation_actions import GivenAnswers
from orchestrator.evaluation_facts import evaluation
from orchestrator.pipeline import Outcome
from orchestrator.run_answers import evidence_of

_NAMED = re.compile(r"([a-z][a-z-]*)=(.+)", re.DOTALL)


@click.command()
@click.argument("run")
@click.option(
    "--predictions",
    "files",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Answers to the held-out rows: of the tuned model, or of another way to answer, as in "
    "base=FILE; may be repeated.",
)
@click.option(
    "--spec",
    type=click.Path(path_type=Path),
    metavar="SPEC",
    help="Judge by the evaluation and gates of this spec from now on; nothing is trained again.",
)
@data_option
@tools_option
@limit_option
@json_option
def command(
    run: str,
    files: Sequence[str],
    spec: Path | None,
    data: str | None,
    tools: Path | None,
    limit: int | None,
    as_json: bool,
) -> int:
    """Evaluate a run's tuned model, judge it by its gates, and show both.

    Answers come from where the spec says (a job, an endpoint), or from files:

        orchestrator evaluate RUN --predictions predictions.jsonl --predictions base=base.jsonl

    Rows are matched by their prompt or id; a row without a prediction counts as wrong. What was
    evaluated already is shown again. --data and --limit belong to --spec: those of the training.
    Exit 0 if all gates passed, 1 if not or if there are no answers yet.
    """
    given = [_given(text) for text in files]
    with open_session(quiet=as_json) as session:
        run_id = session.ledger.resolve_id(run)
        try:
            if spec is not None:
                _judge_by(session, run_id, spec, data, tools, limit)
            outcome = session.pipeline.evaluate(run_id, given)
        except KeyboardInterrupt:
            return tell_interrupted([run_id])
        if outcome.bug is not None:
            raise outcome.bug
        facts = session.ledger.facts(run_id)
    tell(outcome)
    if evaluation(facts) is None:
        note(f"run {run_id} is not evaluated yet; next: {next_command(run_id, outcome.status)}")
        return _failed(outcome)
    evidence = evidence_of(facts)
    if as_json:
        print_json({"run": run_id, "state": str(outcome.status.state), **evidence.to_json()})
    else:
        print_evidence(evidence)
    return 0 if evidence.passed else 1


def _given(text: str) -> GivenAnswers:
    match = _NAMED.fullmatch(text)
    name, path = (match[1], match[2]) if match else ("tuned", text)
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no file {file}", hint="Name it as --predictions [NAME=]FILE.")
    return GivenAnswers(name, file)


def _judge_by(
    session: Session,
    run_id: str,
    spec: Path,
    data: str | None,
    tools: Path | None,
    limit: int | None,
) -> None:
    prepared = plan_given(with_tools(read_given(spec), tools), data, limit=limit)
    plan, run = prepared.plan, session.ledger.facts(run_id).run
    if plan.digest != run.plan.digest:
        raise InputError(
            f"{spec} plans another training than that of run {run_id}",
            hint="Only `evaluation:` and `gates:` may differ; give the same --data and --limit.",
        )
    need_sound(plan, hint="The run is judged as before. See: orchestrator plan")
    session.pipeline.judge_by(run_id, plan.evaluation, plan.gates)


def _failed(outcome: Outcome) -> int:
    return outcome.error.exit_code if outcome.error else 1
