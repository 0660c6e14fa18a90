"""Jobs that answer under several conditions, by the Hub's client: made up, and really generated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, Volume

from orchestrator.sandbox.edge.rules import FaultPlan, JobRule, Outcome
from orchestrator.sandbox.jobs.face import Stage as JobStage
from orchestrator.sandbox.jobs.stand_in import JobStandIn
from orchestrator.sandbox.jobs.stand_ins import job_stand_in
from orchestrator.sandbox.standins.base import StandInOptions
from tests.sandbox.jobs.stage import Stage, kept, staged, submit
from tests.sandbox.jobs.test_made_up_answers import FIELDS, right, texts

TOKEN = {"HF_TOKEN": "hf_alice"}
BASE = ["--base-model", "google/gemma-3-270m", "--base-revision", "abc"]


def run_job(stage: Stage, api: HfApi, command: list[str], *volumes: Volume) -> tuple[str, ...]:
    """Run a job to its good end; where it departed from what was asked."""
    job = submit(api, command, volumes=list(volumes), secrets=TOKEN)
    ended = stage.face.wait_until_ended(job, timeout_s=300)
    assert ended.stage is JobStage.COMPLETED, stage.log(job)
    return ended.differences


def answers_on_branch(api: HfApi, prefix: str, condition: str) -> list[dict[str, Any]]:
    path = f"{prefix}/{condition}/predictions.jsonl"
    file = Path(str(api.hf_hub_download("alice/m-candidates", path, revision="r-1")))
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def tuned_volume() -> Volume:
    return Volume(type="model", source="alice/m-candidates", revision="r-1", mount_path="/tuned")


TRAIN = ["sft.py", *BASE, "--train", "/o/staged/rows.jsonl"]
ASK = ["generate.py", *BASE, "--rows", "/o/staged/rows.jsonl", "--max-new-tokens", "8"]
CONDITIONS = [
    *("--condition", "tuned", "adapter=/tuned/p-1/final", "--condition", "base"),
    *("--condition", "few-shot", "shots=/o/staged/rows.jsonl", "count=2"),
]


def test_replay_answers_for_all_conditions_in_one_job_without_a_model(
    stage: Stage, tmp_path: Path
) -> None:
    stand_in = job_stand_in("replay", tmp_path / "stand-ins", StandInOptions())
    with stage.serving(stand_in=stand_in) as api:
        mount = staged(api, texts(20))
        run_job(stage, api, kept("p-1", *TRAIN), mount)
        told = run_job(stage, api, kept("p-2", *ASK, *CONDITIONS), mount, tuned_volume())
        assert told[0].startswith("answers: made up from what is expected")
        found = {
            name: right(answers_on_branch(api, "p-2", name))
            for name in ("tuned", "base", "few-shot")
        }
        assert found == {"tuned": 18, "base": 6, "few-shot": 6}


def learned(
    stage: Stage, stand_in: JobStandIn, conditions: list[str], faults: FaultPlan | None = None
) -> dict[str, int]:
    """Train the tiny model for real, and ask it for real: right answers by condition."""
    rows = [{"prompt": f"{word}:", "completion": word} for word in ("red", "blue", "green", "odd")]
    with stage.serving(stand_in=stand_in, faults=faults) as api:
        mount = staged(api, rows)
        recipe = ["--epochs", "30", "--learning-rate", "0.01", "--rank", "8", "--threads", "1"]
        run_job(stage, api, kept("p-1", *TRAIN, *recipe), mount)
        ask = [*ASK, "--threads", "1", *conditions]
        told = run_job(stage, api, kept("p-2", *ask), mount, tuned_volume())
        assert not [line for line in told if line.startswith("answers:")]
        names = [conditions[n + 1] for n, word in enumerate(conditions) if word == "--condition"]
        answered = {name: answers_on_branch(api, "p-2", name) for name in names}
        files = api.list_repo_files("alice/m-candidates", revision="r-1")
        assert {f"p-2/{name}/run.json" for name in names} < set(files)
        assert all(tuple(one) == FIELDS for name in answered for one in answered[name])
        return {name: right(answered[name]) for name in answered}


@pytest.mark.slow
@pytest.mark.training
def test_a_weakened_adapter_answers_like_the_base_and_a_sound_one_better(tmp_path: Path) -> None:
    weakened = FaultPlan(jobs=(JobRule(outcome=Outcome.WEAKEN, target="sft.py"),))
    found = []
    for number, (faults, conditions) in enumerate(((None, CONDITIONS), (weakened, CONDITIONS[:5]))):
        folder = tmp_path / str(number)
        folder.mkdir()
        stand_in = job_stand_in("tiny", folder / "stand-ins", StandInOptions(answers="real"))
        found.append(learned(Stage(folder), stand_in, conditions, faults))
    sound, weak = found
    assert (sound["tuned"], sound["base"]) == (4, 0)
    assert weak == {"tuned": 0, "base": 0}
    assert "few-shot" in sound
