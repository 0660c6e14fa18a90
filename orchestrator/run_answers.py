"""The answers of an evaluated run that are on this machine, as they were scored.

Rows and answers are never in the ledger: where another machine evaluated, they are not here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.calls import Syntax
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError
from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluation.scorers import made_for, scorer_named
from orchestrator.evaluation.scores import Answered, MetricKind, Part, RowScores, metric_of
from orchestrator.evaluation.table import scored_row
from orchestrator.evaluation_actions import SCORES, evaluation_rows
from orchestrator.evaluation_facts import evaluation
from orchestrator.evaluator import AnswersFile, answered_rows, rows_that_count
from orchestrator.ledger import Facts


def evidence_of(facts: Facts) -> Evidence:
    """The run's evaluation. Raises `InputError` where there is none, or none that can be read."""
    event = evaluation(facts)
    if event is None:
        raise InputError(
            f"run {facts.run.id} is not evaluated", hint=f"orchestrator evaluate {facts.run.id}"
        )
    try:
        return Evidence.from_json(event.data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"the evaluation of run {facts.run.id} was recorded by another release",
            hint=f"Evaluate it anew: orchestrator evaluate {facts.run.id} --spec SPEC",
        ) from error


def answered(facts: Facts, folder: Path, condition: str) -> tuple[Answered, ...]:
    """The rows of the run's evaluation with what was answered to them.

    `folder` is that of the run's files. Raises `InputError` where they are not on this machine as
    they were evaluated.
    """
    artifact = facts.artifacts_of("answers").get(condition)
    if artifact is None:
        there = ", ".join(facts.artifacts_of("answers")) or "none"
        raise InputError(
            f"run {facts.run.id} has no answers of {condition!r}",
            hint=f"There are: {there}.",
        )
    file = folder / "answers" / f"{condition}.jsonl"
    if not file.is_file() or sha256_file(file) != artifact.sha256:
        what = "were changed" if file.is_file() else "are not on this machine"
        raise InputError(
            f"the answers of run {facts.run.id} {what}: {file}",
            hint="They stay where the run was evaluated; work there, or copy the file from there.",
        )
    checked = facts.last("adapter_checked")
    given = AnswersFile(
        file,
        condition,
        by_row=not artifact.uri.startswith("given:"),
        own_rows=checked is not None and bool(checked.data.get("stand_in")),
    )
    return answered_rows(rows_file(facts, folder), given)


def rows_file(facts: Facts, folder: Path) -> Path:
    """The file of the rows that were answered."""
    file = folder / "evaluation.jsonl"
    if file.is_file() and sha256_file(file) == evidence_of(facts).rows_sha256:
        return file
    return evaluation_rows(facts, folder)


def kinds_of(evidence: Evidence) -> tuple[MetricKind, ...]:
    """What the metrics of an evaluation mean, in the scorer's order."""
    known = {one.name: one for one in made_for(scorer_named(evidence.scorer), ()).metrics}
    return tuple(
        known.get(one.name) or MetricKind(one.name, one.meaning, one.better != "lower")
        for one in evidence.kinds
    )


def scored(facts: Facts, folder: Path, condition: str) -> tuple[RowScores, ...]:
    """The scores of every row: as the evaluation left them, or made again from the answers."""
    evidence = evidence_of(facts)
    figures = evidence.condition(condition)
    if figures is None:
        there = ", ".join(one.name for one in evidence.conditions)
        raise InputError(
            f"run {facts.run.id} was not evaluated on {condition!r}", hint=f"There are: {there}."
        )
    kinds = kinds_of(evidence)
    kept = _kept(folder / "answers" / SCORES, condition)
    main = figures.metrics[0] if figures.metrics else None
    kind = next((one for one in kinds if main is not None and one.name == main.name), None)
    if kept and (kind is None or main is None):
        return kept
    found = metric_of(kind, kept, seed=evidence.seed) if kind and kept else None
    if found and main and (found.rows, round(found.value, 9)) == (main.rows, round(main.value, 9)):
        return kept
    # Scores that are missing, broken, or of an evaluation before this one.
    rows = rows_that_count(condition, answered(facts, folder, condition))
    scorer = made_for(scorer_named(evidence.scorer), rows, _syntax(facts))
    return tuple(scored_row(scorer, row, {}) for row in rows)


def expected_answers(facts: Facts, folder: Path, condition: str) -> dict[str, str] | None:
    """What each row expects by its key; None where the rows are not on this machine."""
    with_answers = condition if condition in facts.artifacts_of("answers") else "tuned"
    try:
        return {row.key: row.expected for row in answered(facts, folder, with_answers)}
    except InputError:
        return None


def _kept(file: Path, condition: str) -> tuple[RowScores, ...]:
    """The lines of `scores.jsonl`; none where one of them is broken."""
    try:
        return tuple(_row(line) for line in _lines(file) if line["condition"] == condition)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _row(line: Mapping[str, Any]) -> RowScores:
    parts = {str(name): Part(above, below) for name, (above, below) in line["metrics"].items()}
    slices = {str(name): str(value) for name, value in line["slices"].items()}
    return RowScores(str(line["key"]), parts, slices, tuple(map(str, line["causes"])))


def _syntax(facts: Facts) -> Syntax | None:
    """How the model writes calls; a stand-in writes them in its own way."""
    called = facts.run.plan.model.call_syntax
    checked = facts.last("adapter_checked")
    is_stand_in = checked is not None and bool(checked.data.get("stand_in"))
    known = {one.value for one in Syntax}
    return Syntax(called) if called in known and not is_stand_in else None
