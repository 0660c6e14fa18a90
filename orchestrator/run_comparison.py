"""Runs and files of answers, scored row by row, so that they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import run_answers
from orchestrator.answer_files import AnswerRow, match, read_answers
from orchestrator.calls import Syntax
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError, Place
from orchestrator.evaluation.comparison_table import ScoredRun
from orchestrator.evaluation.scorers import made_for, scorer_named
from orchestrator.evaluation.scores import Answered
from orchestrator.evaluation.table import scored_row
from orchestrator.evaluator import AnswersFile, answered_rows, row_keys
from orchestrator.ledger import Facts


@dataclass(frozen=True)
class GivenFile:
    """A file of answers under a name; what is expected stands in `expected`, or in the file."""

    name: str
    file: Path
    expected: Path | None = None


def run_scores(facts: Facts, folder: Path, condition: str, name: str) -> ScoredRun:
    """A run's rows as its newest evaluation scored them; `folder` is that of its files.

    Raises `InputError` where it is not evaluated, or its rows are not on this machine.
    """
    evidence = run_answers.evidence_of(facts)
    return ScoredRun(
        name,
        evidence.scorer,
        run_answers.kinds_of(evidence),
        run_answers.scored(facts, folder, condition),
        evidence.rows_sha256,
        run_answers.expected_answers(facts, folder, condition),
    )


def file_scores(given: GivenFile, scorer_name: str, syntax: Syntax | None = None) -> ScoredRun:
    """The answers of a file, scored. Raises `InputError` with the place of what is wrong."""
    maker = scorer_named(scorer_name)
    predicted = read_answers(given.file, "predicted")
    if not predicted:
        raise InputError("there are no answers", where=Place(str(given.file)))
    if given.expected is None:
        rows = _alone(predicted)
    else:
        rows = _with_expected(given.file, predicted, given.expected)
    # By key: a repeated prompt's second row is found by its number alone.
    places = {key: row.place for key, row in zip(row_keys(predicted), predicted, strict=True)}
    scorer = made_for(maker, rows, syntax, places=places)
    return ScoredRun(
        given.name,
        scorer.name,
        scorer.metrics,
        tuple(scored_row(scorer, row, places) for row in rows),
        sha256_file(given.expected) if given.expected is not None else None,
        {row.key: row.expected for row in rows},
    )


def _with_expected(
    file: Path, predicted: Sequence[AnswerRow], expected: Path
) -> tuple[Answered, ...]:
    rows = read_answers(expected, "expected")
    if _by_number(rows, predicted):
        return answered_rows(expected, AnswersFile(file, ""))
    return match(rows, predicted).rows


def _by_number(rows: Sequence[AnswerRow], predicted: Sequence[AnswerRow]) -> bool:
    """Whether every answer names its row by number, and was asked that row's prompt."""
    numbers = [line.number for line in predicted]
    return len(set(numbers)) == len(numbers) and all(
        line.number is not None
        and 0 <= line.number < len(rows)
        and line.digest is not None
        and line.digest == rows[line.number].digest
        for line in predicted
    )


def _alone(predicted: Sequence[AnswerRow]) -> tuple[Answered, ...]:
    """Answers that carry what is expected, under the keys that an evaluation gives rows."""
    found = []
    for key, row in zip(row_keys(predicted), predicted, strict=True):
        if row.expected is None:
            raise InputError(
                "this answer does not say what is `expected`",
                where=row.place,
                hint="Name the file with the rows: --expected FILE.",
            )
        if row.id is None and row.digest is None:
            raise InputError(
                "this answer has no `id` and no prompt, by which its row could be known",
                where=row.place,
                hint="Give every row an `id`, or its prompt.",
            )
        about = (row.prompt, row.slices, row.tools, row.timing, row.likelihood)
        found.append(Answered(key, row.expected, row.answer, *about))
    return tuple(found)
