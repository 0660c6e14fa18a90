"""The spec and the rows that a command line names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog import Model
from orchestrator.cli.network import FetchOnDemand
from orchestrator.data_rules import resolve_rules
from orchestrator.data_sources import resolve_source
from orchestrator.dataset.preparing.prepared import PreparedData
from orchestrator.errors import CheckFailed
from orchestrator.plan import Plan
from orchestrator.planner import Prepared, make_plan, resolve_model
from orchestrator.preparation import prepare
from orchestrator.settings import Settings
from orchestrator.shipped import SpecSource, find_spec
from orchestrator.spec import LoadedSpec, load_spec


@dataclass(frozen=True)
class GivenSpec:
    """A spec that was given by its path or, if it is shipped, by its name."""

    source: SpecSource
    loaded: LoadedSpec


def read_given(spec: Path) -> GivenSpec:
    """Find and read a spec; raises `InputError` or `SpecError` with places."""
    source = find_spec(spec)
    return GivenSpec(source, load_spec(source.file, source.label))


def prepare_given(
    given: GivenSpec, data: str | None, *, limit: int | None, out: Path | None = None
) -> PreparedData:
    """The prepared rows of what a command line names."""
    model = resolve_model(given.loaded)
    return _prepared(given, model, data, limit=limit, out=out)


def plan_given(given: GivenSpec, data: str | None, *, limit: int | None) -> Prepared:
    """The plan of what a command line names, after its rows were prepared."""
    model = resolve_model(given.loaded)
    return make_plan(given.loaded, _prepared(given, model, data, limit=limit))


def need_sound(plan: Plan, hint: str) -> None:
    """Raise if the plan shows already that its job would be refused, or trained wrongly."""
    if plan.errors:
        raise CheckFailed("; ".join(plan.errors), hint=hint)
    if plan.refusals:
        raise CheckFailed(
            "the service would refuse this job: " + "; ".join(plan.refusals), hint=hint
        )


def _prepared(
    given: GivenSpec,
    model: Model,
    data: str | None,
    *,
    limit: int | None,
    out: Path | None = None,
) -> PreparedData:
    settings = Settings.from_env()
    fetch = FetchOnDemand(settings)
    rules = resolve_rules(given.loaded, model, tokenizers=fetch.tokenizers)
    label = given.source.data_label
    source = resolve_source(given.loaded, data, fetch=fetch, label=label)
    return prepare(source.iter_files(), rules, settings.home, limit=limit, out=out)
