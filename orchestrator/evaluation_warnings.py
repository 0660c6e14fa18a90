"""What a reader of an evaluation's figures must know beside them: rivals missing, answers cut."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.evaluation.evidence import Evidence
from orchestrator.plan import EvaluationPlan


def warnings(how: EvaluationPlan, evidence: Evidence, *, nothing_published: bool) -> Iterator[str]:
    """Lines for people; where nothing is published, nobody misses what it would have answered."""
    for name in how.conditions:
        expected = name != "published" or not nothing_published
        if evidence.condition(name) is None and expected:
            yield f"warning: {name} was planned and has no answers: nothing is compared with it"
    for one in evidence.conditions:
        found = one.answers
        if found is None:
            continue
        if found.cut:
            yield (
                f"warning: {one.name}: {found.cut} of {found.rows} answers were cut; "
                f"the plan allows {how.max_new_tokens} tokens: evaluation.max_new_tokens"
            )
        if found.missing:
            yield f"warning: {one.name}: {found.missing} of {found.rows} rows have no answer"
