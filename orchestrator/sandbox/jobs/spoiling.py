"""What a rule makes of the output of a job's script, before the job uploads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.sandbox.edge.rules import JobRule, Outcome
from orchestrator.sandbox.vertex.outcomes import spoil

#: Outcomes that change files; the others decide how the job ends.
OF_FILES = frozenset(
    {Outcome.NAN_WEIGHTS, Outcome.MISSING_FILES, Outcome.CUT_FILES, Outcome.WEAKEN}
)


def spoil_output(output: Path, rule: Mapping[str, Any]) -> list[str]:
    """Change the files below `output` as the rule says; returns what was done, a line each.

    A keeper that runs a script is run by `uv` too: files that are spoiled already stay.
    """
    given = JobRule.model_validate(rule)
    if given.outcome not in OF_FILES or not output.is_dir():
        return []
    mark = output.parent / f".{output.name}.spoiled"
    if mark.exists():
        return []
    mark.touch()
    return spoil(output, given)
