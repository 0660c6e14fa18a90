"""The part of a spec that says how the tuned model is evaluated, and what it must reach."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from orchestrator.spec_data import Block
from orchestrator.spec_tuning import Duration, Namespace

#: The names of the scorers (`evaluation/scorers.py` makes them).
ScorerName = Literal["route-plan", "calls", "bfcl", "math", "code", "text", "latency"]
Baseline = Literal["base", "few-shot", "published", "constant", "majority"]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
Figure = Annotated[float, Field(allow_inf_nan=False)]

#: What only one of the ways to answers takes.
_OF_JOBS = ("flavor", "timeout", "namespace", "batch_size")
_OF_ENDPOINT = ("url", "model", "base_model", "token_env", "texts", "concurrency")


class EvaluationBlock(Block):
    """Where the answers to held-out rows come from, and how they are scored."""

    scorer: ScorerName = Field(
        description="How answers are scored (docs/evaluation.md).", examples=["route-plan"]
    )
    service: Literal["hf-jobs", "endpoint", "file"] = Field(
        "hf-jobs",
        description="What answers: a job of hf-jobs, an OpenAI-compatible endpoint, or a file that "
        "is given to `orchestrator evaluate`.",
    )
    split: Literal["test", "validation"] | None = Field(
        None,
        description="Which rows are answered; without it, test, or validation where test is empty.",
        examples=["test"],
    )
    rows: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Only so many of the rows, the first of them.", examples=[200]
    )
    max_new_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = Field(
        None,
        description="Longest answer, in tokens; without it, half as much again as the longest "
        "expected one.",
        examples=[1024],
    )
    few_shot: Annotated[int, Field(ge=0, le=32)] = Field(
        3,
        description="Training rows that the base model is shown as examples; 0 leaves that "
        "baseline out.",
        examples=[3],
    )
    flavor: str | None = Field(
        None,
        description="The machine of hf-jobs; without it, that of the training, or the cheapest "
        "which holds the model.",
        examples=["a10g-large"],
    )
    timeout: Duration | None = Field(
        None,
        description="After which hf-jobs stops the job; without it, twice what it is estimated "
        "to take.",
        examples=["2h"],
    )
    namespace: Namespace | None = Field(
        None,
        description="The user or organization that pays for the job; without it, that of the "
        "training, or the owner of the token.",
        examples=["my-team"],
    )
    batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Rows that are answered at a time.", examples=[8]
    )
    url: Url | None = Field(
        None, description="Base URL of the endpoint.", examples=["http://127.0.0.1:8000/v1"]
    )
    model: str | None = Field(
        None, description="Name of the tuned model at the endpoint.", examples=["router-tuned"]
    )
    base_model: str | None = Field(
        None,
        description="Name of the untuned model at the endpoint, if it is served there too.",
        examples=["router-base"],
    )
    token_env: EnvironmentName | None = Field(
        None,
        description="Environment variable with the endpoint's token; only its name is recorded.",
        examples=["ENDPOINT_TOKEN"],
    )
    texts: Literal["completion", "chat"] | None = Field(
        None,
        description="How prompts that are plain texts are asked: as they are, or as the one turn "
        "of a user, for endpoints that have nothing else; without it, completion.",
        examples=["chat"],
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="Questions to the endpoint at a time.", examples=[8]
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        of_others = {
            "hf-jobs": _OF_ENDPOINT,
            "endpoint": _OF_JOBS,
            "file": (*_OF_JOBS, *_OF_ENDPOINT),
        }[self.service]
        given = [name for name in of_others if getattr(self, name) is not None]
        if given:
            raise ValueError(f"service {self.service} takes no {given[0]}")
        if self.service == "endpoint" and (self.url is None or self.model is None):
            raise ValueError("service endpoint needs url and model")
        return self


#: What people gave the answers on average (`orchestrator audit`): a metric of every scorer.
AUDIT_MEAN = "audit_mean"


class GateBlock(Block):
    """What a metric must reach before anything is published."""

    metric: str = Field(
        description="A metric of the scorer (docs/evaluation.md), or audit_mean, what people gave.",
        examples=["exact_tool_sequence"],
    )
    slice: dict[str, str] | None = Field(
        None,
        description="Only the rows of one slice: its name and value.",
        examples=[{"archetype": "math-first"}],
    )
    min: Figure | None = Field(None, description="The least value that passes.", examples=[0.8])
    max: Figure | None = Field(None, description="The highest value that passes.", examples=[0.05])
    better_than: Baseline | None = Field(
        None,
        description="A way to answer the same rows that the tuned model must beat: base, few-shot, "
        "published (what the target repo holds now), constant or majority.",
        examples=["base"],
    )
    confidence: Annotated[float, Field(ge=0.5, le=0.999, allow_inf_nan=False)] = Field(
        0.95, description="How sure `better_than` must be, row by row.", examples=[0.95]
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min is None and self.max is None and self.better_than is None:
            raise ValueError("a gate says at least one of min, max and better_than")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max: nothing can pass")
        if self.slice is not None and len(self.slice) != 1:
            raise ValueError("slice is one `name: value`")
        if self.metric == AUDIT_MEAN and (self.slice or self.better_than):
            raise ValueError(f"{AUDIT_MEAN} takes min and max alone")
        return self

    @property
    def slice_of(self) -> tuple[str, str] | None:
        """The slice as name and value."""
        return next(iter(self.slice.items())) if self.slice else None


def _none_is_empty(value: Any) -> Any:
    """`gates: none` is a decision, and no gates at all: an empty list.

    A validator of its own gets lists where JSON is read; strict tuples take none.
    """
    if value == "none":
        return ()
    return tuple(value) if isinstance(value, list) else value


#: A list of gates; `none` is the empty one.
Gates = Annotated[tuple[GateBlock, ...], BeforeValidator(_none_is_empty)]
