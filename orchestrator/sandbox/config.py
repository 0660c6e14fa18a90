"""The file of `sandbox up --config`: what shall go wrong, and how the faces behave."""

from __future__ import annotations

import difflib
import json
import typing
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import InputError
from orchestrator.sandbox.edge.rules import FaultPlan
from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.spec import SpecError
from orchestrator.spec_problems import describe
from orchestrator.yaml_places import Document, Path_, load_yaml

Permission = Annotated[str, StringConstraints(pattern=r"^storage\.[a-zA-Z]+\.[a-zA-Z]+$")]


class StorageConduct(BaseModel):
    """`permissions` is what callers may do, by the names of IAM; None is everything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    permissions: frozenset[Permission] | None = None


class SandboxConfig(BaseModel):
    """`faults:` are the rules in force from the start; the others are the ways of each face."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    faults: FaultPlan = FaultPlan()
    storage: StorageConduct = StorageConduct()
    vertex: VertexConduct = VertexConduct()
    jobs: JobsConduct = JobsConduct()


def load_config(file: Path) -> SandboxConfig:
    """Read the file strictly; raises `InputError` or `SpecError` with file and line."""
    document = load_yaml(file)
    value = {} if document.value is None else document.value
    try:
        # As JSON: there, lists are tuples and words are choices, and yet nothing is converted.
        return SandboxConfig.model_validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        raise SpecError([_problem(document, detail) for detail in error.errors()]) from None


def _problem(document: Document, detail: ErrorDetails) -> InputError:
    path: Path_ = tuple(detail["loc"])
    if not path:
        return InputError(
            "the file must be a block of `key: value` lines",
            where=document.place(path),
            hint=f"Known keys: {', '.join(SandboxConfig.model_fields)}.",
        )
    if detail["type"] != "extra_forbidden":
        return describe(document, detail, SandboxConfig)
    known = _known_keys(SandboxConfig, path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    hint = f"Did you mean `{close[0]}`?" if close else f"Known keys here: {', '.join(known)}."
    field = ".".join(str(part) for part in path)
    return InputError(f"unknown key `{field}`", where=document.key_place(path), hint=hint)


def _known_keys(block: type[BaseModel], path: Path_) -> list[str]:
    """The keys that the block at `path` has; positions in lists are skipped."""
    for key in (part for part in path if isinstance(part, str)):
        block = next(_models(block.model_fields[key].annotation))
    return list(block.model_fields)


def _models(annotation: object) -> typing.Iterator[type[BaseModel]]:
    """The models in an annotation such as `tuple[Rule, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)
