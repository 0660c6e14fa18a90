"""Tuning jobs on disk: one file for each, under the hash of its name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from google.cloud.aiplatform_v1beta1.types import JobState, TuningJob

ENDED = frozenset(
    {
        int(JobState.JOB_STATE_SUCCEEDED),
        int(JobState.JOB_STATE_FAILED),
        int(JobState.JOB_STATE_CANCELLED),
        int(JobState.JOB_STATE_EXPIRED),
        int(JobState.JOB_STATE_PARTIALLY_SUCCEEDED),
    }
)


class StoredFile(Protocol):
    """An object of the sandbox's storage, as a file."""

    @property
    def path(self) -> Path:
        """Its bytes; not to be changed."""
        ...

    @property
    def size_bytes(self) -> int:
        """Its length."""
        ...


class Disk(Protocol):
    """What the face needs of the sandbox's object storage."""

    def buckets(self) -> list[str]:
        """The names of all buckets."""
        ...

    def get(self, bucket: str, name: str) -> StoredFile | None:
        """The live version of an object, or None."""
        ...

    def insert(self, bucket: str, name: str, source: Path, *, content_type: str) -> object:
        """Store a copy of a file as a new version of an object."""
        ...


@dataclass
class JobRecord:
    """A job as the face keeps it. `sequence` numbers jobs in the order of their creation.

    `job` is the plain protobuf message, not the wrapper around it.
    """

    sequence: int
    job: Any
    differences: tuple[str, ...] = field(default_factory=tuple)

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

    def copy(self) -> Any:
        """The job's message, free to be changed or sent."""
        message = type(self.job)()
        message.CopyFrom(self.job)
        return message


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
        value = json.loads(file.read_text(encoding="utf-8"))
        job = TuningJob.from_json(json.dumps(value["tuning_job"]))
        return JobRecord(
            sequence=value["sequence"],
            job=TuningJob.pb(job),
            differences=tuple(value["differences"]),
        )


@dataclass(frozen=True)
class Ended:
    """How a training ended: its final state, and what the job then says about it."""

    state: int
    differences: tuple[str, ...] = ()
    error_code: int = 0
    error_message: str = ""
    stats: Any = None


#: Trains a job (a copy of its message) until it ends or is told to stop. Never raises.
Train = Callable[[Any, Callable[[], bool]], Ended]
