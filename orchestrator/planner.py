"""Makes the plan of a spec and its prepared rows: pure and offline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.catalog import Catalog, Model, VertexLimits, load_catalog
from orchestrator.dataset.preparing.prepared import DataError as DataError
from orchestrator.dataset.preparing.prepared import PreparedData, PreparedSplit, Summary
from orchestrator.errors import InputError
from orchestrator.evaluation_planner import plan_evaluation
from orchestrator.gates_beforehand import unreachable_gates
from orchestrator.jobs_planner import plan_job
from orchestrator.jobs_refusals import unknown_flavor
from orchestrator.plan import (
    AdapterEstimate,
    CostEstimate,
    DataFacts,
    Hyperparameters,
    KeptTogether,
    LeftOutRows,
    Plan,
    SplitFacts,
    plan_digest,
)
from orchestrator.spec import JobSpec, LoadedSpec, SpecError
from orchestrator.spec_tuning import JOBS_ONLY_SERVICE, JOBS_ONLY_TUNING

_ADAPTER_SIZES = {
    1: "ONE",
    2: "TWO",
    4: "FOUR",
    8: "EIGHT",
    16: "SIXTEEN",
    32: "THIRTY_TWO",
}
#: Both half-precision formats take two bytes a parameter.
_BYTES_PER_PARAMETER = 2


@dataclass(frozen=True)
class Prepared:
    """A plan with the prepared rows that it was made of."""

    plan: Plan
    data: PreparedData


def resolve_model(loaded: LoadedSpec, catalog: Catalog | None = None) -> Model:
    """The catalog's entry for the spec's base model; every field that it refuses is a problem."""
    catalog = catalog or load_catalog()
    model = catalog.find(loaded.spec.base_model)
    problems = list(_model_problems(loaded, catalog, model))
    if problems or model is None:
        raise SpecError(problems)
    return model


def _model_problems(
    loaded: LoadedSpec, catalog: Catalog, model: Model | None
) -> Iterator[InputError]:
    service, tuning = loaded.spec.service, loaded.spec.tuning

    def problem(path: tuple[str, ...], message: str, hint: str) -> InputError:
        return InputError(message, where=loaded.place(*path), hint=hint)

    if service.name == "vertex" and service.location not in catalog.vertex.locations:
        hint = f"Locations: {', '.join(catalog.vertex.locations)}."
        message = f"vertex does not tune open models in `{service.location}`"
        yield problem(("service", "location"), message, hint)
    if model is None:
        name = loaded.spec.base_model
        close = catalog.nearest(name)
        known = ", ".join(one.id for one in catalog.models.values() if one.service == service.name)
        hint = f"Did you mean `{close}`?" if close else f"Known: {known}."
        yield problem(("base_model",), f"unknown base model `{name}`", hint)
        return
    if model.service != service.name:
        message = f"{model.id} is tuned on {model.service}, not on {service.name}"
        yield problem(("service", "name"), message, f"Write `name: {model.service}`.")
        return
    if service.name == "vertex":
        yield from _jobs_only(loaded, problem)
    else:
        yield from unknown_flavor(loaded, catalog.jobs)
    if service.name == "vertex" and tuning.max_length is not None:
        message = f"vertex takes no max_length: its limit for {model.id} is {model.max_row_tokens}"
        yield problem(("tuning", "max_length"), message, "Leave it out; hf-jobs takes one.")
    if tuning.max_length is not None and tuning.max_length > model.max_row_tokens:
        message = f"{model.id} reads at most {model.max_row_tokens} tokens"
        yield problem(("tuning", "max_length"), message, "Give a smaller max_length.")
    if tuning.mode not in model.modes:
        message = f"{model.id} is not tuned in mode {tuning.mode}"
        yield problem(("tuning", "mode"), message, f"It takes: {', '.join(model.modes)}.")
    elif tuning.rank is not None and tuning.rank not in model.ranks:
        message = f"{model.id} does not take rank {tuning.rank}"
        yield problem(("tuning", "rank"), message, f"It takes: {', '.join(map(str, model.ranks))}.")
    if model.baseline_learning_rate is None and tuning.learning_rate is None:
        message = f"the catalog knows no baseline learning rate for {model.id}"
        hint = "Give `learning_rate` itself under `tuning:` instead of a multiplier."
        yield problem(("tuning",), message, hint)


def _jobs_only(
    loaded: LoadedSpec, problem: Callable[[tuple[str, ...], str, str], InputError]
) -> Iterator[InputError]:
    """What the spec asks for and Vertex cannot be told."""
    blocks = (
        ("tuning", loaded.spec.tuning, JOBS_ONLY_TUNING),
        ("service", loaded.spec.service, JOBS_ONLY_SERVICE),
    )
    for name, block, fields in blocks:
        for field in fields:
            if getattr(block, field) not in (None, ()):
                message = f"vertex cannot be told `{field}`: it has ways of its own"
                hint = "Leave it out, or tune on hf-jobs, which takes it, with a model that it has."
                yield problem((name, field), message, hint)


def make_plan(
    loaded: LoadedSpec, data: PreparedData, *, catalog: Catalog | None = None
) -> Prepared:
    """Resolve a spec against its prepared rows. Raises `SpecError` for what is wrong with it."""
    catalog = catalog or load_catalog()
    model = resolve_model(loaded, catalog)
    spec, summary = loaded.spec, data.summary
    facts = tuple(map(_split_facts, summary.splits))
    hyperparameters = _hyperparameters(spec, model)
    jobs = None
    if model.service == "hf-jobs":
        jobs = plan_job(loaded, model, summary, hyperparameters, catalog.jobs)
    machine = jobs.machine if jobs else None
    evaluation = plan_evaluation(loaded, model, summary, machine, catalog.jobs)
    plan = Plan(
        name=spec.name,
        spec=spec,
        data=_data_facts(data),
        splits=facts,
        model=model,
        limits=None if jobs else catalog.vertex,
        hyperparameters=hyperparameters,
        recipe=jobs.recipe if jobs else None,
        machine=machine,
        evaluation=evaluation,
        adapter=jobs.adapter if jobs else _adapter(model, hyperparameters.rank),
        estimate=(jobs.estimate if jobs else _estimate(model, summary, hyperparameters.epochs)),
        refusals=jobs.refusals if jobs else tuple(_refusals(facts, catalog.vertex)),
        warnings=(*_warnings(spec, summary), *(jobs.warnings if jobs else ())),
        errors=(
            *_lost_answers(spec, summary),
            *unreachable_gates(
                spec, evaluation, data.files.get(evaluation.split) if evaluation else None
            ),
        ),
    )
    return Prepared(plan.model_copy(update={"digest": plan_digest(plan)}), data)


def _data_facts(data: PreparedData) -> DataFacts:
    summary = data.summary
    kept = summary.kept_together
    return DataFacts(
        sha256=data.sha256,
        size_bytes=sum(one.size_bytes for one in summary.inputs),
        rows=summary.rows,
        limit=summary.limit,
        tools_sha256=summary.tools_sha256,
        left_out=LeftOutRows.model_validate(summary.left_out.model_dump()),
        kept_together=KeptTogether(groups=kept.groups, rows=kept.rows, largest=kept.largest),
    )


def _split_facts(split: PreparedSplit) -> SplitFacts:
    return SplitFacts(
        name=split.name,
        rows=split.rows,
        size_bytes=split.size_bytes,
        characters=split.characters.whole.total,
        sha256=split.sha256,
    )


def _hyperparameters(spec: JobSpec, model: Model) -> Hyperparameters:
    tuning = spec.tuning
    baseline = model.baseline_learning_rate
    multiplier = None
    if tuning.learning_rate is not None:
        rate = tuning.learning_rate
    else:
        multiplier = tuning.learning_rate_multiplier or 1.0
        # 2e-4 × 0.7 is 0.00013999999999999999 in binary; the service gets what people mean.
        rate = float(f"{(baseline or 0.0) * multiplier:.12g}")
    rank = None if tuning.mode == "full" else (tuning.rank or model.baseline_rank)
    return Hyperparameters(
        mode=tuning.mode,
        epochs=tuning.epochs or model.baseline_epochs,
        baseline_learning_rate=baseline,
        learning_rate_multiplier=multiplier,
        learning_rate=rate,
        rank=rank,
        adapter_size=f"ADAPTER_SIZE_{_ADAPTER_SIZES[rank]}"
        if rank and spec.service.name == "vertex"
        else None,
    )


def _adapter(model: Model, rank: int | None) -> AdapterEstimate:
    if rank is None:
        return AdapterEstimate(
            parameters=None, size_bytes=None, basis="mode full has no adapter: all weights change"
        )
    if model.shape is None:
        return AdapterEstimate(
            parameters=None, size_bytes=None, basis="the catalog does not hold the model's shape"
        )
    parameters = model.shape.adapter_parameters(rank)
    return AdapterEstimate(
        parameters=parameters,
        size_bytes=parameters * _BYTES_PER_PARAMETER,
        basis=f"rank {rank} on all seven linear layers of {model.shape.layers} blocks, two bytes "
        "a parameter; which layers the service adapts is not documented",
    )


def _estimate(model: Model, summary: Summary, epochs: int) -> CostEstimate:
    train = summary.split("train")
    characters = train.characters.whole.total
    if train.tokens is not None:
        counted = train.tokens.whole.total
        basis = f"{counted} tokens of training rows ({summary.too_long.basis})"
    else:
        counted = round(characters * model.tokens_per_character)
        basis = (
            f"{characters} characters of training rows × {model.tokens_per_character} tokens per "
            "character (an average, not measured on these rows)"
        )
    price = model.usd_per_million_tokens or 0.0
    tokens = counted * epochs
    return CostEstimate(
        tokens=tokens,
        cost_usd=round(tokens * price / 1e6, 4),
        basis=f"{basis} × {epochs} epochs, at ${price:.2f} per million tokens; storage not "
        f"included. {model.source}",
        exact=train.tokens is not None,
    )


def _refusals(splits: Sequence[SplitFacts], limits: VertexLimits) -> list[str]:
    """What the service would refuse, although spec and rows are sound."""
    train, validation = splits[0], splits[1]
    refusals: list[str] = []
    ratio = validation.size_bytes / train.size_bytes
    if ratio > limits.max_validation_bytes_ratio:
        refusals.append(
            f"the validation file is {ratio:.0%} of the training file in bytes; the service "
            f"takes at most {limits.max_validation_bytes_ratio:.0%}. Give `validation` a smaller "
            "share, or more rows"
        )
    if validation.rows > limits.max_validation_rows:
        refusals.append(
            f"the validation file has {validation.rows} rows; the service takes at most "
            f"{limits.max_validation_rows}. Give `validation` a smaller share"
        )
    return refusals


def _lost_answers(spec: JobSpec, summary: Summary) -> list[str]:
    """Rows that would be trained on without their answer: counted ones only, no estimates."""
    lost = summary.too_long.answers_lost
    if not lost or spec.tuning.too_long != "error":
        return []
    message = (
        f"{lost} rows lose their answer, in part or whole, at {summary.too_long.limit} tokens "
        f"({summary.too_long.limit_source}). See: orchestrator check --only length; or write "
        "`too_long: drop` or `cut` under `tuning:`"
    )
    return [message]


def _warnings(spec: JobSpec, summary: Summary) -> Iterator[str]:
    if not (summary.too_long.exact and spec.tuning.too_long == "error"):  # told as an error
        yield from _length_warnings(summary)
    if not summary.split("validation").rows:
        yield "no validation rows: nothing will show whether the model overfits"
    kept = summary.kept_together
    if kept.straddling:
        yield (
            f"{kept.straddling} groups of duplicates or near-duplicates stand in more than one of "
            "the files of the splits. See: orchestrator check --only duplicates,leaks"
        )
    if spec.publish is None:
        yield "the spec has no `publish:`: the adapter is collected but not published"


def _length_warnings(summary: Summary) -> Iterator[str]:
    found = summary.too_long
    if found.rows and found.exact:
        lost = f", and {found.answers_lost} of them lose answers" if found.answers_lost else ""
        yield (
            f"{found.rows} rows have more than {found.limit} tokens ({found.limit_source}), where "
            f"they are cut{lost}"
        )
    elif found.rows:
        yield (
            f"{found.rows} rows are estimated at more than {found.limit} tokens, where the service "
            "cuts them"
        )
