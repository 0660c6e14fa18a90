"""The contract between the steps and a service that executes attempts.

`tests/services/contract.py` holds every service to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

#: Label that carries the launch token: the only way to find a job whose answer was lost.
TOKEN_LABEL = "orchestrator-token"  # noqa: S105 (the name of a label, not a secret)
#: Label that names the run, for people who look at the service's own console.
RUN_LABEL = "orchestrator-run"


#: Whether a request may be sent now: the seconds that it may take, or an exception.
MaySend = Callable[[], float]


class AttemptKind(StrEnum):
    """What an attempt does."""

    TUNE = "tune"
    GENERATE = "generate"
    MERGE = "merge"
    EXPORT = "export"


class AttemptState(StrEnum):
    """A service's own states, reduced to those that decide what happens next."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_final(self) -> bool:
        """Whether the service will never report another state. `UNKNOWN` is not final."""
        return self in _FINAL


_FINAL = frozenset(
    {
        AttemptState.SUCCEEDED,
        AttemptState.PARTIAL,
        AttemptState.FAILED,
        AttemptState.CANCELLED,
    }
)


@dataclass(frozen=True)
class Handle:
    """Names one job at one service. Small and JSON-serialisable: the ledger keeps it."""

    service: str
    id: str

    def to_json(self) -> dict[str, str]:
        """The handle as the ledger stores it."""
        return {"service": self.service, "id": self.id}

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> Handle:
        """The inverse of `to_json`."""
        return cls(service=value["service"], id=value["id"])


@dataclass(frozen=True)
class Snapshot:
    """What a service said about a job at one moment.

    `raw_state` is the service's own word; `stats` the service's statistics as plain JSON.
    A failed training is a snapshot with `error`, never an exception.
    """

    state: AttemptState
    raw_state: str
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    stats: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TuneRequest:
    """One tuning attempt as a service must execute it; URIs point into a store.

    `mode` is `peft` or `full`; `adapter_rank` is None for `full`.
    """

    run_id: str
    display_name: str
    base_model: str
    train_uri: str
    validation_uri: str | None
    output_uri: str
    epochs: int
    learning_rate: float
    mode: str
    adapter_rank: int | None
    kind: AttemptKind = AttemptKind.TUNE


@dataclass(frozen=True)
class Volume:
    """A revision of a repo on the Hub that a job sees as a folder, read-only."""

    kind: Literal["model", "dataset"]
    repo: str
    revision: str
    mount_path: str


@dataclass(frozen=True)
class ScriptRequest:
    """One attempt as a service that runs commands in containers must execute it.

    `secret_names` are the names of secrets; the service knows their values. `output_uri` is where
    the command leaves its files.
    """

    run_id: str
    display_name: str
    kind: AttemptKind
    command: tuple[str, ...]
    image: str
    flavor: str
    timeout_s: int
    output_uri: str
    volumes: tuple[Volume, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secret_names: tuple[str, ...] = ()


#: What a service may be asked to execute; each takes the one that it can.
AttemptRequest = TuneRequest | ScriptRequest


@dataclass(frozen=True)
class Logs:
    """Where the logs of an attempt are: an object to read, and a page for people."""

    uri: str | None
    link: str


class Service(Protocol):
    """Where attempts execute.

    Every method may raise `Refused` (an unambiguous no) or `Ambiguous` (no trustworthy answer);
    nothing else escapes. Reads are retried inside; `launch` is sent once and never retried.
    A request of a type or kind that the service does not run is an `InputError`, and nothing is
    sent.
    """

    name: str
    kinds: frozenset[AttemptKind]

    def launch(self, attempt: AttemptRequest, token: str, *, may_send: MaySend) -> Handle:
        """Create the job, labelled with `token`, and return promptly.

        `may_send` is asked directly before the request is sent, when all else is ready. It gives
        the seconds that the call may take, or raises: then nothing was sent.
        `Ambiguous` means that the job may exist: only `find(token)` may follow, no second launch.
        """
        ...

    def find(self, token: str) -> Handle | None:
        """The job that carries `token`; None if the service lists none (yet: lists may lag)."""
        ...

    def inspect(self, handles: Iterable[Handle]) -> dict[Handle, Snapshot]:
        """The state of many jobs, by the service's list call.

        A job that the service does not know (any more) is absent from the result.
        """
        ...

    def cancel(self, handle: Handle) -> None:
        """Stop the job. Cancelling one that has ended or is gone returns silently."""
        ...

    def logs(self, handle: Handle) -> Logs:
        """Where the job's logs are."""
        ...

    def outputs(self, handle: Handle) -> str:
        """The URI under which the job leaves its files."""
        ...
