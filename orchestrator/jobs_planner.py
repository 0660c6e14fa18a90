"""What hf-jobs is told for a plan: the trainer's recipe, and the machine that is rented for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from orchestrator.catalog import LINEAR_LAYERS, Model
from orchestrator.dataset.preparing.prepared import Lengths, PreparedSplit, Summary
from orchestrator.errors import InputError
from orchestrator.hardware.catalog import Flavor, JobsCatalog
from orchestrator.hardware.durations import format_duration, parse_duration
from orchestrator.hardware.estimate import Estimate, TrainingShape, choose_flavor, estimate
from orchestrator.hardware.finishing import (
    FinishingEstimate,
    FinishingKind,
    estimate_finishing,
)
from orchestrator.jobs_refusals import (
    export_refusals,
    length_refusals,
    machine_refusals,
    machine_warnings,
    need_parts,
    recipe_refusals,
    unknown_flavor,
)
from orchestrator.plan import (
    AdapterEstimate,
    CostEstimate,
    Hyperparameters,
    Machine,
    MemoryTerm,
    Recipe,
)
from orchestrator.spec import JobSpec, LoadedSpec

RowPart = Literal["prompt", "answer", "whole"]


@dataclass(frozen=True)
class JobsPart:
    """The parts of a plan that only hf-jobs has, or has in a way of its own."""

    recipe: Recipe
    machine: Machine
    estimate: CostEstimate
    adapter: AdapterEstimate
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]


#: The answers that are JSON, by the name of their schema; a schema of one's own is JSON too.
_NO_JSON = "text"
_BATCH_SIZE = 4
_WARMUP_RATIO = 0.03
_MAX_GRAD_NORM = 1.0
#: An answer of the probe may be so much longer than the longest that is expected (sft_probe.py).
_PROBE_ROOM, _PROBE_SPARE_TOKENS = 1.5, 16
#: Adapters are saved in 32 bits.
_ADAPTER_BYTES = 4


def make_recipe(spec: JobSpec, model: Model, summary: Summary, rank: int | None) -> Recipe:
    """What the trainer is told; fields that the spec leaves out have their defaults here."""
    tuning = spec.tuning
    drift, plateau = tuning.format_drift, tuning.plateau
    full = tuning.mode == "full"
    return Recipe(
        quantization=tuning.quantization or "none",
        alpha=None if full or rank is None else (tuning.alpha or 2 * rank),
        dropout=tuning.dropout or 0.0,
        targets=tuning.targets,
        last_layers=tuning.last_layers,
        weight_decay=tuning.weight_decay or 0.0,
        warmup_ratio=_WARMUP_RATIO if tuning.warmup_ratio is None else tuning.warmup_ratio,
        scheduler=tuning.scheduler or "cosine",
        optimizer=tuning.optimizer or "adamw_torch",
        batch_size=tuning.batch_size or _BATCH_SIZE,
        gradient_accumulation=tuning.gradient_accumulation or 1,
        max_grad_norm=tuning.max_grad_norm or _MAX_GRAD_NORM,
        max_length=tuning.max_length or model.max_row_tokens,
        packing=bool(tuning.packing),
        group_by_length=bool(tuning.group_by_length),
        precision=tuning.precision or "auto",
        save_steps=tuning.save_steps,
        plateau_patience=plateau.patience if plateau else None,
        plateau_min_delta=plateau.min_delta if plateau else 0.0,
        answer_syntax=_answer_syntax(spec, model, summary),
        probes=drift.probes if drift else 0,
        max_unparsed=drift.max_unparsed if drift else 1.0,
        tracking=tuning.tracking or "none",
    )


def _answer_syntax(spec: JobSpec, model: Model, summary: Summary) -> str:
    """What a generated answer must parse as: calls where rows have tools, else JSON or any text."""
    if summary.tools_sha256 is not None:
        return model.call_syntax or "none"
    return "none" if spec.data.answer == _NO_JSON else "json"


def plan_job(
    loaded: LoadedSpec, model: Model, summary: Summary, hyper: Hyperparameters, jobs: JobsCatalog
) -> JobsPart:
    """Recipe, machine, time and cost of a training. Raises `InputError` with the field's place."""
    spec = loaded.spec
    recipe = make_recipe(spec, model, summary, hyper.rank)
    shape = _shape(loaded, model, summary, hyper, recipe, jobs)
    found = _machine_for(loaded, shape, jobs)
    tokens = shape.train_tokens * hyper.epochs
    timeout_s = (
        parse_duration(spec.service.timeout) if spec.service.timeout else found.time.timeout_s
    )
    finishing = _finishing(spec, shape, found.flavor, jobs)
    exact = summary.split("train").tokens is not None
    return JobsPart(
        recipe=recipe,
        machine=_machine(spec, found, timeout_s, finishing, jobs),
        estimate=CostEstimate(
            tokens=tokens,
            cost_usd=round(found.cost.high_usd, 4),
            least_usd=round(found.cost.low_usd, 4),
            finishing_usd=_finishing_usd(finishing),
            basis=_cost_basis(spec, found, tokens, timeout_s),
            exact=exact,
        ),
        adapter=_adapter(shape),
        refusals=(
            *machine_refusals(found, timeout_s),
            *recipe_refusals(spec, recipe, summary),
            *length_refusals(model, recipe, summary),
            *export_refusals(spec, model),
            *(problem for one in finishing for problem in one.problems),
        ),
        warnings=tuple(machine_warnings(spec, found, timeout_s)),
    )


def _shape(
    loaded: LoadedSpec,
    model: Model,
    summary: Summary,
    hyper: Hyperparameters,
    recipe: Recipe,
    jobs: JobsCatalog,
) -> TrainingShape:
    decoder = jobs.shapes.get(model.hub_id)
    if decoder is None:
        raise InputError(
            f"the catalog does not hold the shape of {model.id}, so nobody can tell what it needs",
            where=loaded.place("base_model"),
            hint=f"Known: {', '.join(jobs.shapes)}.",
        )
    need_parts(loaded, model, decoder)
    train, validation = summary.split("train"), summary.split("validation")
    train_tokens, longest = _tokens(train, model, "whole")
    longest, rows = min(longest, recipe.max_length), train.rows
    if recipe.packing:  # rows are put together until they fill the length
        longest, rows = recipe.max_length, math.ceil(train_tokens / recipe.max_length)
    return TrainingShape(
        model=decoder,
        mode=hyper.mode,
        longest=max(1, longest),
        batch_size=recipe.batch_size,
        train_rows=max(1, rows),
        train_tokens=max(1, train_tokens),
        epochs=hyper.epochs,
        validation_rows=validation.rows,
        validation_tokens=_tokens(validation, model, "whole")[0],
        probe_tokens=_probe_tokens(recipe, validation, model),
        rank=hyper.rank,
        targets=recipe.targets or LINEAR_LAYERS,
        last_layers=recipe.last_layers,
        dropout=recipe.dropout,
        quantization=recipe.quantization,
        precision=recipe.precision,
        optimizer=recipe.optimizer,
        gradient_accumulation=recipe.gradient_accumulation,
        save_steps=recipe.save_steps,
        packing=recipe.packing,
    )


def _tokens(split: PreparedSplit, model: Model, part: RowPart) -> tuple[int, int]:
    """All tokens of a part of a split's rows, and those of the longest one."""
    if not split.rows:
        return 0, 0
    if split.tokens is not None:
        counted: Lengths = getattr(split.tokens, part)
        return counted.total, counted.most
    characters: Lengths = getattr(split.characters, part)
    ratio = model.tokens_per_character
    return round(characters.total * ratio), round(characters.most * ratio)


def _probe_tokens(recipe: Recipe, validation: PreparedSplit, model: Model) -> tuple[int, int]:
    """Tokens that a look at the probes takes one after the other, at least and at most.

    Rows of a batch are answered at once, and the longest answer of them holds up the others.
    """
    probes = min(recipe.probes, validation.rows)
    if not probes:
        return 0, 0
    total, longest = _tokens(validation, model, "answer")
    batches = math.ceil(probes / recipe.batch_size)
    most = math.ceil(_PROBE_ROOM * longest) + _PROBE_SPARE_TOKENS
    return batches * max(1, total // validation.rows), batches * most


def _machine_for(loaded: LoadedSpec, shape: TrainingShape, jobs: JobsCatalog) -> Estimate:
    asked = loaded.spec.service.flavor
    if asked is None:
        able = [one for one in jobs.flavors if _can_finish(loaded.spec, shape, one, jobs)]
        found = choose_flavor(shape, jobs, offered=able)
        if found is not None:
            return found
        largest = max(jobs.flavors, key=lambda one: one.usd_per_hour)
        return estimate(shape, largest, jobs)
    flavor = jobs.flavor(asked)
    if flavor is None:
        raise next(unknown_flavor(loaded, jobs))
    return estimate(shape, flavor, jobs)


def _can_finish(spec: JobSpec, shape: TrainingShape, flavor: Flavor, jobs: JobsCatalog) -> bool:
    """Whether merge and export can be made on a machine too."""
    return not any(one.problems for one in _finishing(spec, shape, flavor, jobs))


def _finishing(
    spec: JobSpec, shape: TrainingShape, flavor: Flavor, jobs: JobsCatalog
) -> tuple[FinishingEstimate, ...]:
    """The merge and the export that follow the training on the same machine."""
    if spec.export is None:
        return ()
    kinds: list[FinishingKind] = ["merge"] if shape.mode == "peft" else []
    kinds.append(spec.export.format)
    return tuple(estimate_finishing(kind, shape.model, flavor, jobs) for kind in kinds)


def _finishing_usd(finishing: tuple[FinishingEstimate, ...]) -> tuple[float, float] | None:
    if not finishing:
        return None
    return (
        round(sum(one.least_usd for one in finishing), 4),
        round(sum(one.most_usd for one in finishing), 4),
    )


def _machine(
    spec: JobSpec,
    found: Estimate,
    timeout_s: int,
    finishing: tuple[FinishingEstimate, ...],
    jobs: JobsCatalog,
) -> Machine:
    timeouts = {one.kind: one.timeout_s for one in finishing}
    return Machine(
        flavor=found.flavor.name,
        image=spec.service.image or jobs.image,
        usd_per_hour=found.flavor.usd_per_hour,
        timeout_s=timeout_s,
        memory=tuple(
            MemoryTerm(name=term.name, size_bytes=term.size_bytes, formula=term.formula)
            for term in found.memory.terms
        ),
        memory_bytes=found.memory.needed_bytes,
        available_bytes=found.memory.available_bytes,
        low_s=found.time.low_s,
        high_s=found.time.high_s,
        merge_timeout_s=timeouts.pop("merge", None),
        export_timeout_s=next(iter(timeouts.values()), None),
        basis="; ".join(found.basis),
    )


def _cost_basis(spec: JobSpec, found: Estimate, tokens: int, timeout_s: int) -> str:
    time = found.time
    most = found.flavor.usd_per_hour * timeout_s / 3600 * spec.max_attempts
    attempts = f", of {spec.max_attempts} attempts," if spec.max_attempts > 1 else ""
    return (
        f"{format_duration(time.low_s)} to {format_duration(time.high_s)} on {found.flavor.name} "
        f"at ${found.flavor.usd_per_hour:.2f} an hour, for {tokens:,} tokens of all epochs; the "
        f"timeout of {format_duration(timeout_s)}{attempts} costs ${most:.2f} at most"
    )


def _adapter(shape: TrainingShape) -> AdapterEstimate:
    if shape.mode == "full":
        return AdapterEstimate(
            parameters=None, size_bytes=None, basis="mode full has no adapter: all weights change"
        )
    layers = f"{shape.trained_layers} of {shape.model.layers} blocks"
    return AdapterEstimate(
        parameters=shape.trainable_parameters,
        size_bytes=shape.trainable_parameters * _ADAPTER_BYTES,
        basis=f"rank {shape.rank} on {', '.join(shape.adapted)} of {layers}, 4 bytes a parameter",
    )
