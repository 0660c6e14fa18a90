"""The folders in which the real service has been seen to leave a tuned model.

The service's documentation shows `final/`; users have read adapters from the other places.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.sandbox.standins.base import STAND_IN_KEY, TrainingJob

CHECKPOINTS = Path("postprocess/node-0/checkpoints")
STDOUT = Path("executor/node-0/stdout")
#: The service keeps no more.
MOST_CHECKPOINTS = 10
_METRIC_FILES = ("trainer_state.json", "eval_results.json")


class Layout(StrEnum):
    """Where the final adapter is, below the folder of the checkpoints."""

    FINAL = "final"
    CHECKPOINT_FINAL = "final/checkpoint-final"
    #: The adapter's files alone; metrics stay in `final/`.
    ADAPTER = "final/adapter"
    FINAL_OUTPUT = "final_output"


def log_file(output: Path) -> Path:
    """Where the log of the training goes; its folder is made."""
    file = output / STDOUT
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def arrange(trained: Path, output: Path, layout: Layout) -> None:
    """Move `final/` and the last `checkpoint-N/` of a training to where the service leaves them."""
    checkpoints = output / CHECKPOINTS
    checkpoints.mkdir(parents=True, exist_ok=True)
    numbered = sorted(trained.glob("checkpoint-*"), key=_step)
    for folder in numbered[-MOST_CHECKPOINTS:]:
        shutil.move(folder, checkpoints / folder.name)
    # The real service does not tell with what it trained.
    (trained / "final/libraries.json").unlink(missing_ok=True)
    _place(trained / "final", checkpoints, layout)


def rearrange(output: Path, layout: Layout) -> None:
    """Move the final adapter of an output in the layout `FINAL` to where another one has it."""
    final = output / CHECKPOINTS / Layout.FINAL.value
    if layout is Layout.FINAL or not final.is_dir():
        return
    # Aside first: the new place may be inside the old one.
    aside = final.with_name(".final")
    final.rename(aside)
    _place(aside, output / CHECKPOINTS, layout)


def _place(trained_final: Path, checkpoints: Path, layout: Layout) -> None:
    final = checkpoints / layout.value
    final.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(trained_final, final)
    if layout is Layout.ADAPTER:
        for name in _METRIC_FILES:
            if (final / name).exists():
                shutil.move(final / name, final.parent / name)


def _step(folder: Path) -> int:
    found = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(found[1]) if found else -1


def mark(folder: Path, job: TrainingJob, *, name: str, note: str) -> None:
    """Rewrite what a checkpoint says of its origin: as the service would, and that it is no such.

    The adapter names the real base model, the tokenizer a folder of the service's own tenant
    (real ones do), and the adapter says what stood in.
    """
    config = _read(folder / "adapter_config.json")
    config["base_model_name_or_path"] = job.hub_id
    config[STAND_IN_KEY] = {"name": name, "for": job.base_model, "note": note}
    write_json(folder / "adapter_config.json", config)
    tokenizer = _read(folder / "tokenizer_config.json")
    # Leftovers of the machine that made the stand-in, not of the service.
    for key in ("is_local", "local_files_only"):
        tokenizer.pop(key, None)
    tenant = hashlib.sha256(job.job_id.encode()).hexdigest()[:16]
    tokenizer["name_or_path"] = f"/mnt/caip-tenant-{tenant}/tuning/base_model"
    write_json(folder / "tokenizer_config.json", tokenizer)


def _read(file: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def write_json(file: Path, value: Any) -> None:
    """Write JSON as the trainers do."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8", newline="\n")
