"""The contract between the Vertex face and what stands in for its training machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from orchestrator.adapter import STAND_IN

#: Key in `adapter_config.json` under which an output names what stood in for the base model.
STAND_IN_KEY = STAND_IN
#: Where the answers of a generate attempt come from.
Answers = Literal["real", "good", "weak"]


@dataclass(frozen=True)
class TrainingJob:
    """What the face asks for: the fields of the tuning job that a trainer needs.

    `base_model` is the service's id of the model, `hub_id` its name on the Hugging Face Hub.
    `train` and `validation` are local JSONL files of prompt/completion or messages rows.
    """

    job_id: str
    base_model: str
    hub_id: str
    train: Path
    validation: Path | None
    epochs: int
    learning_rate: float
    adapter_rank: int
    seed: int


@dataclass(frozen=True)
class StandInOptions:
    """How a stand-in departs from the job that it was asked to run (None: as asked)."""

    learning_rate: float | None = None
    epochs: int | None = None
    max_length: int | None = None
    batch_size: int | None = None
    seed: int = 42
    #: Only for scripts of hf-jobs: `peft` or `full`, rank, how many blocks from the last one, and
    #: how many rows from the first one.
    mode: str | None = None
    rank: int | None = None
    last_layers: int | None = None
    rows: int | None = None
    short_prompt: str | None = None
    #: Only for hf-jobs: `real` asks the stand-in's model, `good` and `weak` make answers up from
    #: what is expected; None: as the stand-in does by itself.
    answers: Answers | None = None


@dataclass(frozen=True)
class TrainingOutcome:
    """What a stand-in did. `differences` has a line for each departure from the job, for people.

    `step_count` is the number of optimizer steps (0 if nothing was trained).
    """

    step_count: int
    differences: tuple[str, ...] = field(default_factory=tuple)


class TrainingFailed(Exception):
    """The training ended without a model; the message is what the service would report."""


class StandIn(Protocol):
    """Trains, or pretends to, and leaves a folder in the layout of the real service's output."""

    name: str

    def train(
        self,
        job: TrainingJob,
        output: Path,
        *,
        options: StandInOptions,
        cancelled: Callable[[], bool],
    ) -> TrainingOutcome:
        """Fill `output` with what the service writes under its output URI.

        That is `postprocess/node-0/checkpoints/final/` and `checkpoint-N/`, and the log
        `executor/node-0/stdout`. Raises `TrainingFailed`; returns early if `cancelled()`.
        """
        ...
