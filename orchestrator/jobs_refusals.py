"""Why hf-jobs could not run what a plan asks for, told before anything is paid."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.catalog import LINEAR_LAYERS, Model
from orchestrator.dataset.preparing.prepared import Summary
from orchestrator.errors import InputError
from orchestrator.exports import family, problems
from orchestrator.hardware.catalog import DecoderShape, JobsCatalog
from orchestrator.hardware.durations import format_duration
from orchestrator.hardware.estimate import Estimate
from orchestrator.plan import Recipe
from orchestrator.spec import JobSpec, LoadedSpec

#: What the default image has; uv brings another Python only where a script asks for it.
JOB_PYTHON, JOB_PLATFORM = (3, 12), "linux-x86_64"
#: How many fewer tokens a row may have than estimated, where nobody measured it.
_UNMEASURED_ERROR = 0.5


def unknown_flavor(loaded: LoadedSpec, jobs: JobsCatalog) -> Iterator[InputError]:
    """A problem if a spec names a machine that the service does not have."""
    asked = loaded.spec.service.flavor
    if asked is None or jobs.flavor(asked) is not None:
        return
    close = jobs.nearest_flavor(asked)
    known = ", ".join(one.name for one in jobs.flavors)
    yield InputError(
        f"hf-jobs has no flavor `{asked}`",
        where=loaded.place("service", "flavor"),
        hint=f"Did you mean `{close}`?" if close else f"Known: {known}.",
    )


def need_parts(loaded: LoadedSpec, model: Model, decoder: DecoderShape) -> None:
    """Raise `InputError` for blocks or modules that the model does not have."""
    tuning = loaded.spec.tuning
    if tuning.last_layers is not None and tuning.last_layers > decoder.layers:
        raise InputError(
            f"{model.id} has {decoder.layers} blocks, not {tuning.last_layers}",
            where=loaded.place("tuning", "last_layers"),
            hint="Give fewer, or leave it out to train all of them.",
        )
    for number, name in enumerate(tuning.targets or ()):
        if name not in LINEAR_LAYERS:  # the trainer takes plain names only
            raise InputError(
                f"{model.id} has no linear layer `{name}` in its blocks",
                where=loaded.place("tuning", "targets", number),
                hint=f"It has: {', '.join(LINEAR_LAYERS)}.",
            )


def machine_refusals(found: Estimate, timeout_s: int) -> Iterator[str]:
    """Why the training cannot run on the machine, or not to its end."""
    yield from found.problems
    if timeout_s < found.time.low_s:
        yield (
            f"the timeout of {format_duration(timeout_s)} stops the job before its end: it takes "
            f"{format_duration(found.time.low_s)} at best, on {found.flavor.name}; write "
            f"`timeout: {found.time.timeout_s // 60}m` under `service:`, or leave it out. Only "
            "the time that a job runs is paid"
        )
    memory = found.memory
    if memory.verdict == "does not fit":
        advice = f"; it would with: {', '.join(memory.advice)}" if memory.advice else ""
        yield (
            f"the training needs {memory.needed_bytes / 1e9:.1f} GB and {found.flavor.name} has "
            f"{memory.available_bytes / 1e9:.0f} GB{advice}"
        )


def recipe_refusals(spec: JobSpec, recipe: Recipe, summary: Summary) -> Iterator[str]:
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


def length_refusals(model: Model, recipe: Recipe, summary: Summary) -> Iterator[str]:
    """Told where tokens are estimated: with counted ones, the rows have told it already."""
    train = summary.split("train")
    if train.tokens is not None or not train.rows:
        return
    fewer = model.estimate_error.fewer if model.estimate_error else _UNMEASURED_ERROR
    least = int(train.characters.prompt.least * model.tokens_per_character * (1 - fewer))
    if least >= recipe.max_length:
        yield (
            f"the prompts alone fill max_length: the shortest has {least} tokens by the lowest "
            f"estimate, and {recipe.max_length} are kept of a row, so that no answer is left to "
            "train on. Give a larger `max_length` under `tuning:`, see: orchestrator check --only "
            "length"
        )


def export_refusals(spec: JobSpec, model: Model) -> list[str]:
    """What of the export cannot be installed or made in a job."""
    if spec.export is None:
        return []
    return problems(spec.export, family(model.hub_id), JOB_PYTHON, JOB_PLATFORM)


def machine_warnings(spec: JobSpec, found: Estimate, timeout_s: int) -> Iterator[str]:
    memory = found.memory
    if memory.verdict == "tight":
        yield (
            f"memory is tight: {memory.needed_bytes / 1e9:.1f} of "
            f"{memory.available_bytes / 1e9:.0f} GB; safer with: {', '.join(memory.advice)}"
        )
    if found.time.low_s <= timeout_s < found.time.high_s:
        further = "a further attempt goes on"
        if spec.max_attempts == 1:
            further = "with `max_attempts: 2` another attempt goes on"
        yield (
            f"the timeout of {format_duration(timeout_s)} is less than the training may take "
            f"({format_duration(found.time.low_s)} to {format_duration(found.time.high_s)}); "
            f"checkpoints are kept, and {further} from the last one"
        )
