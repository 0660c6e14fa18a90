"""What a training needs of a machine of hf-jobs: memory, time and cost. Pure: nobody is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog import load_catalog
from orchestrator.hardware.catalog import Accelerator, JobsCatalog
from orchestrator.hardware.catalog import Flavor as Flavor
from orchestrator.hardware.durations import format_duration as format_duration
from orchestrator.hardware.durations import parse_duration as parse_duration
from orchestrator.hardware.memory import MemoryEstimate as MemoryEstimate
from orchestrator.hardware.memory import Term as Term
from orchestrator.hardware.memory import judge, memory_terms
from orchestrator.hardware.timing import CostEstimate as CostEstimate
from orchestrator.hardware.timing import TimeEstimate as TimeEstimate
from orchestrator.hardware.timing import estimate_cost, estimate_time
from orchestrator.hardware.training_shape import Precision as Precision
from orchestrator.hardware.training_shape import TrainingShape as TrainingShape
from orchestrator.hardware.training_shape import resolve_precision


@dataclass(frozen=True)
class Estimate:
    """A training on a machine. `problems` are why it cannot run there, memory apart.

    `basis` says what the numbers rest on and what nobody measured.
    """

    flavor: Flavor
    precision: Precision
    memory: MemoryEstimate
    time: TimeEstimate
    cost: CostEstimate
    problems: tuple[str, ...]
    basis: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the training can run there, if only just."""
        return self.memory.verdict != "does not fit" and not self.problems

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        shallow = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **shallow,
            "flavor": self.flavor.model_dump(mode="json"),
            **{name: dataclasses.asdict(shallow[name]) for name in ("memory", "time", "cost")},
        }


def estimate(job: TrainingShape, flavor: Flavor, jobs: JobsCatalog | None = None) -> Estimate:
    """Memory, time and cost of a training on a machine, of whose cards it uses one."""
    jobs = jobs or load_catalog().jobs
    accelerator = jobs.accelerators[flavor.accelerator] if flavor.accelerator else None
    if job.checkpointing is None:  # as the trainer does: it costs time, and processors have room
        job = dataclasses.replace(job, checkpointing=accelerator is not None)
    precision = resolve_precision(job, accelerator)
    time = estimate_time(job, flavor, accelerator, precision, jobs.assumed)
    return Estimate(
        flavor=flavor,
        precision=precision,
        memory=_memory(job, flavor, accelerator, precision),
        time=time,
        cost=estimate_cost(time, flavor.usd_per_hour),
        problems=tuple(_problems(job, flavor, accelerator, precision)),
        basis=_basis(job, flavor, precision, jobs),
    )


def choose_flavor(
    job: TrainingShape, jobs: JobsCatalog | None = None, offered: Iterable[Flavor] | None = None
) -> Estimate | None:
    """The estimate of the cheapest machine with a card on which the training fits; None if none.

    Cheapest by the high end of the cost of the whole job, so that a faster card may win over one
    that costs less an hour; a machine on which it is tight is taken only if it fits nowhere.
    """
    jobs = jobs or load_catalog().jobs
    candidates = [one for one in (jobs.flavors if offered is None else offered) if one.count == 1]
    fitting = [one for one in (estimate(job, flavor, jobs) for flavor in candidates) if one.fits]
    order = {"fits": 0, "tight": 1}
    return min(
        fitting,
        key=lambda one: (order[one.memory.verdict], one.cost.high_usd, one.flavor.usd_per_hour),
        default=None,
    )


def _memory(
    job: TrainingShape, flavor: Flavor, accelerator: Accelerator | None, precision: Precision
) -> MemoryEstimate:
    terms = memory_terms(job, precision, on_card=accelerator is not None)
    needed = sum(term.size_bytes for term in terms)
    available = int((accelerator.vram_gb if accelerator else flavor.ram_gb) * 1e9)
    verdict = judge(needed, available)
    advice = () if verdict == "fits" else _advice(job, precision, accelerator, available)
    return MemoryEstimate(terms, needed, available, verdict, advice)


def _advice(
    job: TrainingShape, precision: Precision, accelerator: Accelerator | None, available: int
) -> tuple[str, ...]:
    """Changes that make it fit here by themselves, or else those that help."""
    changes: list[tuple[str, TrainingShape]] = []
    if job.batch_size > 1:
        rows = job.batch_size * job.gradient_accumulation
        one = dataclasses.replace(job, batch_size=1, gradient_accumulation=rows)
        changes.append((f"batch_size: 1 with gradient_accumulation: {rows}", one))
    if not job.checkpointing:
        changes.append(("gradient checkpointing", dataclasses.replace(job, checkpointing=True)))
    if job.mode == "peft" and job.quantization == "none" and accelerator is not None:
        changes.append(("quantization: 4bit", dataclasses.replace(job, quantization="4bit")))
    if job.mode == "full":
        if job.optimizer != "adamw_8bit" and accelerator is not None:
            small = dataclasses.replace(job, optimizer="adamw_8bit")
            changes.append(("optimizer: adamw_8bit", small))
        adapter = dataclasses.replace(job, mode="peft", rank=16)
        changes.append(("mode: peft with rank: 16", adapter))
    if job.longest > 512:
        shorter = dataclasses.replace(job, longest=job.longest // 2)
        changes.append((f"max_length: {job.longest // 2}", shorter))
    enough = []
    for name, changed in changes:
        terms = memory_terms(changed, precision, on_card=accelerator is not None)
        if judge(sum(term.size_bytes for term in terms), available) == "fits":
            enough.append(name)
    return tuple(enough) or tuple(f"{name} (alone not enough)" for name, _ in changes)


def _problems(
    job: TrainingShape, flavor: Flavor, accelerator: Accelerator | None, precision: Precision
) -> Iterable[str]:
    if flavor.count > 1:
        yield f"{flavor.name} has {flavor.count} cards, and the trainer uses one"
    if job.precision == "bf16" and accelerator is not None and not accelerator.bf16:
        yield f"the {flavor.accelerator} of {flavor.name} cannot compute in bf16"
    if job.precision == "fp16" and job.model.family == "gemma3":
        yield "Gemma 3 gives NaN in fp16"
    if accelerator is None and job.precision == "fp16":
        yield f"{flavor.name} has no card, and processors do not train in fp16"
    if accelerator is None and job.quantization == "4bit":
        yield f"{flavor.name} has no card, which weights in 4 bits need"
    if accelerator is None and "8bit" in job.optimizer:
        yield f"{flavor.name} has no card, which the optimizer {job.optimizer} needs"
    if job.packing and (accelerator is None or not accelerator.bf16):
        # It supports Ampere and later, which are the cards with bf16.
        yield f"{flavor.name} has no card for FlashAttention 2, which packing needs: A10G or later"
    elif job.packing and precision == "fp32":
        yield "FlashAttention, which packing needs, does not compute in fp32: take bf16 or fp16"


def _basis(
    job: TrainingShape, flavor: Flavor, precision: Precision, jobs: JobsCatalog
) -> tuple[str, ...]:
    assumed = jobs.assumed
    model = f"{job.model.parameters:,} parameters ({job.model.source}); {precision}"
    said = [
        f"memory: {model}; what blocks keep was compared with autograd on a CPU, not with a card",
        f"price of {flavor.name}: {jobs.prices_source} ({jobs.prices_checked})",
        f"time was not measured there. Share of the peak rate: {assumed.mfu.source}",
        f"time of kernels: {assumed.block_ms.source}",
        "billed by the minute while the job starts or runs; waiting for a machine is free",
    ]
    if flavor.accelerator is not None:
        card = jobs.accelerators[flavor.accelerator]
        said.append(f"{flavor.accelerator}: {card.vram_gb:g} GB; rates: {card.source}")
    if job.quantization == "4bit":
        said.append(f"4 bits are slower: {assumed.four_bit_slowdown.source}")
    return tuple(said)
