"""The plan: a spec resolved against data and catalog, with a digest; made by `planner`.

The digest covers everything that decides what is trained and where it goes, and nothing else: not
the paths of the data (its bytes count), not comments in the spec, not the project that pays, not
how the result is judged (`evaluation:`, `gates:`); and not what is only told of it (tokens, cost,
warnings, refusals, errors), which is exact where the model's tokenizer is and an estimate
elsewhere. So the same plan submitted from elsewhere is still the same.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from orchestrator.catalog import Mode, Model, VertexLimits
from orchestrator.spec import GateBlock, JobSpec


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LeftOutRows(_Part):
    """Rows that are in no split, by why."""

    too_long: int = 0
    subset: int = 0
    limit: int = 0
    numbers_wanted: int = 0


class KeptTogether(_Part):
    """Groups of duplicates and near-duplicates, none of which is torn apart."""

    groups: int = 0
    rows: int = 0
    largest: int = 0


class DataFacts(_Part):
    """The rows that were read: what they are, not where they are."""

    sha256: str
    size_bytes: int
    rows: int
    limit: int | None
    #: Of the tools that rows may call, whatever file they stood in; None without any.
    tools_sha256: str | None = None
    left_out: LeftOutRows = LeftOutRows()
    kept_together: KeptTogether = KeptTogether()


class SplitFacts(_Part):
    """One split as it is uploaded."""

    name: str
    rows: int
    size_bytes: int
    characters: int
    sha256: str


class Hyperparameters(_Part):
    """What the service is told, and what it was compiled from."""

    mode: Mode
    epochs: int
    baseline_learning_rate: float | None
    learning_rate_multiplier: float | None
    learning_rate: float
    rank: int | None
    adapter_size: str | None


class Recipe(_Part):
    """What the trainer of hf-jobs is told beside epochs, learning rate and rank.

    The names are those of its arguments (`orchestrator/training/sft.py --help`).
    """

    quantization: Literal["none", "4bit"]
    alpha: int | None
    dropout: float
    #: None for the layers that the trainer adapts by itself, all seven of a block.
    targets: tuple[str, ...] | None
    last_layers: int | None
    weight_decay: float
    warmup_ratio: float
    scheduler: str
    optimizer: str
    batch_size: int
    gradient_accumulation: int
    max_grad_norm: float
    max_length: int
    packing: bool
    group_by_length: bool
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    save_steps: int | None
    plateau_patience: int | None
    plateau_min_delta: float
    #: What an answer that is generated during training must parse as.
    answer_syntax: str
    probes: int
    max_unparsed: float
    tracking: Literal["none", "trackio"]


class MemoryTerm(_Part):
    """A part of the memory that a training takes, with how it was computed."""

    name: str
    size_bytes: int
    formula: str


class Machine(_Part):
    """The machine of hf-jobs that is rented, why it, and for how long at most."""

    flavor: str
    image: str
    usd_per_hour: float
    timeout_s: int
    memory: tuple[MemoryTerm, ...] = ()
    memory_bytes: int | None = None
    available_bytes: int | None = None
    low_s: int | None = None
    high_s: int | None = None
    #: Of the merge and of the export, where the plan has them.
    merge_timeout_s: int | None = None
    export_timeout_s: int | None = None
    basis: str = ""


class EvaluationPlan(_Part):
    """What answers which rows, in which ways, and how the answers are scored.

    The machine, times and dollars are those of a job of hf-jobs, and the address and names of
    models those of an endpoint; None where something else answers.
    """

    scorer: str
    service: Literal["hf-jobs", "endpoint", "file"]
    split: Literal["test", "validation"]
    rows: int
    max_new_tokens: int
    batch_size: int
    shots: int
    conditions: tuple[str, ...]
    flavor: str | None = None
    image: str | None = None
    usd_per_hour: float | None = None
    timeout_s: int | None = None
    low_s: int | None = None
    high_s: int | None = None
    usd: tuple[float, float] | None = None
    url: str | None = None
    model: str | None = None
    base_model: str | None = None
    token_env: str | None = None
    texts: Literal["completion", "chat"] | None = None
    concurrency: int | None = None
    basis: str = ""


class AdapterEstimate(_Part):
    """How large the adapter becomes."""

    parameters: int | None
    size_bytes: int | None
    basis: str


class CostEstimate(_Part):
    """Billed tokens and their price, with where the numbers come from.

    `exact` says whether the model's tokenizer counted the training tokens.
    """

    tokens: int
    cost_usd: float
    basis: str
    exact: bool = False
    #: What it costs at least, where `cost_usd` is the most that is expected.
    least_usd: float | None = None
    #: What the merge and the export cost on top, at least and at most.
    finishing_usd: tuple[float, float] | None = None


class Plan(_Part):
    """Everything that is decided before anything is paid."""

    version: Literal[1] = 1
    name: str
    spec: JobSpec
    data: DataFacts
    splits: tuple[SplitFacts, ...]
    model: Model
    #: Of vertex; None elsewhere.
    limits: VertexLimits | None = None
    hyperparameters: Hyperparameters
    #: Of hf-jobs; None elsewhere, where the service has ways of its own.
    recipe: Recipe | None = None
    machine: Machine | None = None
    #: None where the spec asks for none; no part of the digest, as the spec's gates are none: what
    #: is judged otherwise must not be trained, and paid for, again.
    evaluation: EvaluationPlan | None = None
    adapter: AdapterEstimate
    estimate: CostEstimate
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    #: What the service would take, and still makes the training wrong.
    errors: tuple[str, ...] = ()
    digest: str = ""

    @property
    def attempt_kinds(self) -> tuple[str, ...]:
        """What is executed for the plan, in order."""
        kinds = ["tune"]
        if self.evaluation is not None and self.evaluation.service == "hf-jobs":
            kinds.append("generate")
        if self.spec.export is not None and self.spec.service.name != "vertex":
            kinds += ["merge", "export"] if self.spec.tuning.mode == "peft" else ["export"]
        return tuple(kinds)

    @property
    def gates(self) -> tuple[GateBlock, ...]:
        """What the evaluation must reach before anything is published; may be empty."""
        return self.spec.gates or ()

    def split(self, name: str) -> SplitFacts:
        """One of the splits, by its name."""
        return next(split for split in self.splits if split.name == name)

    def to_json(self) -> dict[str, Any]:
        """The plan as the ledger keeps it and `plan --json` prints it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        """The inverse of `to_json`."""
        return cls.model_validate_json(orjson.dumps(value))


#: What is told of a plan and decides nothing.
_TOLD = {"digest", "estimate", "warnings", "refusals", "errors", "machine", "evaluation"}


def plan_digest(plan: Plan) -> str:
    """SHA-256 of the plan's canonical JSON, without what is only told and where the data is."""
    value = plan.model_dump(mode="json", exclude=_TOLD)
    value["spec"]["service"].pop("namespace")  # who pays
    for judged in ("evaluation", "gates"):
        value["spec"].pop(judged)
    if value["spec"]["publish"] is not None:
        value["spec"]["publish"].pop("collection")  # it can be added later
    data = value["spec"]["data"]
    data.pop("path")
    data.pop("tools")  # their content counts: `tools_sha256`
    data["split"]["files"] = data["split"]["files"] is not None
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
