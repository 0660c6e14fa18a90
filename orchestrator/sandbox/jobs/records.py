"""Jobs on disk: a file for each, its log, and its secrets until it starts."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from orchestrator.errors import InputError
from orchestrator.sandbox.edge.rules import JobRule
from orchestrator.sandbox.edge.tokens import write_private
from orchestrator.sandbox.jobs.requests import JobRequest

_Secrets = TypeAdapter(dict[str, str])


class Stage(StrEnum):
    """Where a job is; the last four are final."""

    SCHEDULING = "SCHEDULING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    ERROR = "ERROR"
    DELETED = "DELETED"

    @property
    def is_final(self) -> bool:
        """Whether a job stays there."""
        return self not in (Stage.SCHEDULING, Stage.RUNNING)


class JobRecord(BaseModel):
    """A job as the face keeps it. `sequence` numbers jobs in the order of their creation.

    `request` has the names of the secrets, never their values. `creator` is who asked, and whose
    rights the volumes are read with. `command` is what was really run, once that is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: int
    id: str
    namespace: str
    namespace_type: Literal["user", "org"]
    creator: str
    request: JobRequest
    secret_names: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    stage: Stage = Stage.SCHEDULING
    message: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure_count: int = 0
    exit_code: int | None = None
    process_group: int | None = None
    command: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    rule: JobRule | None = None

    @property
    def ended(self) -> bool:
        """Whether the stage is final."""
        return self.stage.is_final

    def searched(self) -> str:
        """What rules for outcomes search: the labels, a line each, and the command."""
        lines = [f"{key}={value}" for key, value in self.labels.items()]
        return "\n".join([self.id, *lines, " ".join(self.request.words)])


class JobStore:
    """Records below one folder, readable by the owner only. Not locked: its user is."""

    def __init__(self, root: Path) -> None:
        self._records, self._secrets = root / "records", root / "secrets"
        self._logs, self._work = root / "logs", root / "work"
        for folder in (self._records, self._secrets, self._logs, self._work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self) -> dict[str, JobRecord]:
        """All records by id, oldest first."""
        records = [self._read(file) for file in self._records.glob("*.json")]
        return {one.id: one for one in sorted(records, key=lambda one: one.sequence)}

    def save(self, record: JobRecord) -> None:
        """Write a record, whole or not at all."""
        write_private(self._records / f"{record.id}.json", record.model_dump_json().encode())

    def keep_secrets(self, job_id: str, secrets: Mapping[str, str]) -> None:
        """Keep the secrets of a job that waits, so that it can start after a restart too."""
        if secrets:
            write_private(self._secrets / f"{job_id}.json", _Secrets.dump_json(dict(secrets)))

    def take_secrets(self, job_id: str) -> dict[str, str]:
        """The secrets of a job that starts; from now on they are on no disk."""
        file = self._secrets / f"{job_id}.json"
        try:
            found = _Secrets.validate_json(file.read_bytes())
        except FileNotFoundError:
            return {}
        file.unlink()
        return found

    def forget_secrets(self, job_id: str) -> None:
        """Have the secrets of a job on no disk."""
        with contextlib.suppress(OSError):
            (self._secrets / f"{job_id}.json").unlink()

    def forget(self, job_id: str) -> None:
        """Remove what was written of a job that was not accepted."""
        self.forget_secrets(job_id)
        with contextlib.suppress(OSError):
            (self._records / f"{job_id}.json").unlink()

    def log_file(self, job_id: str) -> Path:
        """Where a job's log is, or will be."""
        return self._logs / f"{job_id}.jsonl"

    def work_folder(self, job_id: str) -> Path:
        """Where a job's own file system is while it runs."""
        return self._work / job_id

    def remove_work(self, job_id: str) -> None:
        """Delete a job's file system."""
        folder = self.work_folder(job_id)
        for inner in [folder, *folder.rglob("*")] if folder.exists() else []:
            if inner.is_dir() and not inner.is_symlink():
                inner.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)

    def _read(self, file: Path) -> JobRecord:
        try:
            return JobRecord.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise InputError(
                f"{file} is not the record of a job",
                hint="Remove it: the sandbox forgets the job. What it uploaded stays.",
            ) from error
