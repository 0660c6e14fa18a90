"""The four methods of the tuning service."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.cloud.aiplatform_v1beta1.types import JobState, ListTuningJobsResponse

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.vertex.conduct import Method, VertexConduct
from orchestrator.sandbox.vertex.faults import VertexFaults
from orchestrator.sandbox.vertex.filters import job_test
from orchestrator.sandbox.vertex.jobs import Disk, JobRecord, instant
from orchestrator.sandbox.vertex.lists import page_of
from orchestrator.sandbox.vertex.queue import JobQueue
from orchestrator.sandbox.vertex.refusals import (
    already_ended,
    not_found,
    permission_denied,
    quota_exceeded,
)
from orchestrator.sandbox.vertex.rules import (
    LOCATIONS,
    ModelRules,
    Parent,
    check_create,
    parent_of,
    project_of,
)

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


class TuningMethods:
    """Implements `Methods` over a queue."""

    def __init__(
        self,
        queue: JobQueue,
        faults: VertexFaults,
        book: FaultBook,
        disk: Disk,
        models: Mapping[str, ModelRules],
        conduct: VertexConduct,
    ) -> None:
        self._queue = queue
        self._faults = faults
        self._book = book
        self._disk = disk
        self._models = models
        self._conduct = conduct

    def create(self, request: Any) -> Any:
        """Check a job as the service does, and take it into the queue."""
        parent = self._parent("create", request.parent)
        check_create(request.tuning_job, self._models, self._disk)
        job = type(request.tuning_job)()
        job.CopyFrom(request.tuning_job)
        for field in _OUTPUT_ONLY:
            job.ClearField(field)
        # Real ids are numbers of 19 digits.
        job.name = f"{parent}/tuningJobs/{10**18 + secrets.randbelow(9 * 10**18)}"
        refusal = None
        if self._conduct.quota_mode == "refuse":
            limit = self._conduct.running_quota
            refusal = quota_exceeded(parent.project, limit, _RETRY_AFTER_S)
        record = self._queue.add(
            job, over_quota=refusal, choose=lambda: self._book.job(_description(job))
        )
        return self._faults.disguise(record.job)

    def get(self, request: Any) -> Any:
        """One job."""
        return self._faults.disguise(self._need("get", request.name).job)

    def list(self, request: Any) -> Any:
        """A page of the jobs of a location, newest first."""
        parent = self._parent("list", request.parent)
        wanted = job_test(request.filter)
        records = [
            record
            for record in self._queue.records()
            if record.name.startswith(f"{parent}/tuningJobs/")
            and self._visible(record)
            and (self._faults.ignore_filters or wanted(record.job))
        ]
        page = page_of(records, request.page_size, request.page_token)
        return ListTuningJobsResponse.pb()(
            tuning_jobs=[self._faults.disguise(record.job) for record in page.records],
            next_page_token=page.next_token,
        )

    def cancel(self, request: Any) -> None:
        """Ask a job to stop; refused once it has ended."""
        record = self._need("cancel", request.name)
        if not self._queue.cancel(record.name):
            ended = self._need("cancel", record.name)
            raise already_ended(ended.name, JobState(ended.job.state).name)

    def _parent(self, method: Method, text: str) -> Parent:
        offered = self._conduct.locations
        parent = parent_of(text, LOCATIONS if offered is None else offered)
        self._allow(method, parent.project, text)
        return parent

    def _need(self, method: Method, name: str) -> JobRecord:
        self._allow(method, project_of(name), name)
        record = self._queue.get(name)
        if record is None:
            raise not_found(name)
        return record

    def _allow(self, method: Method, project: str, resource: str) -> None:
        projects = self._conduct.projects
        if method in self._conduct.denied or (projects is not None and project not in projects):
            raise permission_denied(method, resource)

    def _visible(self, record: JobRecord) -> bool:
        created = instant(record.job.create_time)
        lag = timedelta(seconds=self._conduct.visibility_lag_s)
        return self._faults.listed(record.name) and created + lag <= self._queue.clock.now()


def _description(job: Any) -> str:
    """What the rules for jobs are matched against."""
    labels = (f"{key}={value}" for key, value in sorted(job.labels.items()))
    return " ".join((job.tuned_model_display_name, *labels))
