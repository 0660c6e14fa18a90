"""Failures grouped by their cause, with counts and a few rows each."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.evaluation.evidence import Evidence
from orchestrator.report.evaluated import BASE, TUNED, main_metric
from orchestrator.report.local_answers import LocalAnswers
from orchestrator.report.side_by_side import Example, example_of

#: Rows may have several causes; of each so many rows are shown.
EXAMPLES = 2


@dataclass(frozen=True)
class CauseGroup:
    """Why answers are wrong: how often with the tuned model and with the base (None: not known)."""

    words: str
    tuned: int
    base: int | None
    rows: int
    examples: tuple[Example, ...]


def cause_groups(evaluation: Evidence, answers: LocalAnswers) -> tuple[CauseGroup, ...]:
    """The causes of the tuned model's failures, the commonest first."""
    tuned, base = evaluation.condition(TUNED), evaluation.condition(BASE)
    if tuned is None:
        return ()
    before = {cause.cause: cause.rows for cause in base.causes} if base else None
    groups = []
    for cause in sorted(tuned.causes, key=lambda cause: (-cause.rows, cause.cause)):
        scored = answers.scores.get(TUNED, {})
        keys = [cause.example, *(key for key, row in scored.items() if cause.cause in row.causes)]
        shown = [
            example
            for key in list(dict.fromkeys(keys))[:EXAMPLES]
            if (example := example_of(answers, key, main_metric(evaluation))) is not None
        ]
        found = before.get(cause.cause, 0) if before is not None else None
        groups.append(CauseGroup(cause.cause, cause.rows, found, evaluation.rows, tuple(shown)))
    return tuple(groups)
