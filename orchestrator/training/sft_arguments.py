"""The command line of the training script: what may be asked for, and what contradicts itself."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.training.argument_types import whole
else:
    from argument_types import whole

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
#: Stands for every linear module but the head.
ALL_LINEAR = "all-linear"
SCHEDULERS = (
    *("cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"),
)
OPTIMIZERS = (
    *("adamw_torch", "adamw_torch_fused", "adafactor", "sgd"),
    *("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"),
)
#: What a probe's answers may have to be: a syntax of tool calls, any JSON, or anything.
SYNTAXES = ("functiongemma", "gemma4", "hermes", "llama", "openai", "json", "none")


@dataclass(frozen=True)
class Arguments:
    """What a training is asked for; the names are those of the command line."""

    base_model: str
    base_model_name: str
    base_revision: str | None
    train: Path
    validation: Path | None
    probe: Path | None
    output: Path
    resume: Path | None
    mode: str
    quantization: str
    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    last_layers: int | None
    epochs: int
    learning_rate: float
    weight_decay: float
    warmup_ratio: float
    scheduler: str
    optimizer: str
    batch_size: int
    gradient_accumulation: int
    max_grad_norm: float
    max_length: int
    packing: bool
    group_by_length: bool
    precision: str
    seed: int
    threads: int | None
    save_steps: int | None
    plateau_patience: int | None
    plateau_delta: float
    answer_syntax: str
    max_unparsed: float | None
    track: str


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Names the default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def parse_arguments(argv: Sequence[str] | None = None) -> Arguments:
    """The command line; argparse itself exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="sft.py",
        description="Fine-tune a causal language model with the loss on the completions only."
        " Standard output is one JSON event a line.",
        epilog='A row: {"prompt": "Two and two?", "completion": "4"}, or lists of chat messages'
        " as prompt and completion, with tools if there are any; or the whole talk as messages,"
        " of which the last is learned. Example: sft.py --base-model google/gemma-3-270m-it"
        " --train train.jsonl --validation validation.jsonl --output tuned",
        formatter_class=_Help,
    )
    _add_files(parser)
    _add_method(parser)
    _add_steps(parser)
    _add_machine(parser)
    _add_watching(parser)
    found = parser.parse_args(argv)
    _refuse_contradictions(parser, found)
    values = vars(found)
    values["base_model_name"] = found.base_model_name or found.base_model
    values["alpha"] = found.alpha or 2 * found.rank
    values["targets"] = tuple(found.targets or TARGETS)
    return Arguments(**values)


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("files").add_argument
    add("--base-model", required=True, help="folder of a base model, or its id on the Hub")
    add(
        "--base-model-name",
        help="what the outputs call the base model, where that is not --base-model",
    )
    add("--base-revision", help="commit, branch or tag of the base model on the Hub")
    add("--train", required=True, type=Path, help="JSONL rows: prompt and completion, or messages")
    add("--validation", type=Path, help="JSONL rows whose loss is taken at every evaluation")
    add(
        "--probe",
        type=Path,
        help="JSONL rows whose answers are generated at every evaluation and held against them",
    )
    add(
        "--output",
        required=True,
        type=Path,
        help="new or empty folder: final/ and checkpoint-N/ go there",
    )
    add("--resume", type=Path, help="folder of a checkpoint of the same training to go on from")


def _add_method(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is trained").add_argument
    add(
        "--mode",
        choices=("lora", "full"),
        default="lora",
        help="train an adapter beside the weights, or the weights themselves",
    )
    add(
        "--quantization",
        choices=("none", "4bit"),
        default="none",
        help="hold the frozen weights in 4 bits (NF4, bitsandbytes): with lora, this is QLoRA",
    )
    add("--rank", type=whole(1), default=16, help="rank of the adapter")
    add("--alpha", type=whole(1), help="scale of the adapter; twice the rank if not given")
    add("--dropout", type=_real(0, 1), default=0.0, help="share of an adapter's inputs left out")
    add(
        "--targets",
        nargs="+",
        metavar="MODULE",
        help=f"names of the modules to adapt, or {ALL_LINEAR}; if not given: {' '.join(TARGETS)}",
    )
    add("--last-layers", type=whole(1), metavar="N", help="train only the last N blocks")


def _add_steps(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how it is trained").add_argument
    positive = _real(0, math.inf, low_included=False)
    add("--epochs", type=whole(1), default=3, help="times that all rows are seen")
    add("--learning-rate", type=positive, default=2e-4, help="highest step size")
    add("--weight-decay", type=_real(0, math.inf), default=0.0, help="pull of weights towards zero")
    add(
        "--warmup-ratio",
        type=_real(0, 1),
        default=0.03,
        help="share of all steps in which the step size rises",
    )
    add("--scheduler", choices=SCHEDULERS, default="cosine", help="how the step size falls")
    add("--optimizer", choices=OPTIMIZERS, default="adamw_torch_fused", help="rule of the steps")
    add("--batch-size", type=whole(1), default=8, help="rows that go through the model at once")
    add(
        "--gradient-accumulation",
        type=whole(1),
        default=1,
        metavar="N",
        help="batches that make one step",
    )
    add("--max-grad-norm", type=positive, default=1.0, help="longer gradients are cut to this")
    add("--max-length", type=whole(2), default=2048, help="tokens a row; the rest is cut off")
    add("--packing", action="store_true", help="put several rows in one; needs FlashAttention")
    add(
        "--group-by-length",
        action="store_true",
        help="put rows of like length in one batch, so that less is padding",
    )
    add("--seed", type=whole(0), default=42, help="of the adapter, the order and the dropout")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("machine").add_argument
    add(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="numbers that are computed with; auto takes what machine and model bear",
    )
    add("--threads", type=whole(1), metavar="N", help="threads of the processor to use")


def _add_watching(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("checkpoints and watching").add_argument
    add(
        "--save-steps",
        type=whole(1),
        metavar="N",
        help="evaluate and save every N steps; if not given, after each epoch",
    )
    add(
        "--plateau-patience",
        type=whole(1),
        metavar="N",
        help="end after N evaluations without a lower loss; needs --validation",
    )
    add(
        "--plateau-delta",
        type=_real(0, math.inf),
        default=0.0,
        help="by how much a loss must be lower to count as lower",
    )
    add(
        "--answer-syntax",
        choices=SYNTAXES,
        default="none",
        help="what answers to the probe must parse as",
    )
    add(
        "--max-unparsed",
        type=_real(0, 1),
        metavar="SHARE",
        help="stop if more of the probe's answers do not parse, where fewer failed once, or where"
        " half of the steps brought nothing; needs --probe and --answer-syntax",
    )
    add("--track", choices=("trackio", "none"), default="none", help="show the metrics there too")


def _refuse_contradictions(parser: argparse.ArgumentParser, found: argparse.Namespace) -> None:
    if found.mode == "full" and found.quantization != "none":
        parser.error("--quantization 4bit is for --mode lora: 4-bit weights cannot be trained")
    if found.mode == "full" and found.targets:
        parser.error("--targets is for --mode lora; --last-layers restricts a full training")
    if found.packing and found.group_by_length:
        parser.error("--packing and --group-by-length exclude each other: packing pads nothing")
    if found.plateau_patience and not found.validation:
        parser.error("--plateau-patience needs --validation: it looks at the loss there")
    if found.max_unparsed is not None and (not found.probe or found.answer_syntax == "none"):
        parser.error("--max-unparsed needs --probe and an --answer-syntax other than none")


def _real(low: float, high: float, *, low_included: bool = True) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not (low <= value < high) or (value == low and not low_included):
            raise argparse.ArgumentTypeError(f"{text} is out of range")
        return value

    parse.__name__ = "number"
    return parse
