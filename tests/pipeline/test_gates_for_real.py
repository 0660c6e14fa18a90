"""Gates on answers that a model really gave: SmolLM2, tuned, and the same with weakened weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluation_facts import evaluation
from orchestrator.planner import Prepared
from orchestrator.sandbox.edge.rules import JobRule
from orchestrator.sandbox.edge.rules import Outcome as JobOutcome
from orchestrator.sandbox.running import Sandbox, SandboxOptions
from orchestrator.sandbox.standins.base import StandInOptions
from orchestrator.state import RunState
from tests.pipeline.bench import Bench
from tests.pipeline.test_evaluating import anonymous, finish, submit, target
from tests.plans import JOBS, jobs_plan

pytestmark = [pytest.mark.slow, pytest.mark.training]


def planned(folder: Path) -> Prepared:
    """The shipped support router with its gates, as an adapter."""
    shipped = JOBS.read_text(encoding="utf-8")
    start, end = shipped.index("evaluation:"), shipped.index("publish:")
    gates = shipped[start:end]
    return jobs_plan(folder, rows=None, adapter=True, replace=("gates: none\n", gates))


@pytest.mark.parametrize(
    ("weakened", "state"), [(False, RunState.PUBLISHED), (True, RunState.HELD)]
)
def test_what_learnt_is_published_and_what_was_weakened_is_held(
    tmp_path: Path, weakened: bool, state: RunState
) -> None:
    if "ORCHESTRATOR_STAND_INS" not in os.environ:
        pytest.skip("ORCHESTRATOR_STAND_INS does not name a folder with SmolLM2")
    made = planned(tmp_path)
    (tmp_path / "sandbox").mkdir()
    options = SandboxOptions(stand_in="smollm2", training=StandInOptions(rows=192))
    with Sandbox(tmp_path / "sandbox", options) as sandbox:
        if weakened:
            sandbox.faults.add(JobRule(outcome=JobOutcome.WEAKEN, target="sft.py"))
        bench = Bench(sandbox, tmp_path)
        try:
            run = submit(bench, made)
            outcome = finish(bench, run, job_s=900)
            found = evaluation(bench.facts(run))
            assert found is not None, outcome
            evidence = Evidence.from_json(found.data)
            right = {one.name: one.metric("tool") for one in evidence.conditions}
            assert outcome.status.state is state, (outcome.status, right)
            seen = bench.pipeline()._connections.hub.head(target(bench, run))
            assert (seen is None) is weakened
            if weakened:
                assert anonymous(bench, target(bench, run)) in (401, 404)
        finally:
            bench.ledger.close()
