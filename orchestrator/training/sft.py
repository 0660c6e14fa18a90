# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "accelerate==1.15.0",
#     "datasets==5.2.0",
#     "jinja2==3.1.6",
#     "peft==0.21.2",
#     "safetensors==0.8.0",
#     "torch==2.13.0",
#     "transformers==5.23.0",
#     "trl==1.16.0",
# ]
# ///
"""Trains a LoRA adapter on prompt/completion or messages rows. It only trains.

Runs inside a job, so it imports nothing of the package. The loss is taken on the completion only.
Standard output: one JSON object a line. Exit codes: 0 trained; 1 the training went wrong; 2 the
arguments, the rows or the base model are wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MOST_CHECKPOINTS = 10
IGNORED = -100  # what the loss leaves out


class BadInput(Exception):
    """The arguments, the rows or the base model are wrong: exit code 2."""


class TrainingStopped(Exception):
    """The training cannot go on: exit code 1."""


@dataclass(frozen=True)
class Row:
    """One example. `prompt` and `completion` are both texts or both lists of chat messages."""

    place: str
    prompt: Any
    completion: Any
    tools: Any = None


@dataclass(frozen=True)
class Encoded:
    """Rows as the trainer takes them, and what became of them on the way."""

    examples: list[dict[str, list[int]]]
    row_count: int
    truncated_count: int
    dropped_count: int
    token_count: int
    trainable_token_count: int

    def to_json(self) -> dict[str, int]:
        """The counts, for the metrics."""
        return {
            "rows": self.row_count,
            "truncated": self.truncated_count,
            "dropped": self.dropped_count,
            "tokens": self.token_count,
            "trainable_tokens": self.trainable_token_count,
        }


class Metrics:
    """Writes events as JSON lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event; NaN and infinity become strings, which JSON has no numbers for."""
        finite = {
            key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in fields.items()
        }
        line = json.dumps({"event": event, **finite}, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()


# --- Arguments ---------------------------------------------------------------------------------


def _at_least(minimum: int) -> Any:
    def parse(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, not {text}")
        return value

    parse.__name__ = "whole number"
    return parse


def _real(low: float, high: float, *, low_included: bool) -> Any:
    def parse(text: str) -> float:
        value = float(text)
        if not (low <= value < high) or (value == low and not low_included):
            raise argparse.ArgumentTypeError(f"{text} is out of range")
        return value

    parse.__name__ = "number"
    return parse


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; argparse itself exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="sft.py", description="Train a LoRA adapter with the loss on the completion only."
    )
    add = parser.add_argument
    add("--base-model", required=True, help="folder of a base model, or its id on the Hub")
    add("--train", required=True, type=Path, help="JSONL rows: prompt and completion, or messages")
    add("--validation", type=Path, help="JSONL rows to evaluate on after each epoch")
    add("--output", required=True, type=Path, help="new or empty folder for the results")
    add("--epochs", type=_at_least(1), default=3)
    add("--learning-rate", type=_real(0, math.inf, low_included=False), default=2e-4)
    add("--rank", type=_at_least(1), default=16, help="rank of the adapter")
    add("--alpha", type=_at_least(1), help="scale of the adapter (default: twice the rank)")
    add("--dropout", type=_real(0, 1, low_included=True), default=0.0)
    add("--targets", nargs="+", default=list(TARGETS), help="names of the modules to adapt")
    add("--max-length", type=_at_least(2), default=2048, help="tokens a row; the rest is cut off")
    add("--batch-size", type=_at_least(1), default=8, help="rows a step")
    add("--seed", type=_at_least(0), default=42)
    arguments = parser.parse_args(argv)
    if arguments.alpha is None:
        arguments.alpha = 2 * arguments.rank
    return arguments


# --- Rows --------------------------------------------------------------------------------------


def read_rows(file: Path) -> list[Row]:
    """All rows of a JSONL file; raises `BadInput` that names the line. Blank lines are skipped."""
    rows = []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    rows.append(_row(line, f"{file}:{number}"))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: is not UTF-8 text: {error.reason}") from error
    if not rows:
        raise BadInput(f"{file}: holds no rows")
    return rows


def _row(line: str, place: str) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{place}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{place}: is not a JSON object")
    tools = value.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except ValueError as error:
            raise BadInput(f"{place}: tools is not JSON: {error}") from error
    if "messages" in value:
        messages = value["messages"]
        if not _are_messages(messages) or messages[-1]["role"] not in ("assistant", "model"):
            raise BadInput(f"{place}: messages must be a list that ends with the assistant's turn")
        return Row(place, messages[:-1], messages[-1:], tools)
    prompt, completion = value.get("prompt"), value.get("completion")
    texts = isinstance(prompt, str) and isinstance(completion, str) and completion != ""
    if not texts and not (_are_messages(prompt) and _are_messages(completion)):
        raise BadInput(f"{place}: needs prompt and completion as texts, or messages")
    return Row(place, prompt, completion, tools)


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in value)
    )


def encode(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
    """Tokenize, cut to `max_length` tokens, and leave out rows of whose completion nothing is left.

    Done here rather than by the trainer, which cuts and drops rows without saying so.
    """
    if tokenizer.eos_token_id is None:
        raise BadInput("the tokenizer of the base model has no end-of-text token")
    examples, truncated, dropped = [], 0, 0
    for row in rows:
        ids, start = _tokens(row, tokenizer)
        truncated += len(ids) > max_length
        if start >= min(len(ids), max_length):
            dropped += 1
            continue
        labels = [IGNORED] * start + ids[start:]
        examples.append({"input_ids": ids[:max_length], "labels": labels[:max_length]})
    return Encoded(
        examples=examples,
        row_count=len(rows),
        truncated_count=truncated,
        dropped_count=dropped,
        token_count=sum(len(one["input_ids"]) for one in examples),
        trainable_token_count=sum(label != IGNORED for one in examples for label in one["labels"]),
    )


def _tokens(row: Row, tokenizer: Any) -> tuple[list[int], int]:
    """Token ids of prompt and completion, and where the completion starts."""
    if isinstance(row.prompt, str):
        prompt: list[int] = tokenizer(row.prompt)["input_ids"]
        whole: list[int] = tokenizer(row.prompt + row.completion)["input_ids"]
        if not whole or whole[-1] != tokenizer.eos_token_id:
            whole = [*whole, tokenizer.eos_token_id]
    else:
        prompt = _chat_tokens(row, tokenizer, row.prompt, add_generation_prompt=True)
        whole = _chat_tokens(row, tokenizer, row.prompt + row.completion)
    # Tokens may merge across the boundary, so the completion starts where the two part.
    start = 0
    for one, other in zip(prompt, whole, strict=False):
        if one != other:
            break
        start += 1
    return whole, start


def _chat_tokens(row: Row, tokenizer: Any, messages: Any, **options: bool) -> list[int]:
    if not tokenizer.chat_template:
        raise BadInput(f"{row.place}: holds messages, but the base model has no chat template")
    try:
        text = tokenizer.apply_chat_template(messages, tools=row.tools, tokenize=False, **options)
    except Exception as error:  # templates raise whatever they like
        raise BadInput(f"{row.place}: the chat template refuses the messages: {error}") from error
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _encode_file(file: Path, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
    encoded = encode(rows, tokenizer, max_length)
    if not encoded.examples:
        raise BadInput(
            f"{file}: no trainable token is left: the prompts alone fill --max-length {max_length}"
        )
    return encoded


# --- Training ----------------------------------------------------------------------------------


def load_base(name: str, targets: Sequence[str], *, cuda: bool) -> tuple[Any, Any]:
    """The base model and its tokenizer; raises `BadInput` if they cannot be had."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = torch.bfloat16 if cuda and torch.cuda.is_bf16_supported() else torch.float32
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        line = next((one for one in str(error).splitlines() if one.strip()), repr(error))
        raise BadInput(f"--base-model {name}: cannot be loaded: {line}") from error
    have = {path.rsplit(".", 1)[-1] for path, _ in model.named_modules()}
    missing = [target for target in targets if target not in have]
    if missing:
        raise BadInput(f"--targets: {name} has no modules called {', '.join(missing)}")
    return model, tokenizer


def _make_trainer(
    arguments: argparse.Namespace,
    loaded: tuple[Any, Any],
    train: Encoded,
    validation: Encoded | None,
    metrics: Metrics,
) -> Any:
    """A trainer with the defaults that suit the machine it is on."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = loaded
    cuda = torch.cuda.is_available()
    steps = math.ceil(len(train.examples) / arguments.batch_size) * arguments.epochs
    config = SFTConfig(
        output_dir=str(arguments.output),
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=arguments.batch_size,
        per_device_eval_batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        seed=arguments.seed,
        data_seed=arguments.seed,
        use_cpu=not cuda,
        # TRL turns both on everywhere; on a CPU they only cost time.
        bf16=cuda and torch.cuda.is_bf16_supported(),
        activation_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        max_length=arguments.max_length,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=max(1, steps // 100),
        logging_first_step=True,
        # The filter would log the last finite loss in place of NaN.
        logging_nan_inf_filter=False,
        save_strategy="epoch",
        save_total_limit=MOST_CHECKPOINTS,
        eval_strategy="epoch" if validation else "no",
        prediction_loss_only=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(train.examples),
        eval_dataset=Dataset.from_list(validation.examples) if validation else None,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=arguments.rank,
            lora_alpha=arguments.alpha,
            lora_dropout=arguments.dropout,
            target_modules=list(arguments.targets),
        ),
        callbacks=[_make_watcher(metrics)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _make_watcher(metrics: Metrics) -> Any:
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked
        """Passes what is logged on as events, and stops a training that has diverged."""

        def on_log(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            logs = dict(kwargs.get("logs") or {})
            metrics.emit("log", step=state.global_step, **logs)
            for name in ("loss", "grad_norm", "eval_loss"):
                if not math.isfinite(float(logs.get(name, 0.0))):
                    raise TrainingStopped(
                        f"{name} is {logs[name]} at step {state.global_step}:"
                        " the training diverged; lower --learning-rate or look at the rows"
                    )

        def on_save(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
            metrics.emit("checkpoint", step=state.global_step, epoch=state.epoch)

    return Watcher()


def _write_results(trainer: Any, output: Path) -> dict[str, float]:
    """Write `final/` and tidy the checkpoints; the metrics of the last evaluation."""
    import torch

    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise TrainingStopped(
                f"{name} is not finite after the last step; lower --learning-rate"
            )
    final = output / "final"
    trainer.save_model(str(final))
    evaluations = [one for one in trainer.state.log_history if "eval_loss" in one]
    results = dict(evaluations[-1]) if evaluations else {}
    results.pop("step", None)
    if results:
        text = json.dumps(results, indent=2) + "\n"
        (final / "eval_results.json").write_text(text, encoding="utf-8")
    # The path of a checkpoint on the training machine says nothing to anyone else.
    trainer.state.best_model_checkpoint = None
    trainer.state.save_to_json(str(final / "trainer_state.json"))
    for folder in (output, final, *output.glob("checkpoint-*")):
        # A pickle, and a card that names local paths: neither may reach a repository.
        for name in ("training_args.bin", "README.md"):
            (folder / name).unlink(missing_ok=True)
        _sort_targets(folder / "adapter_config.json")
    return results


def _sort_targets(config: Path) -> None:
    """PEFT writes a set: without an order, equal trainings would leave unequal files."""
    if config.is_file():
        value = json.loads(config.read_text(encoding="utf-8"))
        value["target_modules"] = sorted(value["target_modules"])
        config.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def train(arguments: argparse.Namespace, metrics: Metrics) -> None:
    """Read, check, train and write; raises `BadInput` or `TrainingStopped`."""
    rows = read_rows(arguments.train)
    validation_rows = read_rows(arguments.validation) if arguments.validation else None
    if arguments.output.exists() and any(arguments.output.iterdir()):
        raise BadInput(f"--output {arguments.output}: is not empty; name a new folder")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if Path(arguments.base_model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is missing, so nothing may be asked for

    import torch
    from transformers import set_seed

    cuda = torch.cuda.is_available()
    if cuda and torch.cuda.device_count() > 1 and "WORLD_SIZE" not in os.environ:
        raise BadInput("several GPUs are visible: start with torchrun or set CUDA_VISIBLE_DEVICES")
    set_seed(arguments.seed)
    loaded = load_base(arguments.base_model, arguments.targets, cuda=cuda)
    encoded = _encode_file(arguments.train, rows, loaded[1], arguments.max_length)
    validation = None
    if validation_rows is not None:
        validation = _encode_file(
            arguments.validation, validation_rows, loaded[1], arguments.max_length
        )
    trainer = _make_trainer(arguments, loaded, encoded, validation, metrics)
    parameters = sum(one.numel() for one in trainer.model.parameters() if one.requires_grad)
    metrics.emit(
        "start",
        device="cuda" if cuda else "cpu",
        trainable_parameters=parameters,
        train=encoded.to_json(),
        validation=validation.to_json() if validation else None,
    )
    trainer.train()
    results = _write_results(trainer, arguments.output)
    metrics.emit("end", step=trainer.state.global_step, **results)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    arguments = parse_arguments(argv)
    metrics = Metrics(sys.stdout)
    try:
        # Libraries print what they like; standard output is for the metrics alone.
        with contextlib.redirect_stdout(sys.stderr):
            train(arguments, metrics)
    except BadInput as error:
        print(f"sft.py: {error}", file=sys.stderr)
        return 2
    except TrainingStopped as error:
        metrics.emit("failed", message=str(error))
        print(f"sft.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
