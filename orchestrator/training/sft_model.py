"""The model of a training: loaded in the precision that fits, with what is to be trained in it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.sft_arguments import ALL_LINEAR, Arguments
    from orchestrator.training.sft_events import BadInput
else:
    from sft_arguments import ALL_LINEAR
    from sft_events import BadInput

#: Models whose activations exceed what 16 bits with 5 for the exponent hold: they turn to NaN.
NO_HALF = frozenset({"gemma3", "gemma3_text"})
_BLOCK = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")


@dataclass(frozen=True)
class Machine:
    """What the machine can compute with."""

    cuda: bool
    bf16: bool


@dataclass(frozen=True)
class Precision:
    """What is computed with (`compute`), what the weights are held in (`weights`), and why."""

    compute: str
    weights: str
    reason: str

    @property
    def loss_scaled(self) -> bool:
        """Whether gradients may overflow at first, until the scale of the loss is found."""
        return self.compute == "fp16"


def this_machine() -> Machine:
    """What torch finds here; bf16 only where it is not emulated."""
    import torch

    cuda = torch.cuda.is_available()
    return Machine(cuda, cuda and torch.cuda.is_bf16_supported(including_emulation=False))


def choose_precision(wanted: str, mode: str, model_type: str, machine: Machine) -> Precision:
    """Precision for a model on a machine; raises `BadInput` for one that cannot work."""
    compute, reason = _compute(wanted, model_type, machine)
    # Steps of a training are often smaller than what a 16-bit weight can tell apart, so weights
    # that are trained themselves stay in 32 bits; frozen ones need not.
    weights = "fp32" if mode == "full" else compute
    return Precision(compute, weights, reason)


def _compute(wanted: str, model_type: str, machine: Machine) -> tuple[str, str]:
    if wanted == "fp16":
        if not machine.cuda:
            raise BadInput("--precision fp16: needs a GPU; use fp32 here")
        if model_type in NO_HALF:
            raise BadInput(f"--precision fp16: gives NaN with {model_type}; use bf16 or fp32")
    if wanted == "bf16" and machine.cuda and not machine.bf16:
        raise BadInput("--precision bf16: this GPU has none; use fp32 or fp16")
    if wanted != "auto":
        return wanted, "asked for"
    if not machine.cuda:
        return "fp32", "there is no GPU"
    if machine.bf16:
        return "bf16", "the GPU has it"
    if model_type in NO_HALF:
        return "fp32", f"fp16 gives NaN with {model_type}, and the GPU has no bf16"
    return "fp16", "the GPU has no bf16"


def dtype(name: str) -> Any:
    """The torch type of a precision's name."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def quantization_config(compute: str) -> Any:
    """4-bit NF4 weights, their scales quantized too, multiplied in the precision of the training.

    As in QLoRA (Dettmers et al., 2023). Raises `BadInput` without bitsandbytes.
    """
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadInput(
            "--quantization 4bit: bitsandbytes is not installed; install it, or use"
            " --quantization none"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype(compute),
    )


@dataclass(frozen=True)
class Base:
    """A base model with its tokenizer, as loaded."""

    model: Any
    tokenizer: Any
    precision: Precision


def load_base(arguments: Arguments, machine: Machine) -> Base:
    """The base model and its tokenizer; raises `BadInput` if they cannot be had."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    name, revision = arguments.base_model, {"revision": arguments.base_revision}
    try:
        config = AutoConfig.from_pretrained(name, **revision)
        precision = choose_precision(
            arguments.precision, arguments.mode, config.model_type, machine
        )
        options: dict[str, Any] = {"dtype": dtype(precision.weights)}
        if arguments.packing:
            options["attn_implementation"] = _flash_attention(machine)
        if arguments.quantization == "4bit":
            options["quantization_config"] = quantization_config(precision.compute)
            # Quantized weights cannot be moved later.
            options["device_map"] = {"": 0 if machine.cuda else "cpu"}
        tokenizer = AutoTokenizer.from_pretrained(name, **revision)
        model = AutoModelForCausalLM.from_pretrained(name, **revision, **options)
    except (OSError, ValueError, KeyError) as error:
        line = next((one for one in str(error).splitlines() if one.strip()), repr(error))
        raise BadInput(f"--base-model {name}: cannot be loaded: {line}") from error
    return Base(model, tokenizer, precision)


def _flash_attention(machine: Machine) -> str:
    from transformers.utils import is_flash_attn_2_available

    if not machine.cuda or not is_flash_attn_2_available():
        raise BadInput(
            "--packing: rows in one sequence see each other without FlashAttention, which needs a"
            " GPU and the package flash-attn; use --group-by-length instead"
        )
    return "flash_attention_2"


def refuse_unknown_tokens(base: Base, encoded: Sequence[Sequence[int]]) -> None:
    """Raise `BadInput` where rows hold a token that the model has no embedding for."""
    rows = base.model.get_input_embeddings().weight.shape[0]
    if max(max(ids) for ids in encoded) >= rows:
        raise BadInput(
            f"the tokenizer gives tokens beyond the {rows} that the base model knows:"
            " the two do not belong together"
        )


def block_count(model: Any) -> int:
    """How many blocks a model has."""
    return int(model.config.get_text_config().num_hidden_layers)


def lora_config(arguments: Arguments, model: Any) -> Any:
    """The adapter that is asked for; raises `BadInput` where the model has no such modules."""
    from peft import LoraConfig

    have = {path.rsplit(".", 1)[-1] for path, _ in model.named_modules()}
    everything = arguments.targets == (ALL_LINEAR,)
    missing = [] if everything else [one for one in arguments.targets if one not in have]
    if missing:
        raise BadInput(
            f"--targets: {arguments.base_model_name} has no modules called {', '.join(missing)}"
        )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=arguments.rank,
        lora_alpha=arguments.alpha,
        lora_dropout=arguments.dropout,
        target_modules=ALL_LINEAR if everything else list(arguments.targets),
        layers_to_transform=_last_blocks(arguments, model),
    )


def freeze_first_blocks(arguments: Arguments, model: Any) -> None:
    """Leave only the last blocks of a full training to be trained; all of them if none are named.

    Embeddings, head and norms outside the blocks are frozen with the first ones.
    """
    blocks = _last_blocks(arguments, model)
    if blocks is None:
        return
    for name, parameter in model.named_parameters():
        found = _BLOCK.search(name)
        parameter.requires_grad_(found is not None and int(found[1]) in blocks)


def _last_blocks(arguments: Arguments, model: Any) -> list[int] | None:
    if arguments.last_layers is None:
        return None
    count = block_count(model)
    if arguments.last_layers > count:
        raise BadInput(f"--last-layers {arguments.last_layers}: the model has {count} blocks")
    return list(range(count - arguments.last_layers, count))


def use_full_precision_adapter(model: Any) -> None:
    """Hold what is trained in 32 bits: the trainer puts adapters on 4-bit weights into bf16."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
