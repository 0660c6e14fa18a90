"""A full model that a job really trained: offered, loaded as the tuned one, its losses measured."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluation_facts import candidate, evaluation
from orchestrator.pipeline import Outcome
from orchestrator.sandbox.running import Sandbox, SandboxOptions
from orchestrator.sandbox.standins.base import StandInOptions
from orchestrator.state import Action
from tests.pipeline.bench import Bench
from tests.pipeline.test_evaluating import submit
from tests.plans import jobs_plan
from tests.training.trainings import needs_training

pytestmark = [pytest.mark.slow, pytest.mark.training]
GATES = """
evaluation: {scorer: text, rows: 12, max_new_tokens: 4, few_shot: 0}
gates:
  - {metric: loss, better_than: base}
"""


def finished(bench: Bench, run: str) -> Outcome:
    """Poll until nothing more can be done; a busy machine may take its time for each job."""
    for _ in range(12):
        for job in bench.sandbox.jobs.jobs():
            bench.sandbox.jobs.wait_until_ended(job.id, timeout_s=300)
        outcome = bench.pipeline().poll([run])[0]
        if outcome.error is not None or outcome.status.action is Action.DONE:
            break
    return outcome


def test_a_full_model_finds_the_expected_answers_likelier_than_its_base(tmp_path: Path) -> None:
    needs_training()
    made = jobs_plan(tmp_path, rows=100, replace=("gates: none\n", GATES))
    assert made.plan.hyperparameters.mode == "full"
    (tmp_path / "sandbox").mkdir()
    options = SandboxOptions(
        stand_in="tiny", training=StandInOptions(answers="real", epochs=1, rows=24)
    )
    with Sandbox(tmp_path / "sandbox", options) as sandbox:
        bench = Bench(sandbox, tmp_path)
        try:
            run = submit(bench, made)
            outcome = finished(bench, run)
            found = evaluation(bench.facts(run))
            assert found is not None, outcome
            evidence = Evidence.from_json(found.data)
            folder = bench.settings.runs_dir / run
            offered = candidate(bench.facts(run))
            assert offered is not None
            files = bench.pipeline()._connections.hub.files(
                offered.data["repo"], offered.data["revision"]
            )
            assert "model.safetensors" in files
            assert "adapter_config.json" not in files
            (command,) = (
                job.command for job in bench.sandbox.jobs.jobs() if "generate.py" in job.command
            )
            assert any(word.startswith("model=") for word in command)
        finally:
            bench.ledger.close()
    losses = {one.name: one.metric("loss") for one in evidence.conditions}
    tuned, base = losses["tuned"], losses["base"]
    assert tuned is not None
    assert base is not None
    assert tuned.value < base.value
    assert (tuned.rows, base.rows) == (evidence.rows, evidence.rows)
    assert [gate.passed for gate in evidence.gates] == [True], evidence.gates
    lines = (folder / "answers" / "tuned.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    total, tokens = (
        math.fsum(one[name] for one in told) for name in ("expected_loss", "expected_tokens")
    )
    assert tuned.value == pytest.approx(total / tokens)
