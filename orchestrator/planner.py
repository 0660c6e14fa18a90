"""Makes the plan: pure and offline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog import Catalog, Model, VertexLimits, load_catalog
from orchestrator.dataset.checks import check_rows
from orchestrator.dataset.jsonl import Row, read_jsonl
from orchestrator.dataset.report import Finding, Report
from orchestrator.dataset.splits import Split, line_characters, split_rows
from orchestrator.errors import InputError
from orchestrator.plan import (
    AdapterEstimate,
    CostEstimate,
    DataFacts,
    Hyperparameters,
    Plan,
    SplitFacts,
    plan_digest,
)
from orchestrator.spec import JobSpec, LoadedSpec, SpecError

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
    """A plan with the rows of its splits, ready to be written."""

    plan: Plan
    splits: tuple[Split, ...]


@dataclass(frozen=True)
class CheckedData:
    """The lines of a file that are rows, the report on all of them, and the file's digest."""

    rows: tuple[Row, ...]
    report: Report
    sha256: str
    size_bytes: int


def check_data(loaded: LoadedSpec, data: Path, name: str | None = None) -> CheckedData:
    """Read the rows and check each; `name` is how messages call the file."""
    name = name or str(data)
    kept: list[Row] = []
    digest = hashlib.sha256()
    size_bytes = 0

    def read(raw: bytes) -> None:
        # The digest is that of the very bytes that are checked, whatever becomes of the file.
        nonlocal size_bytes
        digest.update(raw)
        size_bytes += len(raw)

    def keep(found: Row | Finding) -> Row | Finding:
        if isinstance(found, Row):
            kept.append(found)
        return found

    spec = loaded.spec.data
    report = check_rows(
        map(keep, read_jsonl(data, name, on_line=read)),
        name=name,
        row_schema=spec.format,
        answer_schema=None if spec.answer == "text" else spec.answer,
    )
    return CheckedData(tuple(kept), report, digest.hexdigest(), size_bytes)


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

    if service.location not in catalog.vertex.locations:
        hint = f"Locations: {', '.join(catalog.vertex.locations)}."
        message = f"vertex does not tune open models in `{service.location}`"
        yield problem(("service", "location"), message, hint)
    if model is None:
        name = loaded.spec.base_model
        close = catalog.nearest(name)
        hint = f"Did you mean `{close}`?" if close else f"Known: {', '.join(catalog.models)}."
        yield problem(("base_model",), f"unknown base model `{name}`", hint)
        return
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


def make_plan(
    loaded: LoadedSpec,
    data: Path,
    *,
    limit: int | None = None,
    catalog: Catalog | None = None,
    name: str | None = None,
) -> Prepared:
    """Resolve a spec against its data. Raises `SpecError` or `DataError` for what is wrong."""
    catalog = catalog or load_catalog()
    model = resolve_model(loaded, catalog)
    checked = check_data(loaded, data, name)
    if checked.report.error_count:
        raise DataError(name or str(data), checked.report)
    spec = loaded.spec
    ratios = (spec.data.split.train, spec.data.split.validation, spec.data.split.test)
    if limit is not None and limit >= len(checked.rows):
        limit = None  # all rows: the same plan as without a limit
    splits = split_rows(checked.rows, seed=spec.seed, ratios=ratios, limit=limit)
    facts = tuple(_split_facts(split) for split in splits)
    if not facts[0].rows:
        raise InputError(
            f"{sum(split.rows for split in facts)} rows leave none for training",
            hint="Give more rows, or a larger share to `train`.",
        )
    hyperparameters = _hyperparameters(spec, model)
    plan = Plan(
        name=spec.name,
        spec=spec,
        data=_data_facts(checked, limit),
        splits=facts,
        model=model,
        limits=catalog.vertex,
        hyperparameters=hyperparameters,
        adapter=_adapter(model, hyperparameters.rank),
        estimate=_estimate(model, facts[0], hyperparameters.epochs),
        refusals=tuple(_refusals(facts, catalog.vertex)),
        warnings=tuple(_warnings(spec, model, splits)),
    )
    return Prepared(plan.model_copy(update={"digest": plan_digest(plan)}), tuple(splits))


class DataError(InputError):
    """Rows that cannot be trained on; the report says which and why."""

    exit_code = 1

    def __init__(self, name: str, report: Report) -> None:
        super().__init__(
            f"{name}: {report.error_count} of {report.rows} rows are wrong",
            hint="See them all: orchestrator check",
        )
        self.report = report


def _data_facts(checked: CheckedData, limit: int | None) -> DataFacts:
    return DataFacts(
        sha256=checked.sha256,
        size_bytes=checked.size_bytes,
        rows=len(checked.rows),
        limit=limit,
    )


def _split_facts(split: Split) -> SplitFacts:
    content = split.content
    return SplitFacts(
        name=split.name,
        rows=len(split.lines),
        size_bytes=len(content),
        characters=split.characters,
        sha256=hashlib.sha256(content).hexdigest(),
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
        adapter_size=f"ADAPTER_SIZE_{_ADAPTER_SIZES[rank]}" if rank else None,
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


def _estimate(model: Model, train: SplitFacts, epochs: int) -> CostEstimate:
    tokens = round(train.characters * model.tokens_per_character) * epochs
    return CostEstimate(
        tokens=tokens,
        cost_usd=round(tokens * model.usd_per_million_tokens / 1e6, 4),
        basis=f"{train.characters} characters of training rows × {model.tokens_per_character} "
        f"tokens per character (an average, not measured on these rows) × {epochs} epochs, at "
        f"${model.usd_per_million_tokens:.2f} per million tokens; storage not included. "
        f"{model.source}",
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


def _warnings(spec: JobSpec, model: Model, splits: Sequence[Split]) -> list[str]:
    warnings: list[str] = []
    limit = model.max_row_tokens
    per_row = (line_characters(line) for split in splits for line in split.lines)
    long = sum(characters * model.tokens_per_character > limit for characters in per_row)
    if long:
        warnings.append(
            f"{long} rows are estimated at more than {limit} tokens, where the service cuts them"
        )
    if not splits[1].lines:
        warnings.append("no validation rows: nothing will show whether the model overfits")
    if spec.publish is None:
        warnings.append("the spec has no `publish:`: the adapter is collected but not published")
    return warnings
