"""The spec: what the user writes, read strictly, with every problem reported at once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from orchestrator.errors import InputError, Place
from orchestrator.yaml_places import Document, Path_, load_yaml

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
_SEGMENT = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"


def _hub_name(name: str) -> str:
    """What the Hub refuses beyond the form: better now than after the training is paid."""
    if "--" in name or ".." in name or name.endswith(".git"):
        raise ValueError("the Hub takes no name with `--` or `..` in it or `.git` at its end")
    return name


Repo = Annotated[
    str, StringConstraints(pattern=rf"^({_SEGMENT}/)?{_SEGMENT}$"), AfterValidator(_hub_name)
]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ServiceBlock(_Block):
    """Where the model is tuned."""

    name: Literal["vertex"] = "vertex"
    location: str = "us-central1"


class SplitBlock(_Block):
    """Shares of the rows; they add up to 1."""

    train: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.85
    validation: Ratio = 0.10
    test: Ratio = 0.05

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"train, validation and test add up to {total:g}, not to 1")
        return self


class DataBlock(_Block):
    """The rows, and how they are split. `path` is relative to the spec."""

    path: str | None = None
    format: Literal["prompt-completion"] = "prompt-completion"
    answer: Literal["route-plan", "text"] = "text"
    split: SplitBlock = SplitBlock()


class TuningBlock(_Block):
    """How the model is tuned."""

    mode: Literal["peft", "full"] = "peft"
    rank: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1, le=100)] | None = None
    learning_rate_multiplier: PositiveFloat | None = None
    learning_rate: PositiveFloat | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.learning_rate is not None and self.learning_rate_multiplier is not None:
            raise ValueError("give learning_rate or learning_rate_multiplier, not both")
        if self.mode == "full" and self.rank is not None:
            raise ValueError("mode full has no rank: it changes all weights")
        return self


class PublishBlock(_Block):
    """Where the adapter goes. Without a namespace the repo is the token owner's."""

    repo: Repo
    private: bool = True
    tags: tuple[str, ...] = ()


class StandInBlock(_Block):
    """How a rehearsal lightens the training for its stand-in model. Never used for the real run."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    learning_rate: PositiveFloat | None = None
    max_length: Annotated[int, Field(ge=16)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None


class JobSpec(_Block):
    """One fine-tuning job, from its rows to its published adapter."""

    version: Literal[1]
    name: Name
    base_model: str
    service: ServiceBlock = ServiceBlock()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    data: DataBlock = DataBlock()
    tuning: TuningBlock = TuningBlock()
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 1
    on_uncertain: Literal["hold", "relaunch"] = "hold"
    publish: PublishBlock | None = None
    stand_in: StandInBlock = StandInBlock()


def _line(problem: InputError) -> int:
    return (problem.where.line or 0) if problem.where else 0


class SpecError(InputError):
    """Everything that is wrong with a spec, in the order of its lines."""

    def __init__(self, problems: Sequence[InputError]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(sorted(problems, key=_line))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(frozen=True)
class LoadedSpec:
    """A spec with the file that it came from, so that later steps can name places in it."""

    spec: JobSpec
    file: Path
    document: Document

    def place(self, *path: str | int) -> Place:
        """Where a field stands in the file."""
        return self.document.place(path)

    def data_file(self, override: Path | None = None) -> Path:
        """The file with the rows: the one given on the command line, or the spec's own."""
        if override is not None:
            return override
        if self.spec.data.path is None:
            raise InputError(
                "the spec names no data",
                where=self.place("data"),
                hint="Add `path:` under `data:`, or give --data FILE.",
            )
        file = self.file.parent / self.spec.data.path
        if not file.exists():
            raise InputError(
                f"there is no file {file}",
                where=self.place("data", "path"),
                hint="The path is relative to the spec; or give --data FILE.",
            )
        return file


def load_spec(file: Path, name: str | None = None) -> LoadedSpec:
    """Read and validate a spec; raises `InputError` or `SpecError` with places."""
    document = load_yaml(file, name)
    if not isinstance(document.value, dict):
        found = {list: "a list", type(None): "nothing"}.get(type(document.value), "a single value")
        raise InputError(
            f"a spec is a mapping of `key: value` lines; this file holds {found}",
            where=document.place(()),
            hint="Start from jobs/router/llama-3.1-8b.yaml.",
        )
    try:
        spec = JobSpec.model_validate(_tuples(document.value))
    except ValidationError as error:
        raise SpecError([_problem(document, detail) for detail in error.errors()]) from None
    return LoadedSpec(spec, file, document)


def _tuples(value: Any) -> Any:
    """YAML's lists as the tuples that strict, frozen models hold."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _problem(document: Document, detail: ErrorDetails) -> InputError:
    path: Path_ = tuple(detail["loc"])
    field = ".".join(str(part) for part in path)
    if detail["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        hint = f"Did you mean `{close[0]}`?" if close else f"Known keys here: {', '.join(known)}."
        return InputError(f"unknown key `{field}`", where=document.key_place(path), hint=hint)
    if detail["type"] == "missing":
        return InputError(f"`{field}` is missing", where=document.place(path), hint="Add it.")
    message, hint = _WORDS.get(detail["type"], (_plain(detail["msg"]), ""))
    given = detail["input"]
    shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool) else ""
    return InputError(
        f"`{field or 'spec'}`: {message}{shown}",
        where=document.place(path),
        hint=_HINTS.get(field, hint),
    )


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return message[:1].lower() + message[1:]


#: What a kind of mistake is called here, and what to do about it. The messages of all other kinds
#: say by themselves what would be right (a range, a choice).
_BLOCK = ("must be a block of `key: value` lines", "Indent its keys below it, or remove it.")
_WORDS = {
    "model_type": _BLOCK,
    "model_attributes_type": _BLOCK,
    "tuple_type": ("must be a list", "Write it as [one, two]."),
    "string_type": ("must be text", "Put the value in quotes."),
    "int_type": ("must be a whole number", "Write it as 3, without quotes or a decimal point."),
    "float_type": ("must be a number", "Write it without quotes, as 0.5 or 1e-4."),
    "bool_type": ("must be true or false", "Write it without quotes."),
    "string_pattern_mismatch": ("has not the right form", ""),
}

_HINTS = {
    "name": "Lowercase letters, digits, `-`, `_` and `.`, at most 63; the first a letter or digit.",
    "publish.repo": "Write `namespace/name`, or only `name` for your own namespace: letters, "
    "digits, `-`, `_` and `.`.",
    "version": "This program reads version 1.",
}


def _known_keys(path: Path_) -> list[str]:
    """The keys that the block at `path` has."""
    block: type[BaseModel] = JobSpec
    for part in path:
        field = block.model_fields.get(str(part))
        if field is None:
            return []
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not inner:
            return []
        block = inner[0]
    return list(block.model_fields)
