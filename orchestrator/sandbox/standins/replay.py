"""A stand-in that trains nothing: it leaves a canned adapter, whole and well-formed, in no time."""

from __future__ import annotations

import json
import math
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.sandbox.standins.base import StandInOptions, TrainingJob, TrainingOutcome
from orchestrator.sandbox.standins.layout import (
    MOST_CHECKPOINTS,
    Layout,
    arrange,
    log_file,
    mark,
    write_json,
)
from orchestrator.sandbox.standins.tiny_model import LAYERS, MODULE_SHAPES

NOTE = "canned, nothing was trained"
_BATCH_SIZE = 4


class ReplayStandIn:
    """Writes the files of a training that never happened; equal seeds give equal files."""

    name = "replay"

    def __init__(self, layout: Layout = Layout.FINAL) -> None:
        self._layout = layout

    def train(
        self,
        job: TrainingJob,
        output: Path,
        *,
        options: StandInOptions,
        cancelled: Callable[[], bool],
    ) -> TrainingOutcome:
        """Write the canned output; see `StandIn.train`."""
        differences = (
            (
                f"{NOTE}: random numbers of rank {job.adapter_rank} in the shape of a"
                f" {LAYERS}-layer model stand for the adapter of {job.base_model}"
            ),
            "the losses were made up",
        )
        if cancelled():
            return TrainingOutcome(0, differences)
        batch_size = options.batch_size or _BATCH_SIZE
        steps_per_epoch = max(1, math.ceil(_count_rows(job.train) / batch_size))
        epochs = options.epochs or job.epochs
        rate = options.learning_rate or job.learning_rate
        history = _history(epochs, steps_per_epoch, rate, evaluated=job.validation is not None)
        with tempfile.TemporaryDirectory(dir=output, prefix=".replay-") as name:
            work = Path(name)
            for epoch in range(max(1, epochs - MOST_CHECKPOINTS + 1), epochs + 1):
                step = epoch * steps_per_epoch
                seen = [one for one in history if one["step"] <= step]
                _write_checkpoint(work / f"checkpoint-{step}", job, seen, epoch)
            _write_checkpoint(work / "final", job, history, epochs)
            if job.validation is not None:
                results = {"eval_loss": history[-1]["eval_loss"], "epoch": epochs, "canned": True}
                write_json(work / "final" / "eval_results.json", results)
            arrange(work, output, self._layout)
        events = [{"event": "start", "note": NOTE}]
        events += [{"event": "log", **entry} for entry in history]
        lines = "".join(json.dumps(event) + "\n" for event in events)
        log_file(output).write_text(lines, encoding="utf-8", newline="\n")
        return TrainingOutcome(0, differences)


def _count_rows(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def _history(
    epochs: int, steps_per_epoch: int, learning_rate: float, *, evaluated: bool
) -> list[dict[str, Any]]:
    """A log as the trainer keeps it, each entry marked: loss falls, learning rate decays."""
    history: list[dict[str, Any]] = []
    last = epochs * steps_per_epoch
    for step in range(1, last + 1):
        done = step / last
        entry = {
            "loss": round(0.6 + 1.8 * math.exp(-3 * done), 6),
            "learning_rate": learning_rate * (1 - done),
            "epoch": step / steps_per_epoch,
            "step": step,
            "canned": True,
        }
        history.append(entry)
        if evaluated and step % steps_per_epoch == 0:
            loss = round(0.65 + 1.8 * math.exp(-3 * done), 6)
            history.append(
                {"eval_loss": loss, "epoch": entry["epoch"], "step": step, "canned": True}
            )
    return history


def _write_checkpoint(
    folder: Path, job: TrainingJob, history: list[dict[str, Any]], epoch: int
) -> None:
    folder.mkdir(parents=True)
    # Checkpoints differ, as those of a training would; `final` is the last of them.
    _write_adapter(folder / "adapter_model.safetensors", job.adapter_rank, f"{job.seed}/{epoch}")
    write_json(
        folder / "adapter_config.json",
        {
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "lora_alpha": 2 * job.adapter_rank,
            "lora_dropout": 0.0,
            "modules_to_save": None,
            "peft_type": "LORA",
            "r": job.adapter_rank,
            "rank_pattern": {},
            "target_modules": sorted(module.rpartition(".")[2] for module in MODULE_SHAPES),
            "task_type": "CAUSAL_LM",
            "use_rslora": False,
        },
    )
    state = {
        "canned": True,
        "epoch": float(epoch),
        "global_step": history[-1]["step"],
        "log_history": history,
    }
    write_json(folder / "trainer_state.json", state)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    mark(folder, job, name=ReplayStandIn.name, note=NOTE)


def _write_adapter(file: Path, rank: int, seed: str) -> None:
    """A safetensors file of A and B matrices with small random values."""
    numbers = random.Random(seed)  # noqa: S311 (values to fill a file, no secrets)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for layer in range(LAYERS):
        for module, (output_size, input_size) in MODULE_SHAPES.items():
            for side, shape in (("A", (rank, input_size)), ("B", (output_size, rank))):
                start, count = len(data), shape[0] * shape[1]
                data += struct.pack(f"<{count}f", *(numbers.random() / 50 for _ in range(count)))
                header[f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight"] = {
                    "dtype": "F32",
                    "shape": list(shape),
                    "data_offsets": [start, len(data)],
                }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of eight bytes
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
