"""The Vertex face: tuning jobs of a sandbox, over gRPC, as the real service offers them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import grpc
from google.cloud.aiplatform_v1beta1.types import JobState, ListTuningJobsResponse, TuningJob

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.sandbox.edge.serving import Served
from orchestrator.sandbox.standins.base import StandIn, StandInOptions
from orchestrator.sandbox.vertex.faults import VertexFaults
from orchestrator.sandbox.vertex.jobs import ENDED, Disk, JobRecord, JobStore
from orchestrator.sandbox.vertex.lists import label_test, page_of
from orchestrator.sandbox.vertex.queue import JobQueue
from orchestrator.sandbox.vertex.refusals import already_ended, not_found, quota_exceeded
from orchestrator.sandbox.vertex.rules import ModelRules, check_create, parent_of
from orchestrator.sandbox.vertex.training import Trainer
from orchestrator.sandbox.vertex.wire import TuningServer

#: Output-only fields: the service ignores what a client writes into them.
_OUTPUT_ONLY = (
    "name",
    "state",
    "create_time",
    "start_time",
    "end_time",
    "update_time",
    "error",
    "experiment",
    "tuned_model",
    "tuning_data_stats",
    "pipeline_job",
    "evaluate_dataset_runs",
)
_RETRY_AFTER_S = 60.0


class VertexFace(Served):
    """Vertex AI tuning on a loopback port, over the sandbox's storage. A context manager.

    At most `running_quota` jobs of a project train at once. One more waits in the state QUEUED, or
    with `quota_mode="refuse"` is refused with RESOURCE_EXHAUSTED. Jobs are kept under `root`; one
    that was running when the process died starts again from the beginning.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk,
        stand_in: StandIn,
        *,
        models: Mapping[str, ModelRules],
        options: StandInOptions = StandInOptions(),  # noqa: B008 (frozen)
        running_quota: int = 1,
        quota_mode: Literal["refuse", "queue"] = "queue",
        port: int = 0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.faults = VertexFaults()
        trainer = Trainer(root / "work", disk, stand_in, options, models)
        self._queue = JobQueue(
            JobStore(root / "jobs"), trainer, running_quota=running_quota, clock=clock
        )
        self._methods = _Methods(
            self._queue,
            self.faults,
            disk,
            models,
            running_quota if quota_mode == "refuse" else None,
        )
        self._server = TuningServer(self._methods, self.faults, port)
        self.port = self._server.port

    @property
    def endpoint(self) -> str:
        """The address for a client: `127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    @property
    def create_calls(self) -> int:
        """How many create requests reached the face, whatever became of them."""
        return self.faults.calls["create"]

    def fail_next(self, method: str, *, code: grpc.StatusCode, after_effect: bool = False) -> None:
        """Answer the next create, get, list or cancel with an error; `faults` can do more."""
        self.faults.fail_next(method, code=code, after_effect=after_effect)

    def start(self) -> None:
        """Take up unfinished jobs, and serve."""
        self._queue.start()
        self._server.start()

    def stop(self) -> None:
        """Close the port and interrupt the trainings; the next start begins them again."""
        self._server.stop()
        self._queue.stop()

    def jobs(self) -> list[TuningJob]:
        """All jobs, newest first."""
        return [TuningJob.wrap(record.job) for record in self._queue.records()]

    def differences(self, job_name: str) -> tuple[str, ...]:
        """Where the training departed from the job, a line each; raises KeyError."""
        record = self._queue.get(job_name)
        if record is None:
            raise KeyError(job_name)
        return record.differences

    def wait_until_ended(self, job_name: str, *, timeout_s: float = 30.0) -> TuningJob:
        """The job once its state is final; raises TimeoutError."""
        return TuningJob.wrap(self._queue.wait_for(job_name, ENDED, timeout_s))

    def wait_until_running(self, job_name: str, *, timeout_s: float = 30.0) -> TuningJob:
        """The job once it is training; raises TimeoutError."""
        running = frozenset({int(JobState.JOB_STATE_RUNNING)})
        return TuningJob.wrap(self._queue.wait_for(job_name, running, timeout_s))


class _Methods:
    """The four methods of the service. `refuse_over` is the quota of running jobs, or None."""

    def __init__(
        self,
        queue: JobQueue,
        faults: VertexFaults,
        disk: Disk,
        models: Mapping[str, ModelRules],
        refuse_over: int | None,
    ) -> None:
        self._queue = queue
        self._faults = faults
        self._disk = disk
        self._models = models
        self._refuse_over = refuse_over

    def create(self, request: Any) -> Any:
        """Check a job as the service does, and take it into the queue."""
        parent = parent_of(request.parent)
        check_create(request.tuning_job, self._models, self._disk)
        job = type(request.tuning_job)()
        job.CopyFrom(request.tuning_job)
        for field in _OUTPUT_ONLY:
            job.ClearField(field)
        # Real ids are numbers of 19 digits.
        job.name = f"{parent}/tuningJobs/{10**18 + secrets.randbelow(9 * 10**18)}"
        limit = self._refuse_over
        refusal = None if limit is None else quota_exceeded(parent.project, limit, _RETRY_AFTER_S)
        return self._faults.disguise(self._queue.add(job, refusal))

    def get(self, request: Any) -> Any:
        """One job."""
        return self._faults.disguise(self._need(request.name).job)

    def list(self, request: Any) -> Any:
        """A page of the jobs of a location, newest first."""
        wanted = label_test(request.filter)
        records = [
            record
            for record in self._queue.records()
            if record.name.startswith(f"{request.parent}/tuningJobs/")
            and self._faults.listed(record.name)
            and (self._faults.ignore_filters or wanted(record.job.labels))
        ]
        page = page_of(records, request.page_size, request.page_token)
        return ListTuningJobsResponse.pb()(
            tuning_jobs=[self._faults.disguise(record.job) for record in page.records],
            next_page_token=page.next_token,
        )

    def cancel(self, request: Any) -> None:
        """Ask a job to stop; refused once it has ended."""
        record = self._need(request.name)
        if not self._queue.cancel(record.name):
            ended = self._need(record.name)
            raise already_ended(ended.name, JobState(ended.job.state).name)

    def _need(self, name: str) -> JobRecord:
        record = self._queue.get(name)
        if record is None:
            raise not_found(name)
        return record
