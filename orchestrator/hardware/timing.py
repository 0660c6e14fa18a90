"""How long a job takes, part by part, as a range; and what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.hardware.catalog import Accelerator, Assumptions, Flavor, Range
from orchestrator.hardware.training_shape import Precision, TrainingShape

_LEAST_TIMEOUT_S = 30 * 60
_TIMEOUT_STEP_S = 15 * 60
#: Operations a weight and token: forward, backward to the inputs, backward to the weights.
_FORWARD, _TO_INPUTS, _TO_WEIGHTS = 2, 2, 2
#: Rows of a batch are padded to its longest one, unless they are alone in it.
_MOST_PADDING = 2.0
_STORED_BYTES = 2


@dataclass(frozen=True)
class TimePart:
    """A part of the time, and how it was computed."""

    name: str
    low_s: float
    high_s: float
    formula: str


@dataclass(frozen=True)
class TimeEstimate:
    """From the start of the container to the last upload. `timeout_s` is what to ask for."""

    parts: tuple[TimePart, ...]
    low_s: int
    high_s: int
    timeout_s: int


@dataclass(frozen=True)
class CostEstimate:
    """US dollars. Billed by the begun minute; `most_usd` is the cost of a job that times out."""

    low_usd: float
    high_usd: float
    most_usd: float
    usd_per_hour: float


def estimate_time(
    job: TrainingShape,
    flavor: Flavor,
    accelerator: Accelerator | None,
    precision: Precision,
    assumed: Assumptions,
) -> TimeEstimate:
    """All parts of the time of a job on a machine, of which one card is used."""
    parts = (
        TimePart("set-up", assumed.setup_s.low, assumed.setup_s.high, assumed.setup_s.source),
        _transfer("download of the model", job.model.parameters, 1, assumed.download_mb_s),
        _passes(job, flavor, accelerator, precision, assumed),
        *_probes(job, accelerator, assumed),
        _upload(job, assumed),
    )
    low, high = sum(part.low_s for part in parts), sum(part.high_s for part in parts)
    timeout = propose_timeout(high, parts[-1].high_s)
    return TimeEstimate(parts, math.ceil(low), math.ceil(high), timeout)


def propose_timeout(high_s: float, upload_s: float) -> int:
    """Twice the longest time and an upload, at least half an hour, in whole quarters of an hour."""
    wanted = max(_LEAST_TIMEOUT_S, 2 * high_s + upload_s)
    return math.ceil(wanted / _TIMEOUT_STEP_S) * _TIMEOUT_STEP_S


def estimate_cost(time: TimeEstimate, usd_per_hour: float) -> CostEstimate:
    """What the time costs, by the begun minute."""

    def usd(seconds: int) -> float:
        return round(math.ceil(seconds / 60) * usd_per_hour / 60, 4)

    return CostEstimate(usd(time.low_s), usd(time.high_s), usd(time.timeout_s), usd_per_hour)


def operations_per_token(job: TrainingShape) -> float:
    """Operations that training on a token takes, recomputed activations included."""
    model = job.model
    blocks = model.layers * model.linear_parameters
    head = model.embedding_parameters
    trained = job.trained_layers / model.layers
    # Scores of attention and their use: every token with half of the others, on average.
    attention = 2 * 2 * model.query * job.longest / 2 * model.layers
    forward = _FORWARD * (blocks + head) + attention
    through = 1.0 if job.checkpointing and job.mode == "peft" else trained
    backward = _TO_INPUTS * (through * blocks + head) + 2 * through * attention
    if job.mode == "full":
        backward += _TO_WEIGHTS * (trained * blocks + (head if job.last_layers is None else 0))
    else:
        backward += _TO_WEIGHTS * job.trainable_parameters
    again = through * (_FORWARD * blocks + attention) if job.checkpointing else 0.0
    return forward + backward + again


def _passes(
    job: TrainingShape,
    flavor: Flavor,
    accelerator: Accelerator | None,
    precision: Precision,
    assumed: Assumptions,
) -> TimePart:
    """The training itself and its evaluations."""
    slow, fast, machine = _rates(flavor, accelerator, precision, assumed)
    each = operations_per_token(job)
    evaluated = job.evaluations * job.validation_tokens
    forward = _FORWARD * job.model.multiplied_parameters
    least = job.epochs * job.train_tokens * each + evaluated * forward
    padded = _padding(job)
    low, high = least / fast, least * padded / slow
    batches = job.epochs * job.batches
    looks = job.evaluations * math.ceil(job.validation_rows / job.batch_size)
    if accelerator is not None:  # nothing is faster than its kernels can be started
        block_s = job.model.layers / 1000
        low = max(low, batches * block_s * assumed.block_ms.low)
        high = max(high, (batches + looks) * block_s * assumed.block_ms.high)
    if job.quantization == "4bit":
        low, high = low * assumed.four_bit_slowdown.low, high * assumed.four_bit_slowdown.high
    formula = (
        f"{job.epochs} epochs × {job.train_tokens:,} tokens × {each / 1e9:.3g} GFLOP, "
        f"{job.evaluations} evaluations of {job.validation_tokens:,} tokens, "
        f"up to {padded:.2f} times that for padding; {machine}; and at least "
        f"{assumed.block_ms.low:g} to {assumed.block_ms.high:g} ms a block for {batches:,} batches"
    )
    return TimePart("training", low, high, formula)


def _rates(
    flavor: Flavor, accelerator: Accelerator | None, precision: Precision, assumed: Assumptions
) -> tuple[float, float, str]:
    """Operations a second that are reached, slow and fast."""
    if accelerator is None:
        cpu = assumed.vcpu_gflops
        low, high = (flavor.vcpus * one * 1e9 for one in (cpu.low, cpu.high))
        return low, high, f"{flavor.vcpus} vCPUs × {cpu.low:g} to {cpu.high:g} GFLOP/s"
    mfu = assumed.mfu
    tflops = accelerator.fp32_tflops if precision == "fp32" else accelerator.half_tflops
    machine = (
        f"{flavor.accelerator}: {tflops:g} TFLOP/s in {precision} × {mfu.low:.0%} to {mfu.high:.0%}"
    )
    return tflops * 1e12 * mfu.low, tflops * 1e12 * mfu.high, machine


def _padding(job: TrainingShape) -> float:
    """How many times the tokens are computed at most, because rows are padded."""
    if job.batch_size == 1:
        return 1.0
    return min(_MOST_PADDING, max(1.0, job.train_rows * job.longest / job.train_tokens))


def _probes(
    job: TrainingShape, accelerator: Accelerator | None, assumed: Assumptions
) -> tuple[TimePart, ...]:
    least, most = job.probe_tokens
    if not most:
        return ()
    token_ms = assumed.token_ms_per_block
    # A processor has no kernels to launch, but reads all weights for every token.
    slower = 1.0 if accelerator is not None else 10.0
    looks = job.evaluations + 1  # and once before the training
    each_s = looks * job.model.layers * slower / 1000
    formula = (
        f"{looks} times {least:,} to {most:,} generated tokens × {job.model.layers} blocks × "
        f"{token_ms.low:g} to {token_ms.high:g} ms" + f" × {slower:g} without a card" * (slower > 1)
    )
    low_s, high_s = each_s * least * token_ms.low, each_s * most * token_ms.high
    return (TimePart("probes", low_s, high_s, formula),)


def _upload(job: TrainingShape, assumed: Assumptions) -> TimePart:
    """Checkpoints with the optimizer's state, one of them after the training, and the result."""
    written = job.model.parameters if job.mode == "full" else job.trainable_parameters
    one = _transfer("upload", written * (4 + 8) // _STORED_BYTES, 1, assumed.upload_mb_s)
    # Earlier checkpoints go up while the training goes on.
    final = _transfer("upload", written * 4 // _STORED_BYTES, 1, assumed.upload_mb_s)
    formula = f"the last checkpoint with its optimizer, and the result: {one.formula}"
    return TimePart("upload", one.low_s + final.low_s, one.high_s + final.high_s, formula)


def _transfer(name: str, parameters: int, times: int, rate: Range) -> TimePart:
    size_bytes = parameters * _STORED_BYTES * times
    formula = f"{size_bytes / 1e9:.2f} GB at {rate.low:g} to {rate.high:g} MB/s"
    return TimePart(name, size_bytes / rate.high / 1e6, size_bytes / rate.low / 1e6, formula)
