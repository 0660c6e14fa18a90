"""What Vertex AI tuning refuses when a job is created."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from google.cloud.aiplatform_v1beta1.types import (
    SupervisedHyperParameters,
    SupervisedTuningSpec,
)

from orchestrator.sandbox.vertex.jobs import Disk, StoredFile
from orchestrator.sandbox.vertex.refusals import invalid
from orchestrator.sandbox.vertex.rows import BadRow, read_rows

LOCATIONS = frozenset(
    {"global", "us-central1", "europe-west4", "us-west1", "us-east5", "asia-southeast1"}
)
#: What the service trains with where a request leaves a value out (documented baselines).
DEFAULT_EPOCHS, DEFAULT_LEARNING_RATE, DEFAULT_RANK = 3, 2e-4, 16
MAX_VALIDATION_SHARE, MAX_VALIDATION_ROWS = 0.25, 5_000

_MAX_LABELS, _MAX_LABEL_CHARS, _MAX_DISPLAY_NAME_CHARS = 64, 64, 128
_PARENT = re.compile(r"projects/([^/]+)/locations/([^/]+)")
_JOB = re.compile(r"projects/([^/]+)/locations/[^/]+/tuningJobs/[^/]+")
_PUBLISHED = re.compile(r"publishers/([^/]+)/models/([^/]+)")
_OBJECT = re.compile(r"gs://([^/]+)/(.+)")
_FOLDER = re.compile(r"gs://([^/]+)(?:/(.*))?")

_Rank = SupervisedHyperParameters.AdapterSize
_RANKS = {
    int(_Rank.ADAPTER_SIZE_ONE): 1,
    int(_Rank.ADAPTER_SIZE_TWO): 2,
    int(_Rank.ADAPTER_SIZE_FOUR): 4,
    int(_Rank.ADAPTER_SIZE_EIGHT): 8,
    int(_Rank.ADAPTER_SIZE_SIXTEEN): 16,
    int(_Rank.ADAPTER_SIZE_THIRTY_TWO): 32,
}
_MODES = {
    int(SupervisedTuningSpec.TuningMode.TUNING_MODE_FULL): "full",
    int(SupervisedTuningSpec.TuningMode.TUNING_MODE_PEFT_ADAPTER): "peft",
}


@dataclass(frozen=True)
class ModelRules:
    """What the service accepts for one base model.

    `service_id` is written `publisher/model@version`; `modes` are `peft` and `full`; `open` is
    False for Google's own models, which take other fields. Prices are US dollars.
    """

    service_id: str
    hub_id: str
    modes: Collection[str]
    ranks: Collection[int]
    max_tokens: int
    tokens_per_char: float
    open: bool = True
    usd_per_million_tokens: float | None = None


@dataclass(frozen=True)
class Hyperparameters:
    """A job's hyperparameters with the service's defaults filled in; no rank for mode `full`."""

    mode: str
    epochs: int
    learning_rate: float
    rank: int | None


@dataclass(frozen=True)
class Parent:
    """Where a job is created."""

    project: str
    location: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"


def parent_of(text: str, locations: Collection[str] = LOCATIONS) -> Parent:
    """Read `projects/P/locations/L`; refuses anything else, and other locations."""
    match = _PARENT.fullmatch(text)
    if match is None:
        raise invalid("parent", f"{text!r} is not projects/PROJECT/locations/LOCATION.")
    if match[2] not in locations:
        raise invalid(
            "parent", f"Tuning is not offered in location {match[2]!r}: {sorted(locations)}."
        )
    return Parent(*match.groups())


def project_of(job_name: str) -> str:
    """The project in `projects/P/locations/L/tuningJobs/ID`; refuses anything else."""
    match = _JOB.fullmatch(job_name)
    if match is None:
        raise invalid(
            "name", f"{job_name!r} is not projects/PROJECT/locations/LOCATION/tuningJobs/ID."
        )
    return str(match[1])


def model_of(job: Any, models: Mapping[str, ModelRules]) -> ModelRules:
    """The rules of a job's base model; refuses a model that nobody offers."""
    if job.HasField("pre_tuned_model"):
        raise invalid(
            "tuning_job.pre_tuned_model",
            "Only Google's own models are tuned on from a tuned model.",
        )
    if not job.base_model:
        raise invalid("tuning_job.base_model", "The base model is missing.")
    published = _PUBLISHED.fullmatch(job.base_model)
    service_id = "/".join(published.groups()) if published else job.base_model
    for rules in models.values():
        if rules.service_id == service_id:
            return rules
    raise invalid("tuning_job.base_model", f"Base model {job.base_model} is not supported.")


def hyperparameters_of(job: Any, rules: ModelRules) -> Hyperparameters:
    """A job's hyperparameters; refuses those that the model does not take."""
    spec = job.supervised_tuning_spec
    asked = spec.hyper_parameters
    field = "tuning_job.supervised_tuning_spec"
    if asked.learning_rate and asked.learning_rate_multiplier:
        raise invalid(
            f"{field}.hyper_parameters.learning_rate_multiplier",
            "learning_rate and learning_rate_multiplier exclude each other.",
        )
    if rules.open and asked.learning_rate_multiplier:
        raise invalid(
            f"{field}.hyper_parameters.learning_rate_multiplier",
            f"{rules.service_id} takes learning_rate, not learning_rate_multiplier.",
        )
    if not rules.open and (asked.learning_rate or asked.batch_size):
        raise invalid(
            f"{field}.hyper_parameters",
            f"{rules.service_id} takes neither learning_rate nor batch_size.",
        )
    rate = asked.learning_rate or DEFAULT_LEARNING_RATE * (asked.learning_rate_multiplier or 1.0)
    if not (math.isfinite(rate) and rate > 0):
        raise invalid(f"{field}.hyper_parameters.learning_rate", f"{rate} is not a learning rate.")
    if asked.epoch_count < 0:
        raise invalid(f"{field}.hyper_parameters.epoch_count", "The epoch count must be positive.")
    if asked.batch_size < 0:
        raise invalid(f"{field}.hyper_parameters.batch_size", "The batch size must be positive.")
    mode = _mode(spec.tuning_mode, rules)
    return Hyperparameters(
        mode=mode,
        epochs=asked.epoch_count or DEFAULT_EPOCHS,
        learning_rate=rate,
        rank=_rank(asked.adapter_size, mode, rules),
    )


def _mode(number: int, rules: ModelRules) -> str:
    default = "peft" if "peft" in rules.modes else "full"
    mode = _MODES.get(number) if number else default
    if mode is None or mode not in rules.modes:
        raise invalid(
            "tuning_job.supervised_tuning_spec.tuning_mode",
            f"{rules.service_id} is not tuned in mode {mode or number}: {sorted(rules.modes)}.",
        )
    return mode


def _rank(number: int, mode: str, rules: ModelRules) -> int | None:
    field = "tuning_job.supervised_tuning_spec.hyper_parameters.adapter_size"
    if mode == "full":
        if number:
            raise invalid(field, "Full tuning has no adapter size.")
        return None
    rank = _RANKS.get(number) if number else DEFAULT_RANK
    if rank is None or rank not in rules.ranks:
        raise invalid(
            field,
            f"{rules.service_id} does not take adapter size {rank or number}: "
            f"{sorted(rules.ranks)}.",
        )
    return rank


def check_create(job: Any, models: Mapping[str, ModelRules], disk: Disk) -> None:
    """Refuse a tuning job that the service would refuse."""
    if not job.HasField("supervised_tuning_spec"):
        raise invalid("tuning_job.supervised_tuning_spec", "The tuning spec is missing.")
    rules = model_of(job, models)
    hyperparameters_of(job, rules)
    _check_names(job)
    _check_output(job.output_uri, rules, disk)
    _check_weights(job.custom_base_model, rules, disk)
    _check_data(job.supervised_tuning_spec, disk)


def _check_names(job: Any) -> None:
    if len(job.tuned_model_display_name) > _MAX_DISPLAY_NAME_CHARS:
        raise invalid(
            "tuning_job.tuned_model_display_name",
            f"The display name is longer than {_MAX_DISPLAY_NAME_CHARS} characters.",
        )
    if len(job.labels) > _MAX_LABELS:
        raise invalid("tuning_job.labels", f"There are more than {_MAX_LABELS} labels.")
    for key, value in job.labels.items():
        if not key[:1].isalpha() or not _is_label(key) or not _is_label(value):
            raise invalid(
                "tuning_job.labels",
                f"Label {key!r}: {value!r}: keys and values have at most {_MAX_LABEL_CHARS} "
                "lowercase letters, digits, '_' and '-', and a key starts with a letter.",
            )


def _is_label(text: str) -> bool:
    return len(text) <= _MAX_LABEL_CHARS and all(
        character in "_-" or (character.isalnum() and character == character.lower())
        for character in text
    )


def _check_output(uri: str, rules: ModelRules, disk: Disk) -> None:
    if not rules.open:
        if uri:
            raise invalid("tuning_job.output_uri", f"{rules.service_id} takes no output URI.")
        return
    if not uri:
        raise invalid("tuning_job.output_uri", "The output URI is required for open models.")
    bucket, _ = folder_of(uri, "tuning_job.output_uri")
    if bucket not in disk.buckets():
        raise invalid("tuning_job.output_uri", f"The bucket {bucket} does not exist.")


def _check_weights(uri: str, rules: ModelRules, disk: Disk) -> None:
    field = "tuning_job.custom_base_model"
    if not uri:
        return
    if not rules.open:
        raise invalid(field, f"{rules.service_id} takes no weights of your own.")
    bucket, prefix = folder_of(uri, field)
    files = disk.list(bucket, prefix) if bucket in disk.buckets() else []
    if not any(file.name.endswith(".safetensors") for file in files):
        raise invalid(field, f"There are no .safetensors files in {uri}.")


def folder_of(uri: str, field: str) -> tuple[str, str]:
    """Bucket and name prefix (ending in a slash, or empty) of a folder's URI."""
    match = _FOLDER.fullmatch(uri)
    if match is None:
        raise invalid(field, f"{uri!r} is not gs://BUCKET/FOLDER.")
    prefix = (match[2] or "").rstrip("/")
    return match[1], f"{prefix}/" if prefix else ""


def _check_data(spec: Any, disk: Disk) -> None:
    field = "tuning_job.supervised_tuning_spec"
    if not spec.training_dataset_uri:
        raise invalid(f"{field}.training_dataset_uri", "The training dataset is missing.")
    train, content = open_dataset(spec.training_dataset_uri, f"{field}.training_dataset_uri", disk)
    _rows(content, spec.training_dataset_uri, f"{field}.training_dataset_uri")
    if not spec.validation_dataset_uri:
        return
    field = f"{field}.validation_dataset_uri"
    validation, content = open_dataset(spec.validation_dataset_uri, field, disk)
    if validation.size_bytes > MAX_VALIDATION_SHARE * train.size_bytes:
        content.close()
        raise invalid(
            field,
            f"The validation dataset ({validation.size_bytes} bytes) is larger than 25% of the "
            f"training dataset ({train.size_bytes} bytes).",
        )
    row_count = _rows(content, spec.validation_dataset_uri, field)
    if row_count > MAX_VALIDATION_ROWS:
        raise invalid(
            field,
            f"The validation dataset has {row_count} rows, more than {MAX_VALIDATION_ROWS}.",
        )


def open_dataset(uri: str, field: str, disk: Disk) -> tuple[StoredFile, BinaryIO]:
    """The object that a dataset URI names, and its content; refuses one that is not there."""
    match = _OBJECT.fullmatch(uri)
    if match is None:
        raise invalid(field, f"{uri!r} is not gs://BUCKET/OBJECT.")
    try:
        return disk.open(*match.groups())
    except LookupError:
        raise invalid(field, f"{uri} does not exist or cannot be read.") from None


def _rows(content: BinaryIO, uri: str, field: str) -> int:
    """The number of rows of a dataset; refuses a file that is not JSONL of examples."""
    with content:
        try:
            return len(read_rows(content))
        except BadRow as error:
            raise invalid(field, f"{uri} is not a valid dataset: {error}.") from error
