"""The flags of a script that depart from the job on a small machine, each departure with a line."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.sandbox.jobs.stand_in import value_of, with_value, without
from orchestrator.sandbox.standins.base import StandInOptions

#: What needs a GPU, by the script: the flag, and what it is without one (None: left out).
_NEEDS_GPU: Mapping[str, Mapping[str, str | None]] = {
    "sft.py": {"--quantization": "none", "--precision": "fp32", "--packing": None},
    "generate.py": {"--precision": "fp32", "--engine": "transformers"},
}
#: Optimizers of bitsandbytes, and what does the same in 32 bits.
_OPTIMIZERS = {"adamw_8bit": "adamw_torch", "paged_adamw_8bit": "adamw_torch"}
_MODES = {"peft": "lora", "full": "full"}


def without_gpu(command: tuple[str, ...], script: str) -> tuple[tuple[str, ...], list[str]]:
    """The command as a machine without a GPU can run it."""
    found: list[str] = []
    for flag, value in _NEEDS_GPU.get(script, {}).items():
        if value is None and flag in command:
            command = without(command, flag, takes_value=False)
            found.append(f"{_words(flag)}: off, it needs a GPU")
        elif value is not None:
            command, line = _set(command, flag, value, only_if_given=True)
            found += line
    optimizer = value_of(command, "--optimizer")
    if script == "sft.py" and optimizer in _OPTIMIZERS:
        command, line = _set(command, "--optimizer", _OPTIMIZERS[optimizer])
        found += line
    return command, found


def lightened(
    command: tuple[str, ...], options: StandInOptions
) -> tuple[tuple[str, ...], list[str]]:
    """The command of a training with what the options set in place of what was asked."""
    found: list[str] = []
    for flag, value in _flags(options).items():
        if value is not None:
            command, line = _set(command, flag, str(value))
            found += line
    if options.batch_size is not None:
        # The size of a step was chosen with it.
        command, line = _set(command, "--gradient-accumulation", "1", only_if_given=True)
        found += line
    return command, found


def _flags(options: StandInOptions) -> dict[str, object]:
    return {
        "--learning-rate": options.learning_rate and f"{options.learning_rate:g}",
        "--epochs": options.epochs,
        "--max-length": options.max_length,
        "--batch-size": options.batch_size,
        "--mode": options.mode and _MODES[options.mode],
        "--rank": options.rank,
        "--last-layers": options.last_layers,
    }


def _set(
    command: tuple[str, ...], flag: str, value: str, *, only_if_given: bool = False
) -> tuple[tuple[str, ...], list[str]]:
    before = value_of(command, flag)
    if _same(before, value) or (before is None and only_if_given):
        return command, []
    asked = " (the job sets none)" if before is None else f" instead of {before}"
    return with_value(command, flag, value), [f"{_words(flag)}: {value}{asked}"]


def _same(before: str | None, value: str) -> bool:
    if before == value:
        return True
    try:
        return before is not None and float(before) == float(value)
    except ValueError:
        return False


def _words(flag: str) -> str:
    return flag.removeprefix("--").replace("-", " ")
