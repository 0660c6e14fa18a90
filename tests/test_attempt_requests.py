"""What hf-jobs is asked for a plan, built from its facts alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.attempt_requests import attempt_request
from orchestrator.ledger import Artifact, AttemptFacts, Event, Facts, RunFacts, Target
from orchestrator.plan import Plan
from orchestrator.services.base import AttemptKind, ScriptRequest
from tests.plans import jobs_plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMMIT = "a" * 40
METRICS = {"text": "exact_match", "calls": "tool"}


def asked(plan: Plan, kind: AttemptKind) -> ScriptRequest:
    """The request of an attempt, once the rows are staged and an adapter is collected."""
    target = Target("hf-jobs", "me", "", "hf://datasets/me/staging", "me/a", "me/a-candidates")
    staged = f"hf://datasets/me/staging@{COMMIT}"
    files = {"code/job.py": "code/x/job.py"}
    files |= {name: f"staged/{name}.jsonl" for name in ("train", "evaluation", "shots")}
    artifacts = tuple(
        Artifact("staged", name, f"{staged}/{path}", 1, "0" * 64) for name, path in files.items()
    )
    collected = Event("collected", NOW, {"source": f"hf://models/me/a-candidates@{COMMIT}/1/final"})
    offered = {"repo": "me/a-candidates", "revision": COMMIT}
    candidate = Event("candidate", NOW, offered, "run-0")
    tune = AttemptFacts("run-0", AttemptKind.TUNE, 1, "token", NOW, NOW)
    run = RunFacts("run", plan, 1, target, "data", NOW)
    made = attempt_request(Facts(run, (tune,), (collected, candidate), artifacts), kind, "run-1")
    assert isinstance(made, ScriptRequest)
    return made


def test_every_attempt_is_given_the_time_that_its_own_work_takes(tmp_path: Path) -> None:
    plan = jobs_plan(tmp_path, adapter=True, more="\nexport: {format: gguf}\n").plan
    machine = plan.machine
    assert machine is not None
    longer = machine.model_copy(update={"merge_timeout_s": 7200, "export_timeout_s": 5400})
    plan = plan.model_copy(update={"machine": longer})
    times = [asked(plan, kind).timeout_s for kind in AttemptKind if kind.value != "generate"]
    assert times == [2 * 3600, 7200, 5400]


def test_plans_of_earlier_versions_give_what_follows_an_hour(tmp_path: Path) -> None:
    plan = jobs_plan(tmp_path, adapter=True, more="\nexport: {format: gguf}\n").plan
    value = plan.to_json()
    for name in ("merge_timeout_s", "export_timeout_s"):
        del value["machine"][name]
    del value["estimate"]["finishing_usd"]
    older = Plan.from_json(value)
    assert asked(older, AttemptKind.MERGE).timeout_s == 3600


@pytest.mark.parametrize("line", ["save_steps: 7", "last_layers: 3"])
def test_what_the_spec_says_of_the_training_is_on_its_command_line(
    tmp_path: Path, line: str
) -> None:
    plan = jobs_plan(tmp_path, replace=("  epochs: 15", f"  epochs: 15\n  {line}")).plan
    name, value = line.split(": ")
    command = asked(plan, AttemptKind.TUNE).command
    assert command[command.index(f"--{name.replace('_', '-')}") + 1] == value


@pytest.mark.parametrize(("scorer", "measured"), [("text", True), ("calls", False)])
def test_losses_are_measured_for_the_scorer_of_texts(
    tmp_path: Path, scorer: str, measured: bool
) -> None:
    gates = f"evaluation: {{scorer: {scorer}}}\ngates:\n  - {{metric: {METRICS[scorer]}, min: 0}}\n"
    plan = jobs_plan(tmp_path, rows=150, adapter=True, replace=("gates: none\n", gates)).plan
    command = asked(plan, AttemptKind.GENERATE).command
    assert ("--likelihood" in command) is measured
    assert "--condition" in command
