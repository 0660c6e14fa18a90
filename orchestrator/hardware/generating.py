"""What answering rows needs of a machine of hf-jobs: memory, time and cost. Pure, as `estimate` is.

Nothing of it was measured on the service's machines: time rests on the assumed milliseconds a block
that a generated token takes, as the probes of a training do (`timing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.catalog import Shape
from orchestrator.hardware.catalog import DecoderShape, Flavor, JobsCatalog
from orchestrator.hardware.memory import Verdict, judge
from orchestrator.hardware.timing import propose_timeout

_GIB = 2**30
#: Rows of the widest vocabulary of a known family, in and out, where a model's own is not known.
_WIDEST_VOCABULARY = 2 * 262_144
#: Reading all weights for every token, a processor is so much slower than a card.
_WITHOUT_CARD = 10.0


@dataclass(frozen=True)
class Decoder:
    """A model as far as generating depends on it: weights, blocks, and what a token leaves."""

    parameters: int
    layers: int
    key_value: int
    vocabulary: int
    family: str = ""


@dataclass(frozen=True)
class Answering:
    """`rows` rows answered in each of `conditions` ways. Lengths are in tokens.

    `answer_tokens` are those of a usual answer and of the longest that may come.
    """

    model: Decoder
    rows: int
    conditions: int
    longest_prompt: int
    answer_tokens: tuple[int, int]
    batch_size: int


@dataclass(frozen=True)
class AnsweringEstimate:
    """Answering on a machine: bytes, seconds, US dollars at least and at most, and why it cannot.

    `verdict` is about the memory.
    """

    flavor: Flavor
    needed_bytes: int
    available_bytes: int
    verdict: Verdict
    low_s: int
    high_s: int
    timeout_s: int
    usd: tuple[float, float]
    problems: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the answers can be had there."""
        return self.verdict != "does not fit" and not self.problems


def decoder_of(decoder: DecoderShape | None, shape: Shape | None) -> Decoder | None:
    """The model by its exact shape, or by its widths and no fewer weights than it has."""
    if decoder is not None:
        return Decoder(
            decoder.parameters,
            decoder.layers,
            decoder.key_value,
            decoder.vocabulary,
            decoder.family,
        )
    if shape is None:
        return None
    block = 2 * shape.hidden * (shape.query + shape.key_value)
    block += 3 * shape.hidden * shape.intermediate
    parameters = shape.layers * block + _WIDEST_VOCABULARY * shape.hidden
    return Decoder(parameters, shape.layers, shape.key_value, _WIDEST_VOCABULARY // 2)


def estimate_answering(job: Answering, flavor: Flavor, jobs: JobsCatalog) -> AnsweringEstimate:
    """Memory, time and cost on a machine, of whose cards one is used."""
    card = jobs.accelerators[flavor.accelerator] if flavor.accelerator else None
    # As generate.py computes: bf16 where the card has it, Gemma 3 in nothing less than fp32.
    half = card is not None and (card.bf16 or job.model.family != "gemma3")
    needed = _memory_bytes(job, 2 if half else 4)
    available = int((card.vram_gb if card else flavor.ram_gb) * 1e9)
    low, high = _seconds(job, jobs, slower=1.0 if card else _WITHOUT_CARD)
    return AnsweringEstimate(
        flavor=flavor,
        needed_bytes=needed,
        available_bytes=available,
        verdict=judge(needed, available),
        low_s=math.ceil(low),
        high_s=math.ceil(high),
        timeout_s=propose_timeout(high, 0.0),
        usd=(_usd(low, flavor), _usd(high, flavor)),
        problems=(f"{flavor.name} has {flavor.count} cards, and one is used",)
        if flavor.count > 1
        else (),
    )


def cheapest(
    job: Answering, jobs: JobsCatalog, offered: Iterable[Flavor] | None = None
) -> AnsweringEstimate | None:
    """The cheapest machine with one card that holds the model; None if none does."""
    flavors = [one for one in (offered or jobs.flavors) if one.count == 1]
    fitting = [one for one in (estimate_answering(job, f, jobs) for f in flavors) if one.fits]
    return min(fitting, key=lambda one: (one.verdict == "tight", one.usd[1]), default=None)


def _memory_bytes(job: Answering, weight_bytes: int) -> int:
    model = job.model
    rows = min(job.rows, job.batch_size)
    tokens = rows * (job.longest_prompt + job.answer_tokens[1])
    cache = tokens * model.layers * 2 * model.key_value * weight_bytes
    logits = rows * model.vocabulary * 4
    # The adapter is small beside the model; libraries and kernels take about a GiB.
    return model.parameters * weight_bytes + cache + logits + _GIB


def _seconds(job: Answering, jobs: JobsCatalog, slower: float) -> tuple[float, float]:
    assumed, model = jobs.assumed, job.model
    batches = math.ceil(job.rows / job.batch_size)
    usual, longest = job.answer_tokens
    blocks_s = batches * model.layers * slower / 1000
    weights_mb = model.parameters * 2 / 1e6
    low = assumed.setup_s.low + weights_mb / assumed.download_mb_s.high
    low += job.conditions * blocks_s * usual * assumed.token_ms_per_block.low
    high = assumed.setup_s.high + weights_mb / assumed.download_mb_s.low
    # Every way to answer loads the model anew, at worst as slowly as it was fetched.
    high += job.conditions * weights_mb / assumed.download_mb_s.high
    high += job.conditions * blocks_s * longest * assumed.token_ms_per_block.high
    return low, high


def _usd(seconds: float, flavor: Flavor) -> float:
    return round(math.ceil(seconds / 60) * flavor.usd_per_hour / 60, 4)
