"""A training as far as memory, time and cost depend on it, and what it changes of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import InputError
from orchestrator.hardware.catalog import LINEAR_LAYERS, Accelerator, DecoderShape

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingShape:
    """One training. Lengths are in tokens; `longest` is the longest row after it is cut.

    `train_tokens` and `validation_tokens` are those of one pass. At each evaluation, and before the
    training, `probe_tokens` are generated one after the other: at least and at most. The model is
    evaluated every `save_steps`, or after each epoch. `head_in_tiles` says whether the loss is
    computed without holding the logits of a whole batch, as TRL does from 1.16.0 on.
    `checkpointing` computes activations again instead of keeping them; None: as the trainer does,
    on cards only. With `packing`, a row is a sequence that is filled with rows to its length.
    """

    model: DecoderShape
    mode: Literal["peft", "full"]
    longest: int
    batch_size: int
    train_rows: int
    train_tokens: int
    epochs: int
    validation_rows: int = 0
    validation_tokens: int = 0
    probe_tokens: tuple[int, int] = (0, 0)
    rank: int | None = None
    targets: tuple[str, ...] = LINEAR_LAYERS
    last_layers: int | None = None
    dropout: float = 0.0
    quantization: Literal["none", "4bit"] = "none"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    optimizer: str = "adamw_torch"
    gradient_accumulation: int = 1
    checkpointing: bool | None = None
    head_in_tiles: bool = True
    save_steps: int | None = None
    packing: bool = False

    def __post_init__(self) -> None:
        positive = ("longest", "batch_size", "train_rows", "train_tokens", "epochs")
        for name in (*positive, "gradient_accumulation"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} of a training must be at least 1")
        if self.mode == "peft" and (self.rank is None or self.rank < 1):
            raise InputError("a training in mode peft has a rank")
        if self.mode == "full" and self.quantization != "none":
            raise InputError("mode full trains all weights, which 4 bits cannot hold")
        unknown = [one for one in self.adapted if one not in LINEAR_LAYERS]
        if self.mode == "peft" and unknown:
            raise InputError(
                f"the width of {unknown[0]} is not known, so its memory cannot be estimated",
                hint=f"Known: {', '.join(LINEAR_LAYERS)}.",
            )

    @property
    def adapted(self) -> tuple[str, ...]:
        """The last part of the name of each target, each once; `all-linear` are all seven."""
        if self.targets == ("all-linear",):
            return LINEAR_LAYERS
        return tuple(dict.fromkeys(one.rsplit(".", 1)[-1] for one in self.targets))

    @property
    def trained_layers(self) -> int:
        """How many blocks are trained, counted from the last one."""
        layers = self.model.layers
        return layers if self.last_layers is None else min(self.last_layers, layers)

    @property
    def trainable_parameters(self) -> int:
        """What gradients and states of the optimizer are kept for."""
        if self.mode == "peft":
            widths = self.model.linear_widths
            one = sum(sum(widths[name]) for name in self.adapted) * (self.rank or 0)
            return self.trained_layers * one
        if self.last_layers is None:
            return self.model.parameters
        return self.trained_layers * self.model.block_parameters

    @property
    def batch_tokens(self) -> int:
        """Tokens that are held at once, padding included."""
        return min(self.batch_size, self.train_rows) * self.longest

    @property
    def batches(self) -> int:
        """Batches of one pass."""
        return math.ceil(self.train_rows / self.batch_size)

    @property
    def evaluations(self) -> int:
        """How often the model is evaluated, and a checkpoint kept, in the whole training."""
        if self.save_steps is None:
            return self.epochs
        steps = self.epochs * math.ceil(self.batches / self.gradient_accumulation)
        return steps // self.save_steps


def resolve_precision(job: TrainingShape, accelerator: Accelerator | None) -> Precision:
    """The precision of a training on a machine: as asked for, or as the trainer chooses.

    The trainer takes bf16 where the card has it, and fp32 on processors. On older cards it takes
    fp16, but for Gemma 3, which gives NaN in it.
    """
    if job.precision != "auto":
        return job.precision
    if accelerator is None:
        return "fp32"
    if accelerator.bf16:
        return "bf16"
    return "fp32" if job.model.family == "gemma3" else "fp16"
