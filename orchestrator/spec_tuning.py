"""The part of a spec that says how a model is tuned, and on what."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from orchestrator.errors import InputError
from orchestrator.hardware.durations import parse_duration
from orchestrator.spec_data import Block

#: Above this a rate is a slip of the pen (2 for 2e-4): no tuning of weights survives it.
_MOST_LEARNING_RATE = 0.1
Multiplier = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
LearningRate = Annotated[float, Field(gt=0, le=_MOST_LEARNING_RATE, allow_inf_nan=False)]


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except InputError as error:
        raise ValueError("is no length of time that a job can have") from error
    return text


Duration = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?[smhd]$"),
    AfterValidator(_duration),
]
Namespace = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
Image = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]\S*$")]
SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
Rank = Annotated[int, Field(ge=1)]
Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]
Optimizer = Literal[
    "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"
]

#: What Vertex cannot be told: it has ways of its own.
JOBS_ONLY_TUNING = (
    "quantization",
    "alpha",
    "dropout",
    "targets",
    "last_layers",
    "weight_decay",
    "warmup_ratio",
    "scheduler",
    "optimizer",
    "batch_size",
    "gradient_accumulation",
    "max_grad_norm",
    "packing",
    "group_by_length",
    "precision",
    "save_steps",
    "plateau",
    "format_drift",
    "tracking",
)
JOBS_ONLY_SERVICE = ("flavor", "timeout", "namespace", "image", "secrets")


class ServiceBlock(Block):
    """Where the model is tuned."""

    name: Literal["vertex", "hf-jobs"] = Field(
        "vertex", description="The service that runs the tuning job."
    )
    location: str = Field(
        "us-central1",
        description="Where Vertex runs the job; `orchestrator plan` names the places it has.",
        examples=["us-central1", "europe-west4", "global"],
    )
    flavor: str | None = Field(
        None,
        description="The machine that hf-jobs rents; without it, the cheapest in which the "
        "training fits. `orchestrator plan` shows what it needs.",
        examples=["t4-small", "a10g-small", "a100-large"],
    )
    timeout: Duration | None = Field(
        None,
        description="After which hf-jobs stops the job; without it, twice what the training is "
        "estimated to take. Checkpoints that were kept stay.",
        examples=["90m", "4h"],
    )
    namespace: Namespace | None = Field(
        None,
        description="The user or organization that runs and pays for the job of hf-jobs; without "
        "it, the owner of the token.",
        examples=["my-team"],
    )
    image: Image | None = Field(
        None,
        description="The container image of hf-jobs; it must hold `uv`.",
        examples=["ghcr.io/astral-sh/uv:python3.12-bookworm"],
    )
    secrets: tuple[SecretName, ...] = Field(
        (),
        description="Names of environment variables whose values the job gets as secrets, beside "
        "HF_TOKEN. Only the names are recorded.",
        examples=[["WANDB_API_KEY"]],
    )


class PlateauBlock(Block):
    """When a training stops early because it gets no better."""

    patience: Annotated[int, Field(ge=1, le=100)] = Field(
        description="So many evaluations in a row without improvement end the training.",
        examples=[3],
    )
    min_delta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0,
        description="An evaluation loss must fall by more than this to count as better.",
        examples=[0.01],
    )


class FormatDriftBlock(Block):
    """When a training stops because its answers are no answers any more."""

    probes: Annotated[int, Field(ge=1, le=256)] = Field(
        16,
        description="Validation rows whose answers are generated at every evaluation.",
        examples=[16],
    )
    max_unparsed: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.5,
        description="The share of answers that may fail to parse after the first evaluation; more "
        "of them end the training.",
        examples=[0.5],
    )


class TuningBlock(Block):
    """How the model is tuned."""

    mode: Literal["peft", "full"] = Field(
        "peft", description="`peft` trains a LoRA adapter, `full` all weights."
    )
    quantization: Literal["4bit"] | None = Field(
        None,
        description="`4bit` holds the frozen base model in 4 bits while the adapter is trained "
        "(QLoRA). Only on hf-jobs, in mode peft.",
        examples=["4bit"],
    )
    rank: Rank | None = Field(
        None,
        description="Rank of the adapter; without it, the model's baseline. Only in mode peft.",
        examples=[16, 32],
    )
    alpha: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Scale of the adapter; without it, twice the rank. Only on hf-jobs.",
        examples=[32],
    )
    dropout: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = Field(
        None, description="Dropout of the adapter. Only on hf-jobs.", examples=[0.05]
    )
    targets: Annotated[tuple[ModuleName, ...], Field(min_length=1)] | None = Field(
        None,
        description="Names of the modules that the adapter changes; without it, all seven linear "
        "layers of a block. Only on hf-jobs.",
        examples=[["q_proj", "k_proj", "v_proj", "o_proj"]],
    )
    last_layers: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Only so many blocks are trained, counted from the last one. Only on hf-jobs.",
        examples=[10],
    )
    epochs: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None,
        description="Passes over the training rows, each of them billed; without it, the model's "
        "baseline.",
        examples=[3],
    )
    learning_rate_multiplier: Multiplier | None = Field(
        None,
        description="Times the model's baseline learning rate; `orchestrator plan` shows both. "
        "Give this or `learning_rate`, not both.",
        examples=[0.7],
    )
    learning_rate: LearningRate | None = Field(
        None,
        description="The learning rate itself, in place of a multiplier.",
        examples=[0.0001],
    )
    weight_decay: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Weight decay of the optimizer. Only on hf-jobs.", examples=[0.02]
    )
    warmup_ratio: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = Field(
        None,
        description="Share of the steps in which the learning rate rises. Only on hf-jobs.",
        examples=[0.05],
    )
    scheduler: Scheduler | None = Field(
        None,
        description="How the learning rate falls; without it, cosine. Only on hf-jobs.",
        examples=["cosine"],
    )
    optimizer: Optimizer | None = Field(
        None,
        description="The optimizer; without it, adamw_torch. Only on hf-jobs.",
        examples=["adamw_torch"],
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="Rows that are trained on at once. Only on hf-jobs.", examples=[4]
    )
    gradient_accumulation: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description="Batches whose gradients make one step of the optimizer. Only on hf-jobs.",
        examples=[3],
    )
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Longer gradients are shortened to this. Only on hf-jobs.", examples=[1.0]
    )
    packing: bool | None = Field(
        None,
        description="Several short rows are put into one sequence; needs FlashAttention. Only on "
        "hf-jobs.",
        examples=[True],
    )
    group_by_length: bool | None = Field(
        None,
        description="Rows of like length share a batch. Only on hf-jobs.",
        examples=[True],
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = Field(
        None,
        description="Precision of the training; without it, what suits model and machine. Only on "
        "hf-jobs.",
        examples=["bf16"],
    )
    save_steps: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="A checkpoint is kept after so many steps; without it, after each epoch. Only "
        "on hf-jobs.",
        examples=[200],
    )
    plateau: PlateauBlock | None = Field(
        None, description="When a training that gets no better is ended. Only on hf-jobs."
    )
    format_drift: FormatDriftBlock | None = Field(
        None,
        description="When a training is ended whose answers do not parse any more. Only on "
        "hf-jobs.",
    )
    tracking: Literal["trackio"] | None = Field(
        None,
        description="Where the job logs its metrics too. Only on hf-jobs.",
        examples=["trackio"],
    )
    max_length: Annotated[int, Field(ge=16, le=1_000_000)] | None = Field(
        None,
        description="Most tokens of a row, prompt and answer together; what is longer is cut at "
        "its end. Without it, what the service takes for the model. Vertex has a limit of its own "
        "and takes none.",
        examples=[1280],
    )
    too_long: Literal["error", "drop", "cut"] = Field(
        "error",
        description="What becomes of a row whose answer would be cut: an `error`, `drop` leaves it "
        "out when the rows are prepared, `cut` trains on what is left of it.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.learning_rate is not None and self.learning_rate_multiplier is not None:
            raise ValueError("give learning_rate or learning_rate_multiplier, not both")
        if self.mode == "full":
            adapter_only = ("rank", "alpha", "dropout", "targets", "quantization")
            given = [name for name in adapter_only if getattr(self, name) is not None]
            if given:
                raise ValueError(f"mode full has no {given[0]}: it changes all weights")
        return self


class StandInBlock(Block):
    """How a rehearsal lightens the training for its stand-in model. Never used for the real run."""

    mode: Literal["peft", "full"] | None = Field(
        None,
        description="`peft` trains an adapter where the plan trains all weights.",
        examples=["peft"],
    )
    rank: Rank | None = Field(None, description="Rank of the adapter.", examples=[16])
    last_layers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Only so many blocks are trained, from the last one.", examples=[10]
    )
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Passes over the training rows.", examples=[1]
    )
    learning_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="A small random model needs a larger one.", examples=[0.005]
    )
    max_length: Annotated[int, Field(ge=16)] | None = Field(
        None, description="Longest row, in tokens of the stand-in.", examples=[1024]
    )
    batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Rows in one step.", examples=[4]
    )
    rows: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Only so many of the training rows, the first of them, and one for "
        "every 48 to evaluate with. Only on hf-jobs.",
        examples=[120],
    )
    short_prompt: str | None = Field(
        None,
        description="What a stand-in that knows no tools is told in place of their declarations.",
        examples=["Answer with one line of JSON: which agent, and its arguments."],
    )
