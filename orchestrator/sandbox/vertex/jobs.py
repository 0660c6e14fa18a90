"""Tuning jobs on disk: one file for each, under the hash of its name."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from google.cloud.aiplatform_v1beta1.types import JobState, TuningJob
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]  # has no stubs

from orchestrator.errors import InputError
from orchestrator.sandbox.edge.rules import JobRule

ENDED = frozenset(
    {
        int(JobState.JOB_STATE_SUCCEEDED),
        int(JobState.JOB_STATE_FAILED),
        int(JobState.JOB_STATE_CANCELLED),
        int(JobState.JOB_STATE_EXPIRED),
        int(JobState.JOB_STATE_PARTIALLY_SUCCEEDED),
    }
)
_CANCELLED_CODE = 1


class StoredFile(Protocol):
    """An object of the sandbox's storage."""

    @property
    def name(self) -> str:
        """Its name in the bucket."""
        ...

    @property
    def size_bytes(self) -> int:
        """Its length."""
        ...


class Disk(Protocol):
    """What the face needs of the sandbox's object storage."""

    def buckets(self) -> Sequence[str]:
        """The names of all buckets."""
        ...

    def list(self, bucket: str, prefix: str = "") -> Sequence[StoredFile]:
        """The objects whose names begin with `prefix`."""
        ...

    def open(self, bucket: str, name: str) -> tuple[StoredFile, BinaryIO]:
        """An object with its content, which stays readable when the object is replaced.

        Raises `LookupError`.
        """
        ...

    def insert(self, bucket: str, name: str, source: Path | bytes, *, content_type: str) -> object:
        """Store a copy of a file, or bytes, as a new version of an object."""
        ...


@dataclass
class JobRecord:
    """A job as the face keeps it. `sequence` numbers jobs in the order of their creation.

    `job` is the plain protobuf message, not the wrapper around it. `rule` is the outcome that was
    chosen for it at its creation; `billable_tokens` are known once its data has been read.
    """

    sequence: int
    job: Any
    differences: tuple[str, ...] = field(default_factory=tuple)
    rule: JobRule | None = None
    billable_tokens: int = 0

    @property
    def name(self) -> str:
        """The job's resource name."""
        return str(self.job.name)

    @property
    def project(self) -> str:
        """The project that the job belongs to."""
        return self.name.split("/")[1]

    @property
    def ended(self) -> bool:
        """Whether the job's state is final."""
        return self.job.state in ENDED

    def copy(self) -> JobRecord:
        """A record of its own, free to be changed or sent."""
        message = type(self.job)()
        message.CopyFrom(self.job)
        return replace(self, job=message)


def file_hash(name: str) -> str:
    """The file name for a resource name: never the name itself, which came from a client."""
    return hashlib.sha256(name.encode()).hexdigest()


class JobStore:
    """Job records in a folder. Not locked: its user is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def load(self) -> dict[str, JobRecord]:
        """All records by job name, oldest first."""
        records = [self._read(file) for file in self._folder.glob("*.json")]
        return {record.name: record for record in sorted(records, key=lambda one: one.sequence)}

    def save(self, record: JobRecord) -> None:
        """Write a record, whole or not at all."""
        text = json.dumps(
            {
                "sequence": record.sequence,
                "differences": list(record.differences),
                "rule": record.rule and record.rule.model_dump(mode="json"),
                "billable_tokens": record.billable_tokens,
                "tuning_job": json.loads(TuningJob.to_json(TuningJob.wrap(record.job))),
            },
            indent=1,
        )
        file = self._folder / f"{file_hash(record.name)}.json"
        part = file.with_suffix(".part")
        with part.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)

    def _read(self, file: Path) -> JobRecord:
        try:
            return self._record(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, ParseError) as error:
            raise InputError(
                f"{file} is not the record of a tuning job",
                hint="Remove it: the sandbox forgets the job. Its files in the bucket stay.",
            ) from error

    def _record(self, value: Any) -> JobRecord:
        job = TuningJob.from_json(json.dumps(value["tuning_job"]))
        return JobRecord(
            sequence=value["sequence"],
            job=TuningJob.pb(job),
            differences=tuple(value["differences"]),
            # Absent from records of earlier versions.
            rule=JobRule.model_validate(value["rule"]) if value.get("rule") else None,
            billable_tokens=value.get("billable_tokens", 0),
        )


@dataclass(frozen=True)
class Ended:
    """How a training ended: its final state, and what the job then says about it."""

    state: int
    differences: tuple[str, ...] = ()
    error_code: int = 0
    error_message: str = ""
    stats: Any = None


def cancelled() -> Ended:
    """The end of a cancelled job: the service gives it an error with the code CANCELLED."""
    return Ended(
        state=int(JobState.JOB_STATE_CANCELLED),
        error_code=_CANCELLED_CODE,
        error_message="The job was cancelled.",
    )


def instant(timestamp: Any) -> datetime:
    """A protobuf timestamp in UTC."""
    found: datetime = timestamp.ToDatetime(tzinfo=UTC)
    return found


def freed_places(records: Iterable[JobRecord], quota: int) -> dict[str, list[datetime]]:
    """For each project, since when its places of the quota are free that were used before."""
    ends: dict[str, list[datetime]] = {}
    held: Counter[str] = Counter()
    for record in records:
        if not record.ended:
            # A pending job holds its place already, although it has not started.
            held[record.project] += record.job.state != JobState.JOB_STATE_QUEUED
        elif record.job.HasField("start_time"):
            ends.setdefault(record.project, []).append(instant(record.job.end_time))
    # The latest: earlier ones were taken over by the jobs that came after them.
    free = {project: max(0, quota - held[project]) for project in ends}
    return {
        project: sorted(sorted(ends[project], reverse=True)[: free[project]]) for project in ends
    }


class Run(Protocol):
    """A job's time on the training machines, as the training sees it."""

    def stop_state(self) -> int | None:
        """The final state in which the training shall end now, or None to go on."""
        ...

    def share(self) -> float:
        """How much of the planned time has passed, from 0 to 1."""
        ...

    def bill(self, tokens: int) -> None:
        """Say how many tokens the job will be billed for."""
        ...

    def wait_out(self, tick: Callable[[float], None], *, forever: bool) -> None:
        """Wait for the planned end, or `forever`, or until `stop_state` says so.

        `tick` is called with the share now and again.
        """
        ...


#: Trains a job (a copy of its record) until it ends or is told to stop. Never raises.
Train = Callable[[JobRecord, Run], Ended]
