"""The trainer: what is asked for in the words of TRL, and checkpoints reported when whole."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.sft_arguments import Arguments
    from orchestrator.training.sft_events import BadInput
    from orchestrator.training.sft_model import (
        Base,
        Machine,
        Precision,
        freeze_first_blocks,
        lora_config,
        use_full_precision_adapter,
    )
    from orchestrator.training.sft_results import refuse_non_finite_weights
    from orchestrator.training.sft_rows import Encoded
else:
    from sft_events import BadInput
    from sft_model import freeze_first_blocks, lora_config, use_full_precision_adapter
    from sft_results import refuse_non_finite_weights

MOST_CHECKPOINTS = 10
#: How many times the metrics are logged, about.
LOGS = 100


@dataclass(frozen=True)
class Splits:
    """The rows of a training, encoded."""

    train: Encoded
    validation: Encoded | None


def world_size() -> int:
    """How many processes train together: torchrun says so."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def step_count(rows: int, arguments: Arguments) -> int:
    """Steps of a whole training."""
    batches = math.ceil(rows / (arguments.batch_size * world_size()))
    return math.ceil(batches / arguments.gradient_accumulation) * arguments.epochs


def training_options(
    arguments: Arguments, precision: Precision, machine: Machine, *, steps: int, validated: bool
) -> dict[str, Any]:
    """Arguments for `SFTConfig`; raises `BadInput` for what is not installed."""
    cadence = "steps" if arguments.save_steps else "epoch"
    return {
        "output_dir": str(arguments.output),
        "num_train_epochs": arguments.epochs,
        "per_device_train_batch_size": arguments.batch_size,
        "per_device_eval_batch_size": arguments.batch_size,
        "gradient_accumulation_steps": arguments.gradient_accumulation,
        "learning_rate": arguments.learning_rate,
        "weight_decay": arguments.weight_decay,
        "max_grad_norm": arguments.max_grad_norm,
        "lr_scheduler_type": arguments.scheduler,
        "warmup_steps": arguments.warmup_ratio,  # below 1 it is a share of all steps
        "optim": _optimizer(arguments.optimizer),
        "seed": arguments.seed,
        "data_seed": arguments.seed,
        "use_cpu": not machine.cuda,
        # TRL turns both on everywhere; on a CPU they only cost time.
        "bf16": precision.compute == "bf16",
        "activation_checkpointing": machine.cuda,
        "fp16": precision.compute == "fp16",
        "dataloader_pin_memory": machine.cuda,
        "max_length": arguments.max_length,
        "packing": arguments.packing,
        "eval_packing": False,
        "train_sampling_strategy": "group_by_length" if arguments.group_by_length else "random",
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "logging_steps": max(1, steps // LOGS),
        "logging_first_step": True,
        # The filter would log the last finite loss in place of NaN.
        "logging_nan_inf_filter": False,
        "save_strategy": cadence,
        "save_steps": arguments.save_steps or 500,
        "save_total_limit": MOST_CHECKPOINTS,
        "eval_strategy": cadence if validated else "no",
        "eval_steps": arguments.save_steps,
        "prediction_loss_only": True,
        "report_to": _reporters(arguments.track),
        "project": os.environ.get("TRACKIO_PROJECT", "orchestrator"),
        "disable_tqdm": True,
    }


def _optimizer(name: str) -> str:
    if "8bit" in name or name.startswith("paged"):
        _need("bitsandbytes", f"--optimizer {name}")
    return name


def _reporters(track: str) -> str:
    if track == "trackio":
        _need("trackio", "--track trackio")
    return track


def _need(package: str, asked: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise BadInput(f"{asked}: {package} is not installed; install it, or leave this out")


def make_trainer(
    arguments: Arguments,
    base: Base,
    machine: Machine,
    splits: Splits,
    callback: Any,
    on_checkpoint: Callable[[Path, int, float | None], None],
) -> Any:
    """A trainer that calls `on_checkpoint` with folder, step and epoch of each whole checkpoint."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, pack_dataset

    train = Dataset.from_list(splits.train.examples)
    if arguments.packing:
        train = pack_dataset(train, arguments.max_length)
    validation = Dataset.from_list(splits.validation.examples) if splits.validation else None
    steps = step_count(len(train), arguments)
    options = training_options(
        arguments, base.precision, machine, steps=steps, validated=validation is not None
    )
    lora = arguments.mode == "lora"
    if not lora:
        freeze_first_blocks(arguments, base.model)
    if not machine.cuda:
        score_answers_only()
    trainer = _trainer_class()(
        model=base.model,
        args=SFTConfig(**options),
        train_dataset=train,
        eval_dataset=validation,
        processing_class=base.tokenizer,
        peft_config=lora_config(arguments, base.model) if lora else None,
        callbacks=[callback],
    )
    trainer.on_checkpoint = on_checkpoint
    if lora:
        use_full_precision_adapter(trainer.model)
    trainer.remove_callback(PrinterCallback)
    return trainer


def score_answers_only() -> None:
    """Have the head compute the tokens that are learned, on a CPU too: the loss is the same.

    TRL does so on a GPU only. Elsewhere it computes every position, as some accelerators compile
    anew for each shape; a CPU does not, and for a short answer behind a prompt it takes a third
    off a step.
    """
    import trl.trainer.utils

    # Asked in one place only: whether positions without a label may be left out.
    trl.trainer.utils._use_triton = lambda _device: True


def _trainer_class() -> Any:
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices
    from trl import SFTTrainer

    class SeededLengthSampler(LengthGroupedSampler):  # type: ignore[misc]  # not type-checked
        """Its order depends on seed and epoch alone, so that a resumed training has the same."""

        seed = 0
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            """Called by the loader at the start of each epoch."""
            self.epoch = epoch

        def __iter__(self) -> Any:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            return iter(
                get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)
            )

    class Trainer(SFTTrainer):  # type: ignore[misc]  # trl is not type-checked
        """Tells of a checkpoint when all of it is on the disk."""

        on_checkpoint: Callable[[Path, int, float | None], None]

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            sampler = super()._get_train_sampler(train_dataset)
            if isinstance(sampler, LengthGroupedSampler):
                sampler = SeededLengthSampler(sampler.batch_size, lengths=sampler.lengths)
                sampler.seed = self.args.seed
            return sampler

        def create_model_card(self, *_args: Any, **_kwargs: Any) -> None:
            """Write none: it would name local paths, and evidence for a card comes later."""

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            # The loss is logged seldom; a checkpoint in between must not take a good one's place.
            refuse_non_finite_weights(self.model, self.state.global_step)
            super()._save_checkpoint(model, trial)
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            self.on_checkpoint(folder, self.state.global_step, self.state.epoch)

    return Trainer
