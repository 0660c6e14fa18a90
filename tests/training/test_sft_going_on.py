"""Trainings that are killed, told to end, and gone on with from their last checkpoint."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.training.trainings import (
    ROWS,
    Hit,
    Trained,
    arguments,
    needs_training,
    run_all,
    write_rows,
)

pytestmark = pytest.mark.training
#: Three steps an epoch, so that a checkpoint of every second step lies within one.
CADENCE: dict[str, Any] = {"epochs": 4, "save_steps": 2, "dropout": 0.1}
KINDS: dict[str, dict[str, Any]] = {
    "adapter": CADENCE,
    "grouped": {**CADENCE, "group_by_length": True},
    "full": {"epochs": 4, "save_steps": 2, "mode": "full", "learning_rate": 1e-3},
}
KILLED_AT = 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Each kind unbroken, killed, and gone on with; others told to end."""
    needs_training()
    if not hasattr(os, "fork"):
        pytest.skip("a run that is killed is a fork, which this system has none of")
    folder = tmp_path_factory.mktemp("going_on")
    uneven = [{**row, "prompt": "a " * (7 * n % 40)} for n, row in enumerate(ROWS)]
    train = write_rows(folder / "train.jsonl", uneven)
    runs: dict[str, list[str]] = {}
    hits: dict[str, Hit] = {}
    for kind, changes in KINDS.items():
        plain = {**changes, "validation": train}
        checkpoint = folder / f"{kind}_broken" / f"checkpoint-{KILLED_AT}"
        runs[kind] = arguments(folder, kind, train, **plain)
        runs[f"{kind}_broken"] = arguments(folder, f"{kind}_broken", train, **plain)
        hits[f"{kind}_broken"] = Hit("checkpoint", KILLED_AT, signal.SIGKILL)
        runs[f"{kind}_resumed"] = [
            *arguments(folder, f"{kind}_broken", train, **plain),
            *("--resume", str(checkpoint)),
        ]
    last = folder / "adapter" / "checkpoint-4"
    runs["elsewhere"] = arguments(
        folder, "elsewhere", train, **CADENCE, validation=train, resume=last
    )
    runs["told"] = arguments(folder, "told", train, **CADENCE)
    hits["told"] = Hit("log", 5, signal.SIGTERM)
    runs["saving"] = arguments(folder, "saving", train, **CADENCE)
    hits["saving"] = Hit("saving", 4, signal.SIGTERM)
    runs["interrupted"] = arguments(folder, "interrupted", train, **CADENCE)
    hits["interrupted"] = Hit("log", 3, signal.SIGINT)
    runs["longer"] = arguments(folder, "longer", train, **{**CADENCE, "epochs": 5}, resume=last)
    runs["absent"] = arguments(folder, "absent", train, **CADENCE, resume=folder / "nowhere")
    return run_all(folder, train, runs, hits)


def _history(final: Path) -> list[dict[str, Any]]:
    """What was logged, without how long it took, and without a count that trl starts anew."""
    state = json.loads((final / "trainer_state.json").read_text("utf-8"))
    slow = ("runtime", "per_second", "num_tokens")
    return [
        {key: value for key, value in entry.items() if not key.endswith(slow)}
        for entry in state["log_history"]
        if "train_runtime" not in entry
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_ends_like_an_unbroken_one(trained: Trained, kind: str) -> None:
    assert trained.codes[f"{kind}_broken"] == -signal.SIGKILL
    assert trained.codes[f"{kind}_resumed"] == 0, trained.said(f"{kind}_resumed")
    start = trained.events(f"{kind}_resumed")[0]
    assert start["resumed_from"] == f"checkpoint-{KILLED_AT}"
    steps = [one["step"] for one in trained.events(f"{kind}_resumed") if "loss" in one]
    assert steps == list(range(KILLED_AT + 1, 13))
    unbroken, resumed = trained.final(kind), trained.final(f"{kind}_broken")
    assert _history(resumed) == _history(unbroken)
    weights = "model.safetensors" if kind == "full" else "adapter_model.safetensors"
    assert (resumed / weights).read_bytes() == (unbroken / weights).read_bytes()


def test_a_checkpoint_of_another_folder_will_do(trained: Trained) -> None:
    one, other = (
        (trained.final(run) / "adapter_model.safetensors").read_bytes()
        for run in ("adapter", "elsewhere")
    )
    assert one == other


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_reported_when_all_of_it_is_there(trained: Trained, kind: str) -> None:
    # It was killed right after the report, so what is there now was there then.
    folder = trained.folder / f"{kind}_broken"
    reported = [one for one in trained.events(f"{kind}_broken") if one["event"] == "checkpoint"]
    assert [one["folder"] for one in reported] == ["checkpoint-2", "checkpoint-4"]
    assert [one["epoch"] for one in reported] == pytest.approx([2 / 3, 4 / 3])
    names = {file.name for file in (folder / "checkpoint-4").iterdir()}
    assert names >= {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
    assert names >= ({"model.safetensors"} if kind == "full" else {"adapter_model.safetensors"})
    assert not names & {"training_args.bin", "README.md"}


def test_told_to_end_it_says_so_and_keeps_whole_checkpoints(trained: Trained) -> None:
    assert trained.codes["told"] == 128 + signal.SIGTERM
    failed = trained.events("told")[-1]
    assert failed == {"event": "failed", "message": "SIGTERM: told to end"}
    assert trained.said("told") == "sft.py: SIGTERM: told to end"
    left = {one.name for one in (trained.folder / "told").iterdir()}
    assert left == {"checkpoint-2", "checkpoint-4"}


def test_told_to_end_amid_a_checkpoint_nothing_half_is_left(trained: Trained) -> None:
    assert trained.codes["saving"] == 128 + signal.SIGTERM
    assert {one.name for one in (trained.folder / "saving").iterdir()} == {"checkpoint-2"}
    reported = [one["folder"] for one in trained.events("saving") if one["event"] == "checkpoint"]
    assert reported == ["checkpoint-2"]


def test_an_interrupt_ends_it_with_a_code_of_its_own(trained: Trained) -> None:
    assert trained.codes["interrupted"] == 128 + signal.SIGINT
    assert trained.events("interrupted")[-1]["event"] == "failed"


def test_a_checkpoint_of_another_training_is_bad_input(trained: Trained) -> None:
    assert trained.codes["longer"] == 2
    assert "is of a training of 12 steps, and this one has 15" in trained.said("longer")


def test_a_checkpoint_that_is_not_there_is_bad_input(trained: Trained) -> None:
    assert trained.codes["absent"] == 2
    assert "no whole checkpoint: adapter_model.safetensors, optimizer.pt" in trained.said("absent")
