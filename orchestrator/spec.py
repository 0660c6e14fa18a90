"""The spec: what the user writes, read strictly, with every problem reported at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from orchestrator.errors import InputError, Place
from orchestrator.spec_data import Block
from orchestrator.spec_data import DataBlock as DataBlock
from orchestrator.spec_data import MappingBlock as MappingBlock
from orchestrator.spec_evaluation import AUDIT_MEAN as AUDIT_MEAN
from orchestrator.spec_evaluation import EvaluationBlock as EvaluationBlock
from orchestrator.spec_evaluation import GateBlock as GateBlock
from orchestrator.spec_evaluation import Gates
from orchestrator.spec_problems import describe
from orchestrator.spec_tuning import ServiceBlock as ServiceBlock
from orchestrator.spec_tuning import StandInBlock as StandInBlock
from orchestrator.spec_tuning import TuningBlock as TuningBlock
from orchestrator.yaml_places import Document, load_yaml

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
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _whole_number(value: Any) -> Any:
    """A choice of numbers compares by value, so that `true` and 1.0 would pass for 1."""
    if isinstance(value, bool | float):
        raise ValueError("must be 1")  # noqa: TRY004 (pydantic reports values, not types)
    return value


def _or_none(schema: dict[str, Any]) -> None:
    """In a spec, no gates are written as a word."""
    schema["anyOf"].insert(0, {"const": "none"})


class PublishBlock(Block):
    """Where the adapter goes."""

    repo: Repo = Field(
        description="Repo on the Hugging Face Hub, as `namespace/name`; without a namespace it is "
        "the token owner's.",
        examples=["router-llama-3.1-8b-adapter", "my-team/router-llama-3.1-8b-adapter"],
        json_schema_extra={"not": {"pattern": r"--|\.\.|\.git$"}},
    )
    private: bool = Field(True, description="Whether the repo is made private, if it is new.")
    tags: tuple[str, ...] = Field(
        (), description="Tags of the model card.", examples=[["router", "function-calling"]]
    )
    collection: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]*[0-9a-f]{24}$")]
        | None
    ) = Field(
        None,
        description="A collection of the Hub to which the repo is added once it is published, as "
        "its address names it.",
        examples=["my-team/routers-64f9a55bb3115b4f513ec026"],
    )


class ExportBlock(Block):
    """What the tuned model becomes for a device. The lengths are built into the file."""

    format: Literal["litertlm", "gguf"] = Field(description="The file's format.")
    kv_cache: Annotated[int, Field(ge=16)] | None = Field(
        None,
        description="Tokens that the exported model can hold, prompt and answer together.",
        examples=[1024],
    )
    prefill: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Tokens of a prompt that are read in one step.", examples=[256]
    )
    quantization: Literal["none", "f16", "q8_0", "dynamic_int8"] | None = Field(
        None,
        description="How the weights are stored: f16 or q8_0 in a GGUF file, dynamic_int8 or none "
        "in a LiteRT-LM file; without it, q8_0 and dynamic_int8.",
        examples=["q8_0"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = {"gguf": ("f16", "q8_0"), "litertlm": ("none", "dynamic_int8")}[self.format]
        if self.quantization is not None and self.quantization not in known:
            raise ValueError(f"{self.format} takes the quantization {' or '.join(known)}")
        return self


class JobSpec(Block):
    """One fine-tuning job, from its rows to its published adapter."""

    version: Annotated[Literal[1], BeforeValidator(_whole_number)] = Field(
        description="Version of this format."
    )
    name: Name = Field(
        description="Name of the job, by which commands find its newest run: lowercase letters, "
        "digits, `-`, `_` and `.`.",
        examples=["router-llama-3.1-8b"],
    )
    base_model: str = Field(
        description="The service's id of the model that is tuned.",
        examples=[
            "meta/llama3_1@llama-3.1-8b-instruct",
            "google/gemma3@gemma-3-27b-it",
            "qwen/qwen3@qwen3-32b",
        ],
    )
    service: ServiceBlock = Field(ServiceBlock(), description="Where the model is tuned.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        42, description="Decides the order of the rows, and with it the splits.", examples=[42]
    )
    data: DataBlock = Field(
        DataBlock(), description="The rows, what they mean, and how they are split."
    )
    tokenizer: str | None = Field(
        None,
        description="What counts the tokens: a folder with tokenizer.json, relative to the spec, "
        "or `owner/name@revision` on the Hub; without it, the base model's own.",
        examples=["./tokenizer", "HuggingFaceTB/SmolLM2-135M-Instruct"],
    )
    chat_template: str | None = Field(
        None,
        description="File with the chat template (Jinja), relative to the spec; without it, the "
        "tokenizer's own.",
        examples=["chat_template.jinja"],
    )
    tuning: TuningBlock = Field(TuningBlock(), description="How the model is tuned.")
    max_attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        1, description="How many jobs may be paid for if earlier ones fail.", examples=[2]
    )
    on_uncertain: Literal["hold", "relaunch"] = Field(
        "hold",
        description="What happens if nobody can tell whether a job was created: `hold` waits for "
        "a person, `relaunch` may pay twice.",
    )
    export: ExportBlock | None = Field(
        None, description="What the tuned model becomes for a device."
    )
    evaluation: EvaluationBlock | None = Field(
        None,
        description="How the tuned model is evaluated before it is published.",
    )
    gates: Gates | None = Field(
        None,
        description="What the evaluation must reach, or else nothing is published; `none` "
        "publishes whatever passes the check of its files, and the card says so.",
        examples=["none", [{"metric": "exact_tool_sequence", "min": 0.8, "better_than": "base"}]],
        json_schema_extra=_or_none,
    )
    publish: PublishBlock | None = Field(
        None, description="Where the adapter goes; without it, it is collected but not published."
    )
    stand_in: StandInBlock = Field(
        StandInBlock(),
        description="How a rehearsal lightens the training for its stand-in model. Never used for "
        "the real run.",
    )


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


def load_spec(file: Path, name: str | None = None) -> LoadedSpec:
    """Read and validate a spec; raises `InputError` or `SpecError` with places."""
    document = load_yaml(file, name)
    if not isinstance(document.value, dict):
        found = {list: "a list", type(None): "nothing"}.get(type(document.value), "a single value")
        raise InputError(
            f"a spec is a mapping of `key: value` lines; this file holds {found}",
            where=document.place(()),
            hint="Start from one that ships: orchestrator specs copy router/llama-3.1-8b.",
        )
    try:
        spec = JobSpec.model_validate(_tuples(document.value))
    except ValidationError as error:
        raise SpecError(
            [describe(document, detail, JobSpec) for detail in error.errors()]
        ) from None
    return LoadedSpec(spec, file, document)


def _tuples(value: Any) -> Any:
    """YAML's lists as the tuples that strict, frozen models hold."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value
