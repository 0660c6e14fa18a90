"""Our requests as tuning jobs of the v1beta1 API, and tuning jobs as our snapshots."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from orchestrator.errors import InputError
from orchestrator.services.base import (
    RUN_LABEL,
    TOKEN_LABEL,
    AttemptKind,
    AttemptRequest,
    AttemptState,
    Handle,
    Snapshot,
    TuneRequest,
)

#: The API's names of the adapter sizes, by rank. Its numbers are not ranks.
ADAPTER_SIZES = {
    1: "ADAPTER_SIZE_ONE",
    2: "ADAPTER_SIZE_TWO",
    4: "ADAPTER_SIZE_FOUR",
    8: "ADAPTER_SIZE_EIGHT",
    16: "ADAPTER_SIZE_SIXTEEN",
    32: "ADAPTER_SIZE_THIRTY_TWO",
}
TUNING_MODES = {"peft": "TUNING_MODE_PEFT_ADAPTER", "full": "TUNING_MODE_FULL"}

_STATES = {
    "JOB_STATE_QUEUED": AttemptState.QUEUED,
    "JOB_STATE_PENDING": AttemptState.QUEUED,
    "JOB_STATE_RUNNING": AttemptState.RUNNING,
    "JOB_STATE_PAUSED": AttemptState.RUNNING,
    "JOB_STATE_UPDATING": AttemptState.RUNNING,
    "JOB_STATE_CANCELLING": AttemptState.RUNNING,
    "JOB_STATE_SUCCEEDED": AttemptState.SUCCEEDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": AttemptState.PARTIAL,
    "JOB_STATE_FAILED": AttemptState.FAILED,
    "JOB_STATE_EXPIRED": AttemptState.FAILED,
    "JOB_STATE_CANCELLED": AttemptState.CANCELLED,
}

_LABEL_VALUE = re.compile(r"[a-z0-9_-]{1,64}")
_JOB_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)/tuningJobs/([^/]+)")

#: Rows of the user's own data that the service repeats in its statistics: not for the ledger.
_SAMPLES = "user_dataset_examples"


@dataclass(frozen=True)
class JobName:
    """The parts of `projects/P/locations/L/tuningJobs/ID`."""

    project: str
    location: str
    id: str

    @classmethod
    def of(cls, handle: Handle) -> JobName:
        """Read a handle; raises `InputError` if it does not name a tuning job."""
        match = _JOB_NAME.fullmatch(handle.id)
        if handle.service != "vertex" or match is None:
            raise InputError(
                f"{handle.service}:{handle.id} does not name a Vertex AI tuning job",
                hint="A handle is written projects/PROJECT/locations/LOCATION/tuningJobs/ID.",
            )
        return cls(*match.groups())

    @property
    def parent(self) -> str:
        """The location that holds the job."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def logs_url(self) -> str:
        """Cloud Logging's page with all entries of the project that name the job's number.

        Which resource or log name a tuning job's entries carry is not documented, so they are
        searched by text.
        """
        query = quote(f'"{self.id}"', safe="")
        return f"https://console.cloud.google.com/logs/query;query={query}?project={self.project}"


def label_value(name: str, value: str) -> str:
    """`value`, or an `InputError` if the service would not accept it as a label."""
    if _LABEL_VALUE.fullmatch(value) is None:
        raise InputError(
            f"{name} {value!r} cannot be a label of a Vertex AI job",
            hint="Labels are 1 to 64 lowercase letters, digits, '_' and '-'.",
        )
    return value


def to_job(request: AttemptRequest, token: str) -> Any:
    """The TuningJob to create. Raises `InputError` for what the API cannot express."""
    from google.cloud.aiplatform_v1beta1 import types

    if request.kind is not AttemptKind.TUNE or not isinstance(request, TuneRequest):
        raise InputError(f"Vertex AI only tunes: it cannot run an attempt to {request.kind}")
    spec: dict[str, Any] = {
        "training_dataset_uri": request.train_uri,
        "hyper_parameters": {
            "epoch_count": request.epochs,
            # Open models take the rate itself; the multiplier is refused for them.
            "learning_rate": request.learning_rate,
            **_adapter_size(request),
        },
        "tuning_mode": TUNING_MODES[request.mode],
    }
    if request.validation_uri is not None:
        spec["validation_dataset_uri"] = request.validation_uri
    return types.TuningJob(
        base_model=request.base_model,
        tuned_model_display_name=request.display_name,
        output_uri=request.output_uri,
        supervised_tuning_spec=spec,
        labels={
            TOKEN_LABEL: label_value("the launch token", token),
            RUN_LABEL: label_value("the run id", request.run_id),
        },
    )


def _adapter_size(request: TuneRequest) -> dict[str, str]:
    if request.mode not in TUNING_MODES:
        raise InputError(f"Vertex AI has no tuning mode {request.mode!r}: write peft or full")
    if request.mode == "full":
        if request.adapter_rank is not None:
            raise InputError("a full tuning has no adapter: leave its rank out")
        return {}
    if request.adapter_rank not in ADAPTER_SIZES:
        ranks = ", ".join(map(str, ADAPTER_SIZES))
        raise InputError(
            f"Vertex AI has no adapter of rank {request.adapter_rank}", hint=f"It has {ranks}."
        )
    return {"adapter_size": ADAPTER_SIZES[request.adapter_rank]}


def to_snapshot(job: Any) -> Snapshot:
    """What a TuningJob says about its attempt."""
    from google.cloud.aiplatform_v1beta1 import types

    # The plain message: the wrapper around it warns about states that it does not know.
    plain = types.TuningJob.pb(job)
    raw_state = _state_name(plain.state)
    stats: dict[str, Any] = {}
    if plain.HasField("tuning_data_stats"):
        stats["tuning_data_stats"] = _as_json(plain.tuning_data_stats)
    if plain.HasField("tuned_model"):
        stats["tuned_model"] = _as_json(plain.tuned_model)
    return Snapshot(
        state=_STATES.get(raw_state, AttemptState.UNKNOWN),
        raw_state=raw_state,
        created_at=_instant(plain, "create_time"),
        started_at=_instant(plain, "start_time"),
        ended_at=_instant(plain, "end_time"),
        error=_error(plain),
        stats=stats,
    )


def _state_name(number: int) -> str:
    from google.cloud.aiplatform_v1beta1 import types

    try:
        return str(types.JobState(number).name)
    except ValueError:
        return f"JOB_STATE_{number}"


def _instant(plain: Any, field: str) -> datetime | None:
    if not plain.HasField(field):
        return None
    instant: datetime = getattr(plain, field).ToDatetime(tzinfo=UTC)
    return instant


def _error(plain: Any) -> str | None:
    if not plain.HasField("error") or not (plain.error.code or plain.error.message):
        return None
    return str(plain.error.message) or f"error code {plain.error.code} without a message"


def _as_json(message: Any) -> dict[str, Any]:
    """The set fields of a message as plain JSON, under the names that the API documents.

    Counts stay numbers; protobuf's own JSON writes 64-bit integers as strings.
    """
    return {
        # The client library appends "_" to names that Python has taken, such as min.
        field.name.rstrip("_"): _value(value)
        for field, value in message.ListFields()
        if field.name != _SAMPLES
    }


def _value(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value
    return _as_json(value) if hasattr(value, "ListFields") else [_value(one) for one in value]
