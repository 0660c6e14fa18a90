"""An adapter on the base model that it was trained on: its files, and the two put together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training.sft_events import BadInput
else:
    from sft_events import BadInput

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def check_base(adapter: Path, names: tuple[str, ...], revision: str | None, other: bool) -> Any:
    """The adapter's configuration; raises `BadInput` unless it was trained on this base.

    `names` are what the base may be called; `other` allows every base.
    """
    file = adapter / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: is not the configuration of an adapter: {error}") from error
    if not (adapter / WEIGHTS).is_file():
        raise BadInput(f"{adapter}: holds no {WEIGHTS}")
    if other:
        return config
    if base not in names:
        raise BadInput(
            f"{file}: base_model_name_or_path: the adapter was trained on {base}, not on"
            f" {names[0]}; give that base model, or --other-base if the two are the same model"
        )
    trained = config.get("revision")
    if trained and revision and trained != revision:
        raise BadInput(
            f"{file}: revision: the adapter was trained on revision {trained}, not on"
            f" {revision}; give --base-revision {trained}"
        )
    return config


def attach(model: Any, adapter: Path, **options: Any) -> Any:
    """Base and adapter together; raises `BadInput` where a tensor has no place or is missing.

    PEFT itself only warns of either, and answers as the base alone would.
    """
    from peft import PeftModel, get_peft_model_state_dict

    try:
        together = PeftModel.from_pretrained(model, str(adapter), **options)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise BadInput(
            f"--adapter {adapter}: does not fit the base model: {first_line(error)}"
        ) from error
    have = get_peft_model_state_dict(together, save_embedding_layers=False)
    given = {name.replace(".default", "") for name in have}
    # PEFT stores the unchanged embedding beside its adapter.
    stored = {
        name
        for name, _ in file_tensors(adapter / WEIGHTS)
        if not name.endswith(".base_layer.weight")
    }
    if given != stored:
        one = sorted(given ^ stored)[0]
        where = "is missing in the adapter" if one in given else "has no place in the base model"
        raise BadInput(f"--adapter {adapter}: {one} {where} ({len(given ^ stored)} such tensors)")
    return together.eval()


def file_tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """Every tensor of a safetensors file, one at a time; raises `BadInput`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                yield name, tensors.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{file}: cannot be read: {first_line(error)}") from error


def not_finite(tensors: Iterator[tuple[str, Any]]) -> str | None:
    """The first of the tensors that holds NaN or infinity."""
    import torch

    for name, tensor in tensors:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return None


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))
