"""What hf-jobs is told for a plan: the trainer's recipe, and the machine that is rented for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.catalog import LINEAR_LAYERS, Model
from orchestrator.dataset.preparing.prepared import PreparedSplit, Summary
from orchestrator.errors import InputError
from orchestrator.exports import family, problems
from orchestrator.hardware.catalog import JobsCatalog
from orchestrator.hardware.durations import format_duration, parse_duration
from orchestrator.hardware.estimate import Estimate, TrainingShape, choose_flavor, estimate
from orchestrator.plan import (
    AdapterEstimate,
    CostEstimate,
    Hyperparameters,
    Machine,
    MemoryTerm,
    Recipe,
)
from orchestrator.spec import JobSpec, LoadedSpec


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
#: About what an answer takes that is generated during the training.
_PROBE_TOKENS = 64
#: What the default image has; uv brings another Python only where a script asks for it.
JOB_PYTHON, JOB_PLATFORM = (3, 12), "linux-x86_64"
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
    shape = _shape(model, summary, hyper, recipe, jobs)
    found = _machine_for(loaded, shape, jobs)
    tokens = shape.train_tokens * hyper.epochs
    timeout_s = (
        parse_duration(spec.service.timeout) if spec.service.timeout else found.time.timeout_s
    )
    exact = summary.split("train").tokens is not None
    return JobsPart(
        recipe=recipe,
        machine=_machine(spec, found, timeout_s, jobs),
        estimate=CostEstimate(
            tokens=tokens,
            cost_usd=round(found.cost.high_usd, 4),
            least_usd=round(found.cost.low_usd, 4),
            basis=_cost_basis(found, tokens, timeout_s),
            exact=exact,
        ),
        adapter=_adapter(shape),
        refusals=(
            *_refusals(found),
            *_unusable(spec, recipe, summary),
            *_export_problems(spec, model),
        ),
        warnings=tuple(_warnings(found, timeout_s)),
    )


def _shape(
    model: Model, summary: Summary, hyper: Hyperparameters, recipe: Recipe, jobs: JobsCatalog
) -> TrainingShape:
    decoder = jobs.shapes.get(model.hub_id)
    if decoder is None:
        raise InputError(
            f"the catalog does not hold the shape of {model.id}, so nobody can tell what it needs",
            hint=f"Known: {', '.join(jobs.shapes)}.",
        )
    train, validation = summary.split("train"), summary.split("validation")
    train_tokens, longest = _tokens(train, model)
    return TrainingShape(
        model=decoder,
        mode=hyper.mode,
        longest=max(1, min(longest, recipe.max_length)),
        batch_size=recipe.batch_size,
        train_rows=max(1, train.rows),
        train_tokens=max(1, train_tokens),
        epochs=hyper.epochs,
        validation_rows=validation.rows,
        validation_tokens=_tokens(validation, model)[0] if validation.rows else 0,
        probe_tokens=recipe.probes * _PROBE_TOKENS,
        rank=hyper.rank,
        targets=recipe.targets or LINEAR_LAYERS,
        last_layers=recipe.last_layers,
        dropout=recipe.dropout,
        quantization=recipe.quantization,
        precision=recipe.precision,
        optimizer=recipe.optimizer,
        gradient_accumulation=recipe.gradient_accumulation,
        checkpoints=hyper.epochs,
    )


def _tokens(split: PreparedSplit, model: Model) -> tuple[int, int]:
    """All tokens of a split, and those of its longest row."""
    if split.tokens is not None:
        return split.tokens.whole.total, split.tokens.whole.most
    ratio, characters = model.tokens_per_character, split.characters.whole
    return round(characters.total * ratio), round(characters.most * ratio)


def _machine_for(loaded: LoadedSpec, shape: TrainingShape, jobs: JobsCatalog) -> Estimate:
    asked = loaded.spec.service.flavor
    if asked is None:
        found = choose_flavor(shape, jobs)
        if found is not None:
            return found
        largest = max(jobs.flavors, key=lambda one: one.usd_per_hour)
        return estimate(shape, largest, jobs)
    flavor = jobs.flavor(asked)
    if flavor is None:
        close = jobs.nearest_flavor(asked)
        raise InputError(
            f"hf-jobs has no flavor `{asked}`",
            where=loaded.place("service", "flavor"),
            hint=f"Did you mean `{close}`?"
            if close
            else f"Known: {', '.join(one.name for one in jobs.flavors)}.",
        )
    return estimate(shape, flavor, jobs)


def _machine(spec: JobSpec, found: Estimate, timeout_s: int, jobs: JobsCatalog) -> Machine:
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
        basis="; ".join(found.basis),
    )


def _cost_basis(found: Estimate, tokens: int, timeout_s: int) -> str:
    time = found.time
    most = found.flavor.usd_per_hour * timeout_s / 3600
    return (
        f"{format_duration(time.low_s)} to {format_duration(time.high_s)} on {found.flavor.name} "
        f"at ${found.flavor.usd_per_hour:.2f} an hour, for {tokens:,} tokens of all epochs; the "
        f"timeout of {format_duration(timeout_s)} costs ${most:.2f} at most"
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


def _refusals(found: Estimate) -> Iterator[str]:
    """Why the training cannot run on the machine."""
    yield from found.problems
    memory = found.memory
    if memory.verdict == "does not fit":
        advice = f"; it would with: {', '.join(memory.advice)}" if memory.advice else ""
        yield (
            f"the training needs {memory.needed_bytes / 1e9:.1f} GB and {found.flavor.name} has "
            f"{memory.available_bytes / 1e9:.0f} GB{advice}"
        )


def _unusable(spec: JobSpec, recipe: Recipe, summary: Summary) -> Iterator[str]:
    """What the recipe asks for and the trainer could not do."""
    if not summary.split("validation").rows:
        for name in ("format_drift", "plateau"):
            if getattr(spec.tuning, name) is not None:
                yield f"tuning.{name} looks at validation rows, and there are none: hold some out"
    if recipe.packing and spec.service.image is None:
        yield (
            "tuning.packing needs FlashAttention, which the default image does not have: name an "
            "image that has it as service.image, or use group_by_length"
        )


def _export_problems(spec: JobSpec, model: Model) -> list[str]:
    """What of the export cannot be installed or made in a job."""
    if spec.export is None:
        return []
    return problems(spec.export, family(model.hub_id), JOB_PYTHON, JOB_PLATFORM)


def _warnings(found: Estimate, timeout_s: int) -> Iterator[str]:
    memory = found.memory
    if memory.verdict == "tight":
        yield (
            f"memory is tight: {memory.needed_bytes / 1e9:.1f} of "
            f"{memory.available_bytes / 1e9:.0f} GB; safer with: {', '.join(memory.advice)}"
        )
    if timeout_s < found.time.high_s:
        yield (
            f"the timeout of {format_duration(timeout_s)} is less than the training may take "
            f"({format_duration(found.time.low_s)} to {format_duration(found.time.high_s)}); "
            "checkpoints are kept, and a further attempt goes on from the last one"
        )
