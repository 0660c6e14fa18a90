"""Our requests as jobs of Hugging Face Jobs, and its answers as ours."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.errors import Ambiguous, InputError
from orchestrator.services.base import (
    RUN_LABEL,
    TOKEN_LABEL,
    AttemptKind,
    AttemptRequest,
    AttemptState,
    Handle,
    ScriptRequest,
    Snapshot,
    Volume,
)

SERVICE = "hf-jobs"
KINDS = frozenset(AttemptKind)
#: Label of every job of this package: by it one list shows them all, and nobody else's.
OWN_LABEL, OWN_VALUE = "managed-by", "orchestrator"
KIND_LABEL = "orchestrator-kind"
#: The label that the Hub's pages show as the job's name.
_NAME_LABEL = "name"
#: The job's variable that says where it leaves its files; `outputs` reads it back.
OUTPUT_VARIABLE = "ORCHESTRATOR_OUTPUT"

_STATES = {
    "SCHEDULING": AttemptState.QUEUED,
    "RUNNING": AttemptState.RUNNING,
    "COMPLETED": AttemptState.SUCCEEDED,
    "ERROR": AttemptState.FAILED,
    "DELETED": AttemptState.FAILED,
    "CANCELED": AttemptState.CANCELLED,
}
#: Labels of the service are at most 100 characters; its client knows letters, digits, - and _.
_LABEL_VALUE = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NAMESPACE = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HANDLE = re.compile(rf"({_NAMESPACE})/([A-Za-z0-9_-]+)")
#: The service does not document its words for a timeout.
_TIMED_OUT = re.compile(r"time[ds]?[ _-]?out|deadline", re.IGNORECASE)
_SECONDS_OF_UNIT = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True)
class JobName:
    """The parts of a handle, `namespace/job_id`."""

    namespace: str
    id: str

    @classmethod
    def of(cls, handle: Handle) -> JobName:
        """Read a handle; raises `InputError` if it does not name a job."""
        match = _HANDLE.fullmatch(handle.id)
        if handle.service != SERVICE or match is None:
            raise InputError(
                f"{handle.service}:{handle.id} does not name a job of Hugging Face Jobs",
                hint="A handle is written NAMESPACE/JOB_ID.",
            )
        return cls(*match.groups())

    @property
    def handle(self) -> Handle:
        """The handle that names the job."""
        return Handle(SERVICE, f"{self.namespace}/{self.id}")


@dataclass(frozen=True)
class Flavor:
    """A kind of machine that jobs run on. The price is per `unit_label`, such as a minute."""

    name: str
    pretty_name: str
    cpu: str
    ram: str
    accelerator: str | None
    accelerator_count: int
    vram: str | None
    unit_cost_micro_usd: int
    unit_label: str

    @property
    def usd_per_minute(self) -> float | None:
        """The price of a minute in US dollars; None for a unit that nobody knows."""
        unit_s = _SECONDS_OF_UNIT.get(self.unit_label.lower().rstrip("s"))
        return None if unit_s is None else self.unit_cost_micro_usd / 1e6 * 60 / unit_s


@dataclass(frozen=True)
class JobCall:
    """What is sent to create a job. The values of secrets are never shown."""

    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    flavor: str
    timeout_s: int
    labels: Mapping[str, str]
    volumes: tuple[Volume, ...]
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Job:
    """A job as the service describes it."""

    id: str
    stage: str
    message: str | None
    cancel_reason: str | None
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    durations_s: Mapping[str, float]
    timeout_s: float | None
    flavor: str | None
    labels: Mapping[str, str]
    environment: Mapping[str, str]

    @property
    def state(self) -> AttemptState:
        """The stage in our words; `UNKNOWN` for one that nobody knows."""
        return _STATES.get(self.stage, AttemptState.UNKNOWN)

    @property
    def timed_out(self) -> bool:
        """Whether the job failed because its time was over, as far as its message tells."""
        return self.stage == "ERROR" and bool(_TIMED_OUT.search(self.message or ""))


def namespace_of(text: str) -> str:
    """The text, or an `InputError` if it cannot be a user or an organisation."""
    if re.fullmatch(_NAMESPACE, text) is None:
        raise InputError(
            f"{text!r} is not a namespace of the Hugging Face Hub",
            hint="Write the name of the user or organisation that pays for the jobs.",
        )
    return text


def label_value(name: str, value: str) -> str:
    """`value`, or an `InputError` if the service would not accept it as a label."""
    if _LABEL_VALUE.fullmatch(value) is None:
        raise InputError(
            f"{name} {value!r} cannot be a label of a job",
            hint="Labels are 1 to 100 letters, digits, '_' and '-'.",
        )
    return value


def to_call(request: AttemptRequest, token: str, secret_values: Mapping[str, str]) -> JobCall:
    """The job to create. Raises `InputError` for what cannot be sent as it is."""
    if not isinstance(request, ScriptRequest) or request.kind not in KINDS:
        raise InputError(
            f"Hugging Face Jobs runs scripts: a {type(request).__name__} to {request.kind} "
            "is for another service"
        )
    if not request.command or not all(request.command):
        raise InputError("the command of the job is empty, or has an empty part")
    if request.timeout_s < 1:
        raise InputError(
            f"the timeout of the job is {request.timeout_s} s: give at least 1",
            hint="Without one the service stops a job after 30 minutes.",
        )
    return JobCall(
        image=request.image,
        command=request.command,
        environment=_environment(request),
        flavor=request.flavor,
        timeout_s=request.timeout_s,
        labels={
            TOKEN_LABEL: label_value("the launch token", token),
            RUN_LABEL: label_value("the run id", request.run_id),
            KIND_LABEL: request.kind.value,
            OWN_LABEL: OWN_VALUE,
            _NAME_LABEL: re.sub(r"[^A-Za-z0-9_-]+", "-", request.display_name)[:100] or "job",
        },
        volumes=request.volumes,
        secrets=_secrets(request, secret_values),
    )


def _environment(request: ScriptRequest) -> dict[str, str]:
    given = request.environment.get(OUTPUT_VARIABLE, request.output_uri)
    if given != request.output_uri:
        raise InputError(
            f"{OUTPUT_VARIABLE} is {given} in the job's environment, and its output "
            f"is {request.output_uri}",
            hint=f"Leave {OUTPUT_VARIABLE} out: it is set from the output.",
        )
    both = sorted(set(request.environment) & set(request.secret_names))
    if both:
        raise InputError(f"{', '.join(both)}: both a variable and a secret of the job")
    return {**request.environment, OUTPUT_VARIABLE: request.output_uri}


def _secrets(request: ScriptRequest, values: Mapping[str, str]) -> dict[str, str]:
    missing = [name for name in request.secret_names if not values.get(name)]
    if missing:
        raise InputError(
            f"the job needs the secret {', '.join(missing)}, which has no value here",
            hint="Set it in the environment; for HF_TOKEN, hf auth login does as well.",
        )
    return {name: values[name] for name in request.secret_names}


def to_job(answer: Any) -> Job:
    """Read a job of the service; `Ambiguous` if the answer is none."""
    status = answer.get("status") if isinstance(answer, dict) else None
    if not isinstance(status, dict) or not (answer.get("id") and status.get("stage")):
        raise Ambiguous(f"what came is not a job: {str(answer)[:80]}")
    durations = _mapping(answer.get("durations"))
    timeout_s = answer.get("timeout")
    return Job(
        id=str(answer["id"]),
        stage=str(status["stage"]),
        message=status.get("message") or None,
        cancel_reason=status.get("cancelReason") or None,
        created_at=instant(answer.get("createdAt")),
        started_at=instant(answer.get("startedAt")),
        ended_at=instant(answer.get("finishedAt")),
        durations_s={
            ours: float(durations[theirs])
            for ours, theirs in _DURATIONS.items()
            if isinstance(durations.get(theirs), int | float)
        },
        timeout_s=timeout_s if isinstance(timeout_s, int | float) else None,
        flavor=answer.get("flavor") or None,
        labels=_mapping(answer.get("labels")),
        environment=_mapping(answer.get("environment")),
    )


_DURATIONS = {"scheduling": "schedulingSecs", "running": "runningSecs", "total": "totalSecs"}


def to_snapshot(job: Job, flavors: Mapping[str, Flavor]) -> Snapshot:
    """What a job says about its attempt; with its cost if the flavor's price is known."""
    stats: dict[str, Any] = {"message": job.message, "flavor": job.flavor}
    if job.state.is_final:
        # Before its end they are new in every answer, and the ledger keeps what is new.
        stats |= {"durations_s": dict(job.durations_s), **_cost(job, flavors)}
    if job.timed_out:
        stats["timed_out"] = True
    return Snapshot(
        state=job.state,
        raw_state=job.stage,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        error=_error(job),
        stats={name: value for name, value in stats.items() if value not in (None, {})},
    )


def _cost(job: Job, flavors: Mapping[str, Flavor]) -> dict[str, float]:
    """What the job cost: every minute that it ran or began to run is paid."""
    flavor = flavors.get(job.flavor or "")
    price = flavor.usd_per_minute if flavor else None
    if price is None or "running" not in job.durations_s:
        return {}
    minutes = math.ceil(job.durations_s["running"] / 60)
    return {"usd_per_minute": price, "cost_usd": round(minutes * price, 6)}


def _error(job: Job) -> str | None:
    if job.timed_out:
        limit = f" of {job.timeout_s:.0f} s" if job.timeout_s else ""
        return f"stopped at its timeout{limit}: {job.message}"
    if job.stage == "DELETED":
        return f"the job was deleted: {job.message}" if job.message else "the job was deleted"
    if job.stage == "CANCELED" and job.cancel_reason:
        return f"the service cancelled the job: {job.cancel_reason}"
    if job.stage == "ERROR":
        return job.message or "the job failed, and the service gives no reason: see its log"
    return None


def to_flavor(answer: Any) -> Flavor:
    """Read a kind of machine; `Ambiguous` if the answer is none."""
    try:
        accelerator = answer.get("accelerator") or {}
        count = str(accelerator.get("quantity", ""))
        return Flavor(
            name=str(answer["name"]),
            pretty_name=str(answer.get("prettyName") or answer["name"]),
            cpu=str(answer.get("cpu") or ""),
            ram=str(answer.get("ram") or ""),
            accelerator=accelerator.get("model"),
            accelerator_count=(int(count) if count.isdecimal() else 1) if accelerator else 0,
            vram=accelerator.get("vram"),
            unit_cost_micro_usd=int(answer["unitCostMicroUSD"]),
            unit_label=str(answer["unitLabel"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Ambiguous(f"what came is not a kind of machine: {str(answer)[:80]}") from error


def instant(text: Any) -> datetime | None:
    """The instant that a text of the service names, in UTC; None if it names none."""
    try:
        read = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
