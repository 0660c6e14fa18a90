"""What the ledger knows of a run, as values. Everything else is derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from orchestrator.errors import LedgerError, RefusalKind
from orchestrator.plan import Plan
from orchestrator.services.base import AttemptKind, Handle, Snapshot

#: The service of a handle whose id is a URI of weights that were trained elsewhere.
ADOPTED = "adopted"


class DamagedRun(LedgerError):
    """What the ledger holds of one run cannot be understood; the other runs are not concerned."""


@dataclass(frozen=True)
class Target:
    """Where a run executes and publishes: settings of the moment when it was submitted.

    On vertex `bucket` is `gs://bucket` with an optional folder. On hf-jobs it is the private repo
    of scripts and rows, `hf://datasets/owner/name`, `project` the namespace that pays, and
    `candidates` the private repo in which results appear, and `base_commit` the commit of the base
    model. `repo` is the full id on the Hub. `jobs_namespace` and `jobs_rows` are what `project` and
    `bucket` are on hf-jobs, for a run of vertex whose answers are generated there.
    """

    service: str
    project: str
    location: str
    bucket: str
    repo: str | None
    candidates: str | None = None
    base_commit: str | None = None
    jobs_namespace: str | None = None
    jobs_rows: str | None = None

    def of(self, kind: AttemptKind) -> Target:
        """Where attempts of a kind execute: vertex only tunes."""
        if kind is AttemptKind.TUNE or self.jobs_namespace is None or self.jobs_rows is None:
            return self
        return replace(
            self, service="hf-jobs", project=self.jobs_namespace, location="", bucket=self.jobs_rows
        )

    def to_json(self) -> dict[str, Any]:
        """The target as the ledger stores it."""
        return asdict(self)


@dataclass(frozen=True)
class RunFacts:
    """A plan on its way. `ordinal` counts the runs of one plan from 1 (`--again`)."""

    id: str
    plan: Plan
    ordinal: int
    target: Target
    data_folder: str
    created_at: datetime


@dataclass(frozen=True)
class Refusal:
    """An unambiguous no to a launch."""

    kind: RefusalKind
    message: str
    at: datetime
    retry_after_s: float | None = None


@dataclass(frozen=True)
class AttemptFacts:
    """One execution. The intent stands before the call, the handle after its answer.

    `deadline_at` is when the call of the intent has ended for certain. `uncertain_at` is set once
    the job was still not found after the deadline and the visibility window.
    """

    id: str
    kind: AttemptKind
    ordinal: int
    token: str
    intent_at: datetime
    deadline_at: datetime
    handle: Handle | None = None
    launched_at: datetime | None = None
    refusal: Refusal | None = None
    uncertain_at: datetime | None = None
    not_launched_by: str | None = None
    snapshot: Snapshot | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of this attempt."""
        if self.refusal is not None or self.not_launched_by is not None:
            return True
        return self.snapshot is not None and self.snapshot.state.is_final


@dataclass(frozen=True)
class Adopted:
    """A training that was done elsewhere: where its weights are, and what is known of it.

    `looked_at` are the runs that were found not to have it: it is added if none has come since.
    """

    handle: Handle
    snapshot: Snapshot
    data: Mapping[str, Any]
    looked_at: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Event:
    """Something that happened to a run. Events are only ever added."""

    kind: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    attempt_id: str | None = None


@dataclass(frozen=True)
class Artifact:
    """A file of a run. `kind` says of which step: staged, collected, adapter or published."""

    kind: str
    name: str
    uri: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Metric:
    """One point of a time series, as training logged it."""

    name: str
    step: int
    value: float
    epoch: float | None = None


@dataclass(frozen=True)
class Facts:
    """Everything that is known of one run, in order."""

    run: RunFacts
    attempts: tuple[AttemptFacts, ...]
    events: tuple[Event, ...]
    artifacts: tuple[Artifact, ...]

    def last(self, kind: str) -> Event | None:
        """The newest event of a kind."""
        return next((event for event in reversed(self.events) if event.kind == kind), None)

    def last_since(self, kind: str, start: str) -> Event | None:
        """The newest event of a kind, unless a `start` event came after it."""
        for event in reversed(self.events):
            if event.kind == start:
                return None
            if event.kind == kind:
                return event
        return None

    def newest(self, kind: AttemptKind) -> AttemptFacts | None:
        """The newest attempt of a kind: by number, for clocks may go back."""
        those = [attempt for attempt in self.attempts if attempt.kind is kind]
        return max(those, key=lambda attempt: attempt.ordinal, default=None)

    @property
    def is_adopted(self) -> bool:
        """Whether the run was trained elsewhere, so that nothing may ever be trained for it."""
        return any(
            one.handle is not None and one.handle.service == ADOPTED for one in self.attempts
        )

    @property
    def tune(self) -> AttemptFacts | None:
        """The newest tuning attempt."""
        return self.newest(AttemptKind.TUNE)

    def artifacts_of(self, kind: str) -> dict[str, Artifact]:
        """The artifacts of a step, by name."""
        return {item.name: item for item in self.artifacts if item.kind == kind}
