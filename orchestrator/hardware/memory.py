"""The memory of a training on one card, term by term, each with the formula that gave it.

The widths that a block keeps for the backward pass are those of transformers 5.23 and PEFT 0.21
with the attention of PyTorch (SDPA): `tests/test_hardware.py` compares them with autograd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.hardware.catalog import DecoderShape
from orchestrator.hardware.training_shape import Precision, TrainingShape

Verdict = Literal["fits", "tight", "does not fit"]

#: Above this share of the memory a training may still fail, because memory is cut into pieces.
_TIGHT_FROM = 0.9
_GIB = 2**30
#: What CUDA, cuBLAS and the libraries' kernels take on the card.
_CUDA_BYTES = _GIB
#: What Python and the libraries take, where the training shares memory with them.
_PROCESS_BYTES = _GIB
_FRAGMENTATION = 0.05
#: Bytes a parameter in NF4: half a byte, and scales for blocks of 64 that are quantized themselves
#: (0.127 bits a parameter; Dettmers et al., QLoRA, 2023).
_NF4_BYTES = 0.5 + 0.127 / 8
#: TRL 1.16.0 multiplies so many tokens by so many rows of the vocabulary at a time.
_TILE_TOKENS = 4096
_TILE_WORDS = 32768
#: Without Triton, that is on processors, so many copies of a tile exist beside it, in fp32.
_COPIES_ON_CPU = 8
#: Bytes of state a parameter, by the optimizer, and bytes that a step of it takes on top.
_OPTIMIZERS: dict[str, tuple[float, float]] = {
    "adamw_torch": (8.0, 4.0),
    "adamw_torch_fused": (8.0, 0.0),
    "adamw_8bit": (2.0 + 2 * 4 / 256, 0.0),
    "paged_adamw_8bit": (2.0 + 2 * 4 / 256, 0.0),
    "adafactor": (0.1, 8.0),
    "sgd": (0.0, 0.0),
}
_UNKNOWN_OPTIMIZER = (8.0, 4.0)


@dataclass(frozen=True)
class Term:
    """A part of the memory, and how it was computed."""

    name: str
    size_bytes: int
    formula: str


@dataclass(frozen=True)
class MemoryEstimate:
    """What a training needs at its busiest moment, what there is, and what would make it less."""

    terms: tuple[Term, ...]
    needed_bytes: int
    available_bytes: int
    verdict: Verdict
    advice: tuple[str, ...]

    @property
    def share(self) -> float:
        """Needed, as a share of what there is."""
        return self.needed_bytes / self.available_bytes


def memory_terms(job: TrainingShape, precision: Precision, *, on_card: bool) -> tuple[Term, ...]:
    """All terms; their sum is what the training needs on a card, or on processors."""
    state_size, step_size = _OPTIMIZERS.get(job.optimizer, _UNKNOWN_OPTIMIZER)
    trained = job.trainable_parameters
    weights = _weights(job, precision)
    gradients = Term("gradients", 4 * trained, f"{_n(trained)} parameters × 4")
    formula = f"{_n(trained)} parameters × {state_size:g} ({job.optimizer})"
    states = Term("optimizer", round(state_size * trained), formula)
    kept = _kept(job, precision)
    busiest = _busiest(job, precision, on_card=on_card)
    terms = [*weights, gradients, states, kept, busiest]
    # When the optimizer steps, what the passes needed is free again.
    beyond = round(step_size * trained) - kept.size_bytes - busiest.size_bytes
    if beyond > 0:
        formula = f"{_n(trained)} parameters × {step_size:g}, beyond what the passes take"
        terms.append(Term("step of the optimizer", beyond, formula))
    moving = sum(term.size_bytes for term in terms[len(weights) :])
    base = _CUDA_BYTES if on_card else _PROCESS_BYTES
    terms.append(Term("CUDA" if on_card else "Python and libraries", base, "assumed"))
    formula = f"{_FRAGMENTATION:.0%} of all but the weights, assumed"
    terms.append(Term("fragmentation", round(_FRAGMENTATION * moving), formula))
    return tuple(terms)


def _weights(job: TrainingShape, precision: Precision) -> tuple[Term, ...]:
    model = job.model
    if job.mode == "full":
        whole = Term("weights", 4 * model.parameters, f"{_n(model.parameters)} parameters × 4")
        if precision == "fp32":
            return (whole,)
        copies = Term(
            f"weights in {precision}",
            2 * model.parameters,
            f"{_n(model.parameters)} parameters × 2, as they are multiplied",
        )
        return whole, copies
    size = 4 if precision == "fp32" else 2
    each = 4 if precision == "fp32" else 6  # and the copy that is multiplied
    trained = job.trainable_parameters
    adapter = Term("adapter", each * trained, f"{_n(trained)} parameters × {each}")
    if job.quantization == "4bit":
        packed = model.layers * model.linear_parameters
        rest = model.parameters - packed
        size_bytes = round(packed * _NF4_BYTES) + rest * size
        formula = f"{_n(packed)} × {_NF4_BYTES:.3f} (NF4) + {_n(rest)} not quantized × {size}"
        return Term("weights", size_bytes, formula), adapter
    formula = f"{_n(model.parameters)} parameters × {size} ({precision})"
    return Term("weights", model.parameters * size, formula), adapter


def _kept(job: TrainingShape, precision: Precision) -> Term:
    """What the forward pass keeps for the backward pass, outside the head."""
    tokens, hidden = job.batch_tokens, job.model.hidden
    outside = 12 * hidden
    if job.checkpointing:
        # The input of each block; in mode full with fp32 weights the residual stream is fp32.
        size = 2 if precision != "fp32" and job.mode == "peft" else 4
        layers = job.trained_layers if job.mode == "full" else job.model.layers
        size_bytes = tokens * (layers * hidden * size + outside)
        formula = f"{tokens} tokens × ({layers} blocks × {hidden} × {size} + {outside} outside)"
        return Term("activations, checkpointed", size_bytes, formula)
    block = block_bytes_per_token(job, precision)
    size_bytes = tokens * (job.trained_layers * block + outside) + _mask_bytes(job, precision)
    formula = f"{tokens} tokens × ({job.trained_layers} blocks × {block} + {outside} outside)"
    return Term("activations", size_bytes, formula)


def _busiest(job: TrainingShape, precision: Precision, *, on_card: bool) -> Term:
    """The largest piece of work of the backward pass: that of the head, or of one block."""
    head, head_formula = _head(job, precision, on_card=on_card)
    size = 4 if precision == "fp32" else 2
    inner = 4 * job.model.intermediate * size + 8 * job.model.hidden
    block = job.batch_tokens * inner
    block_formula = f"{job.batch_tokens} tokens × {inner} of one block"
    if job.checkpointing:
        again = block_bytes_per_token(job, precision)
        block += job.batch_tokens * again + _mask_bytes(job, precision)
        block_formula += f" + its activations once more × {again}"
    if block > head:
        return Term("backward pass of a block", block, block_formula)
    return Term("logits and loss", head, head_formula)


def _head(job: TrainingShape, precision: Precision, *, on_card: bool) -> tuple[int, str]:
    tokens, vocabulary, hidden = job.batch_tokens, job.model.vocabulary, job.model.hidden
    size = 4 if precision == "fp32" else 2
    gradient = 4 * vocabulary * hidden if job.mode == "full" else 0
    trained = f" + {vocabulary} × {hidden} × 4 for the gradient of the embedding"
    if not job.head_in_tiles:
        # The logits, their fp32 copy unless they are fp32, log-softmax and its gradient.
        each = 12 if precision == "fp32" else 16
        formula = f"{tokens} tokens × {vocabulary} words × {each}"
        return tokens * vocabulary * each + gradient, formula + trained * bool(gradient)
    at_once = min(tokens, _TILE_TOKENS)
    copies = 0 if on_card else _COPIES_ON_CPU * 4 * min(vocabulary, _TILE_WORDS)
    size_bytes = at_once * (_TILE_WORDS * size + copies) + 4 * tokens * hidden + gradient
    whole = tokens * vocabulary * 4 / 1e9
    formula = (
        f"{at_once} tokens × {_TILE_WORDS} words × {size}"
        + f" and {copies} for copies" * (copies > 0)
        + f" (tiles of TRL 1.16.0; all logits in fp32 would be {whole:.1f} GB)"
    )
    return size_bytes, formula + trained * bool(gradient)


def block_bytes_per_token(job: TrainingShape, precision: Precision) -> int:
    """What one block keeps for the backward pass, a token; weights are not counted."""
    model = job.model
    norm = model.block_norms * model.hidden
    norm += (model.query + model.key_value) if model.head_norm else 0
    # Padded batches need a mask, and with one keys and values are repeated for every query.
    key_value = model.query if job.batch_size > 1 else model.key_value
    attention = 2 * model.query + 2 * key_value
    small = 4 * (model.block_norms + 2 * _heads(model))  # scales of norms, sums of attention
    if job.mode == "full":
        if precision == "fp32":
            return 4 * (2 * norm + 2 * model.hidden + attention + 4 * model.intermediate) + small
        return 8 * norm + 10 * model.hidden + 2 * attention + 8 * model.intermediate + small
    return small + _adapter_bytes_per_token(job, precision, norm, attention)


def _adapter_bytes_per_token(
    job: TrainingShape, precision: Precision, norm: int, attention: int
) -> int:
    """The same for frozen weights with an adapter: inputs are kept only where it takes them."""
    model, targets = job.model, job.adapted
    inward = sum(model.linear_widths[name][0] for name in targets)
    outward = (job.rank or 0) * len(targets)
    if precision == "fp32":
        if job.dropout:  # what is left of each input, and which of it
            inputs = inward + inward // 4
        else:
            inputs = model.hidden * bool({"q_proj", "k_proj", "v_proj"} & set(targets))
            inputs += model.hidden * bool({"gate_proj", "up_proj"} & set(targets))
            inputs += model.intermediate * ("down_proj" in targets)
        return 4 * (norm + attention + 3 * model.intermediate + inputs + outward)
    # Each input is cast for the adapter, a copy for each target.
    mask = inward if job.dropout else 0
    return 4 * norm + 2 * (attention + 3 * model.intermediate + inward + outward) + mask


def _heads(model: DecoderShape) -> int:
    """Heads of queries; 64 wide where nothing says more, which counts too many rather than few."""
    return model.query // (model.head_norm // 2 if model.head_norm else 64)


def _mask_bytes(job: TrainingShape, precision: Precision) -> int:
    """The mask of a padded batch: as truth values, and added to the scores of attention."""
    if job.batch_size == 1:
        return 0
    rows = min(job.batch_size, job.train_rows)
    return rows * job.longest**2 * (1 + (4 if precision == "fp32" else 2))


def judge(needed_bytes: int, available_bytes: int) -> Verdict:
    """Whether a training fits; `tight` where it may fail for want of memory in one piece."""
    if needed_bytes > available_bytes:
        return "does not fit"
    return "tight" if needed_bytes > _TIGHT_FROM * available_bytes else "fits"


def _n(number: int) -> str:
    return f"{number:,}"
