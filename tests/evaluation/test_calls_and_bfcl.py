"""The scorer `calls` and the checker of the Berkeley Function Calling Leaderboard: do they agree?

`ORCHESTRATOR_BFCL` names the folder in which bfcl-eval 2026.3.23 was unpacked.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from tests.evaluation.benchmark_scripts import benchmark

FOLDER = os.environ.get("ORCHESTRATOR_BFCL")
#: What the two must agree on in every answer, but for rows of theirs that contradict themselves.
STRUCTURAL = (
    *("right", "right, other order", "right, other permitted values", "tool renamed"),
    *("call dropped", "call added", "argument invented", "argument dropped", "number changed"),
    *("number as text", "text changed", "list turned around", "item added to a list"),
    *("fraction .0 as whole number", "true and false turned", "true as 1"),
)


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return benchmark("bfcl_agreement")


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="ORCHESTRATOR_BFCL names no folder with bfcl-eval in it")
def test_every_disagreement_with_the_leaderboard_s_checker_has_its_known_reason(
    bench: ModuleType,
) -> None:
    verdicts = list(bench.compare(Path(str(FOLDER))))
    assert all(one.theirs is not None for one in verdicts)
    kinds = {one.kind for one in verdicts}
    assert set(STRUCTURAL) <= kinds
    reasons = Counter((one.kind in STRUCTURAL, one.why) for one in verdicts if one.why)
    assert {why for structural, why in reasons if structural} == {bench.CONTRADICTION}
    assert {why for structural, why in reasons if not structural} == {
        bench.STANDARDIZED,
        bench.WHOLE,
    }
    # Compared as they compare texts, only their types and their contradictions are left.
    assert {one.why_loosely for one in verdicts} == {"", bench.WHOLE, bench.CONTRADICTION}
    # Neither side takes, or refuses, everything.
    for one in ("theirs", "ours"):
        assert {getattr(verdict, one) for verdict in verdicts} == {True, False}
    contradicting = {one.row for one in verdicts if one.why == bench.CONTRADICTION}
    assert len(contradicting) < len({one.row for one in verdicts}) / 100


def test_the_nearest_permitted_answer_is_laid_out(bench: ModuleType) -> None:
    row = bench.Row(
        "r",
        "parallel",
        [],
        [
            {"play": {"artist": ["Bach"], "loud": [True, ""]}},
            {"play": {"artist": ["Liszt", "F. Liszt"], "loud": [False], "at": [{"h": [9, 10]}]}},
        ],
    )
    said = [
        bench.ToolCall("play", {"artist": "F. Liszt", "loud": False, "at": {"h": 10}}),
        bench.ToolCall("play", {"artist": "Bach"}),
    ]
    found = bench.nearest(row, said)
    assert sorted(map(str, found)) == sorted(map(str, said))
    right = bench.nearest(row, [])
    assert right[1].arguments == {"artist": "Liszt", "loud": False, "at": {"h": 9}}
