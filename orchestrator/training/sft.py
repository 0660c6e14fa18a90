# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "accelerate==1.15.0",
#     "bitsandbytes==0.50.2; sys_platform == 'linux'",
#     "datasets==5.2.0",
#     "jinja2==3.1.6",
#     "peft==0.21.2",
#     "safetensors==0.8.0",
#     "torch==2.13.0",
#     "trackio==0.43.0",
#     "transformers==5.23.0",
#     "trl==1.16.0",
# ]
# ///
"""Fine-tunes a model on prompt/completion or messages rows: LoRA, QLoRA or full. It only trains.

Runs inside a job, so it imports nothing of the package, only the files `sft_*.py` and `calls.py`
beside it. The loss is taken on the completion only. Standard output: one JSON object a line
(`start`, `log`, `probe`, `checkpoint`, `end`, `failed`). Exit codes: 0 trained; 1 the training went
wrong; 2 the arguments, the rows or the base model are wrong; 143 terminated, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training.sft_arguments import TARGETS, Arguments, parse_arguments
    from orchestrator.training.sft_events import BadInput, Metrics, TrainingStopped
    from orchestrator.training.sft_model import (
        Base,
        load_base,
        refuse_unknown_tokens,
        this_machine,
    )
    from orchestrator.training.sft_probe import Probe
    from orchestrator.training.sft_results import (
        checkpoints,
        drop_half_written,
        refuse_other_checkpoint,
        refuse_used_output,
        tidy,
        write_final,
    )
    from orchestrator.training.sft_rows import IGNORED, Encoded, Row, encode, encode_file, read_rows
    from orchestrator.training.sft_trainer import Splits, make_trainer, step_count, world_size
    from orchestrator.training.sft_watch import make_watcher
else:
    # Run with -I, python does not look beside the script by itself.
    if str(Path(__file__).resolve().parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
    from sft_arguments import TARGETS, Arguments, parse_arguments
    from sft_events import BadInput, Metrics, TrainingStopped
    from sft_model import load_base, refuse_unknown_tokens, this_machine
    from sft_probe import Probe
    from sft_results import (
        checkpoints,
        drop_half_written,
        refuse_other_checkpoint,
        refuse_used_output,
        tidy,
        write_final,
    )
    from sft_rows import IGNORED, Encoded, Row, encode, encode_file, read_rows
    from sft_trainer import Splits, make_trainer, step_count, world_size
    from sft_watch import make_watcher

__all__ = [
    "IGNORED",
    "TARGETS",
    "BadInput",
    "Encoded",
    "Row",
    "TrainingStopped",
    "encode",
    "main",
    "parse_arguments",
    "read_rows",
]


class _Signalled(BaseException):
    """A signal asks for the end; no `except Exception` of a library may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"{signal.Signals(signum).name}: told to end")
        self.exit_code = 128 + signum


def train(arguments: Arguments, metrics: Metrics) -> None:
    """Read, check, train and write; raises `BadInput` or `TrainingStopped`."""
    rows = read_rows(arguments.train)
    validation_rows = read_rows(arguments.validation) if arguments.validation else None
    probe_rows = read_rows(arguments.probe) if arguments.probe else None
    refuse_used_output(arguments)
    _prepare_process(arguments)
    machine = this_machine()
    base = load_base(arguments, machine)
    train_split = encode_file(arguments.train, rows, base.tokenizer, arguments.max_length)
    validation = None
    if arguments.validation and validation_rows is not None:
        validation = encode_file(
            arguments.validation, validation_rows, base.tokenizer, arguments.max_length
        )
    splits = Splits(train_split, validation)
    for split in (train_split, validation):
        if split is not None:
            refuse_unknown_tokens(base, [one["input_ids"] for one in split.examples])
    probe = None
    if probe_rows is not None:
        probe = Probe(probe_rows, base.tokenizer, arguments.answer_syntax, arguments.batch_size)
    whole = {one.name for one in checkpoints(arguments.output)}

    def on_checkpoint(folder: Path, step: int, epoch: float | None) -> None:
        tidy(folder, arguments.base_model_name)
        whole.add(folder.name)
        metrics.emit("checkpoint", step=step, epoch=epoch, folder=folder.name)

    watcher = make_watcher(arguments, base.precision, probe, metrics)
    trainer = make_trainer(arguments, base, machine, splits, watcher, on_checkpoint)
    steps = step_count(len(trainer.train_dataset), arguments)
    refuse_other_checkpoint(arguments, steps)
    _tell_start(arguments, trainer, base, splits, steps, metrics)
    try:
        trainer.train(resume_from_checkpoint=str(arguments.resume) if arguments.resume else None)
        results = write_final(trainer, arguments)
    except BaseException:
        drop_half_written(arguments.output, whole)
        raise
    metrics.emit("end", step=trainer.state.global_step, ended_by=watcher.ended_by, **results)


def _prepare_process(arguments: Arguments) -> None:
    """Settings of the libraries, seeds, threads; some must be there before the libraries are."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if Path(arguments.base_model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is missing, so nothing may be asked for

    import torch
    from transformers import set_seed

    if torch.cuda.is_available() and torch.cuda.device_count() > 1 and world_size() == 1:
        raise BadInput("several GPUs are visible: start with torchrun or set CUDA_VISIBLE_DEVICES")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    set_seed(arguments.seed)


def _parameter_counts(model: Any) -> tuple[int, int]:
    """How many numbers are trained, and how many there are; of 4 bits, two lie in one byte."""
    if hasattr(model, "get_nb_trainable_parameters"):  # an adapter's model knows of them
        trainable, everything = model.get_nb_trainable_parameters()
        return int(trainable), int(everything)
    counts = [(one.numel(), one.requires_grad) for one in model.parameters()]
    return sum(n for n, trained in counts if trained), sum(n for n, _ in counts)


def _tell_start(
    arguments: Arguments, trainer: Any, base: Base, splits: Splits, steps: int, metrics: Metrics
) -> None:
    trainable, parameters = _parameter_counts(trainer.model)
    metrics.emit(
        "start",
        base_model=arguments.base_model_name,
        mode=arguments.mode,
        quantization=arguments.quantization,
        device=trainer.args.device.type,
        precision=base.precision.compute,
        precision_reason=base.precision.reason,
        weights=base.precision.weights,
        parameters=parameters,
        trainable_parameters=trainable,
        steps=steps,
        resumed_from=arguments.resume.name if arguments.resume else None,
        train=splits.train.to_json(),
        validation=splits.validation.to_json() if splits.validation else None,
    )


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into an exception, so that nothing half written stays behind."""

    def end(signum: int, _frame: FrameType | None) -> None:
        # A second signal while tidying up would leave it half done.
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, signal.SIG_IGN)
        raise _Signalled(signum)

    before = {one: signal.signal(one, end) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    arguments = parse_arguments(argv)
    metrics = Metrics(sys.stdout)
    try:
        # Libraries print what they like; standard output is for the metrics alone.
        with contextlib.redirect_stdout(sys.stderr), _ending_on_signals():
            train(arguments, metrics)
    except BadInput as error:
        sys.stderr.write(f"sft.py: {error}\n")
        return 2
    except TrainingStopped as error:
        return _failed(str(error), metrics)
    except _Signalled as error:
        _failed(str(error), metrics)
        return error.exit_code
    except Exception as error:  # whatever else went wrong must be told, and where
        if type(error).__name__ == "OutOfMemoryError":
            return _failed(
                "the GPU's memory is full: lower --batch-size or --max-length, and raise"
                " --gradient-accumulation to keep the size of a step",
                metrics,
            )
        traceback.print_exc()
        return _failed(f"{type(error).__name__}: {error}", metrics)
    return 0


def _failed(message: str, metrics: Metrics) -> int:
    metrics.emit("failed", message=message)
    sys.stderr.write(f"sft.py: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
