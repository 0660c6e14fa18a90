"""What a training leaves: folders that hold no pickles of the trainer's and no local paths."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.sft_arguments import Arguments
    from orchestrator.training.sft_events import BadInput, TrainingStopped
else:
    from sft_events import BadInput, TrainingStopped

#: Written by whoever runs this script and keeps what it says; it makes no folder a used one.
ALLOWED = {"metrics.jsonl"}
#: All that a checkpoint needs to be gone on from, beside weights; the last one is written last.
RESUMABLE = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
#: Whose versions decide what comes of a training.
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes")
_DRAFT = ".final"  # becomes final/ when all of it is there
_WEIGHTS = {
    "lora": ("adapter_model.safetensors",),
    "full": ("model.safetensors", "model.safetensors.index.json"),
}


def checkpoints(output: Path) -> list[Path]:
    """The checkpoints in a folder, whole or not."""
    return sorted(one for one in output.glob("checkpoint-*") if one.is_dir())


def refuse_used_output(arguments: Arguments) -> None:
    """Raise `BadInput` if the output folder holds what may be somebody's, or another training's.

    To go on from a checkpoint, that checkpoint and others like it may be there.
    """
    output = arguments.output
    if not output.exists():
        return
    if not output.is_dir():
        raise BadInput(f"--output {output}: is a file; name a new folder")
    mine = {_DRAFT, *(one.name for one in checkpoints(output))} if arguments.resume else set()
    others = sorted({one.name for one in output.iterdir()} - ALLOWED - mine)
    if others:
        raise BadInput(f"--output {output}: is not empty ({others[0]}); name a new folder")


def refuse_other_checkpoint(arguments: Arguments, max_steps: int) -> None:
    """Raise `BadInput` unless the checkpoint is whole and of a training of as many steps."""
    folder = arguments.resume
    if folder is None:
        return
    missing = [name for name in RESUMABLE if not (folder / name).is_file()]
    weights = _WEIGHTS[arguments.mode]
    if not any((folder / name).is_file() for name in weights):
        missing.insert(0, weights[0])
    if missing:
        raise BadInput(f"--resume {folder}: no whole checkpoint: {', '.join(missing)} not there")
    try:
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        planned, done = int(state["max_steps"]), int(state["global_step"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"--resume {folder}: trainer_state.json cannot be read: {error}") from error
    if planned != max_steps or done > max_steps:
        raise BadInput(
            f"--resume {folder}: is of a training of {planned} steps, and this one has {max_steps};"
            " rows, --epochs and batches must be the same"
        )


def tidy(folder: Path, base_model_name: str) -> None:
    """Drop what may not reach a repository, and name the base model as others know it."""
    # A pickle, and a card that PEFT writes, which names local paths.
    for name in ("training_args.bin", "README.md"):
        (folder / name).unlink(missing_ok=True)
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        value = json.loads(adapter.read_text(encoding="utf-8"))
        value["base_model_name_or_path"] = base_model_name
        if isinstance(value["target_modules"], list):
            # PEFT writes a set: without an order, equal trainings would leave unequal files.
            value["target_modules"] = sorted(value["target_modules"])
        _write_json(adapter, value)


def _write_json(file: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    draft = file.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def refuse_non_finite_weights(model: Any, step: int) -> None:
    """Raise `TrainingStopped` if what was trained is NaN or infinite: no use to go on from it."""
    import torch

    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise TrainingStopped(
                f"{name} is not finite after step {step}: the training diverged;"
                " lower --learning-rate or look at the rows"
            )


def write_final(trainer: Any, arguments: Arguments) -> dict[str, float]:
    """Write `final/`, whole or not at all; returns the metrics of the last evaluation."""
    refuse_non_finite_weights(trainer.model, trainer.state.global_step)
    draft = arguments.output / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    trainer.save_model(str(draft))
    evaluations = [one for one in trainer.state.log_history if "eval_loss" in one]
    results = dict(evaluations[-1]) if evaluations else {}
    results.pop("step", None)
    if results:
        text = json.dumps(results, indent=2) + "\n"
        (draft / "eval_results.json").write_text(text, encoding="utf-8")
    # The path of a checkpoint on the training machine says nothing to anyone else.
    trainer.state.best_model_checkpoint = None
    trainer.state.save_to_json(str(draft / "trainer_state.json"))
    _write_json(draft / "libraries.json", _libraries())
    tidy(draft, arguments.base_model_name)
    draft.replace(arguments.output / "final")
    return results


def _libraries() -> dict[str, str]:
    """The versions of what trained."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def drop_half_written(output: Path, whole: set[str]) -> None:
    """Delete checkpoints that were never reported, and a `final/` that was not finished."""
    for folder in checkpoints(output):
        if folder.name not in whole:
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(output / _DRAFT, ignore_errors=True)
