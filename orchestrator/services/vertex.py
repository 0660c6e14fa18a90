"""Vertex AI supervised tuning of open models, through the v1beta1 API.

The API has no idempotency key: the labels are the only way to find a job again. Whether the
service filters lists by label is not documented, so every filter is applied here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import Ambiguous, NotFound, RefusalKind, Refused
from orchestrator.retry import retry_request
from orchestrator.services.base import (
    RUN_LABEL,
    TOKEN_LABEL,
    AttemptKind,
    AttemptRequest,
    Handle,
    Logs,
    MaySend,
    Snapshot,
)
from orchestrator.services.vertex_client import VertexClients
from orchestrator.services.vertex_errors import google_errors
from orchestrator.services.vertex_messages import JobName, label_value, to_job, to_snapshot

T = TypeVar("T")

#: The client has no timeout of its own: a hung server would block for ever.
READ_TIMEOUT_S = 30.0
_PAGE_SIZE = 100
#: Where a job's machines write their output, under its output URI.
_LOG = "executor/node-0/stdout"


class VertexService:
    """Vertex AI tuning in one project; `location` is where new jobs go.

    `endpoint` is None for Google's service, or `127.0.0.1:PORT` for the sandbox.
    """

    name = "vertex"
    kinds = frozenset({AttemptKind.TUNE})

    def __init__(
        self,
        project: str,
        location: str,
        endpoint: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._parent = f"projects/{project}/locations/{location}"
        self._location = location
        self._clients = VertexClients(endpoint)
        self._clock = clock

    def launch(self, attempt: AttemptRequest, token: str, *, may_send: MaySend) -> Handle:
        """Create the job with one request, never repeated."""
        job = to_job(attempt, token)
        client = self._clients.of(self._location)
        timeout_s = may_send()
        with google_errors(f"create the tuning job in {self._parent}"):
            created = client.create_tuning_job(
                parent=self._parent, tuning_job=job, timeout=timeout_s, retry=None
            )
        if not created.name:
            raise Ambiguous("Vertex AI accepted the tuning job but did not name it")
        return Handle(self.name, created.name)

    def find(self, token: str) -> Handle | None:
        """The job labelled with `token`; `Ambiguous` if several are."""
        label_value("the launch token", token)
        names = [
            job.name
            for job in self._list(self._parent, self._location, f'labels.{TOKEN_LABEL}="{token}"')
            if job.labels.get(TOKEN_LABEL) == token
        ]
        if len(names) > 1:
            raise Ambiguous(
                f"{len(names)} jobs carry the launch token {token}: {', '.join(names)}",
                hint="Decide which one is the run's, and cancel the others.",
            )
        return Handle(self.name, names[0]) if names else None

    def inspect(self, handles: Iterable[Handle]) -> dict[Handle, Snapshot]:
        """The state of the jobs: one list for each location, and a get for what it misses."""
        by_location: dict[tuple[str, str], dict[str, Handle]] = {}
        for handle in handles:
            name = JobName.of(handle)
            by_location.setdefault((name.parent, name.location), {})[name.id] = handle
        snapshots: dict[Handle, Snapshot] = {}
        for (parent, location), wanted in by_location.items():
            snapshots |= self._inspect_location(parent, location, wanted)
        return snapshots

    def cancel(self, handle: Handle) -> None:
        """Ask the job to stop; silent if it has ended or is gone."""
        name = JobName.of(handle)
        try:
            self._read(
                f"cancel {handle.id}",
                name.location,
                lambda client: client.cancel_tuning_job(
                    name=handle.id, timeout=READ_TIMEOUT_S, retry=None
                ),
            )
        except NotFound:
            return
        except Refused as refused:
            if refused.kind is not RefusalKind.INVALID:
                raise
            # The service may refuse to cancel what has ended: that is what was wanted.
            job = self._get(handle)
            if job is not None and not to_snapshot(job).state.is_final:
                raise

    def logs(self, handle: Handle) -> Logs:
        """The log object under the job's output, and the job's entries in Cloud Logging."""
        link = JobName.of(handle).logs_url
        job = self._get(handle)
        uri = f"{job.output_uri.rstrip('/')}/{_LOG}" if job and job.output_uri else None
        return Logs(uri=uri, link=link)

    def outputs(self, handle: Handle) -> str:
        """The job's output URI; `NotFound` if the job is gone."""
        job = self._get(handle)
        if job is None or not job.output_uri:
            raise NotFound(f"{handle.id} is gone, or has no output URI")
        return str(job.output_uri)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._clients.close()

    def _inspect_location(
        self, parent: str, location: str, wanted: dict[str, Handle]
    ) -> dict[Handle, Snapshot]:
        """Snapshots of the jobs in `wanted` (by id); reads no page more than it must."""
        snapshots: dict[Handle, Snapshot] = {}
        missing = dict(wanted)
        for job in self._list(parent, location, f"labels.{RUN_LABEL}:*"):
            # By id: the service may name a project by its number where we said its id.
            handle = missing.pop(job.name.rpartition("/")[2], None)
            if handle is not None:
                snapshots[handle] = to_snapshot(job)
            if not missing:
                break
        for handle in missing.values():
            job = self._get(handle)
            if job is not None:
                snapshots[handle] = to_snapshot(job)
        return snapshots

    def _get(self, handle: Handle) -> Any:
        """The tuning job, or None if the service does not know it."""
        try:
            return self._read(
                f"read {handle.id}",
                JobName.of(handle).location,
                lambda client: client.get_tuning_job(
                    name=handle.id, timeout=READ_TIMEOUT_S, retry=None
                ),
            )
        except NotFound:
            return None

    def _list(self, parent: str, location: str, label_filter: str) -> Iterator[Any]:
        """Tuning jobs, page by page; each page is a request of its own, retried on its own."""
        page_token = ""
        while True:
            request = {
                "parent": parent,
                "filter": label_filter,
                "page_size": _PAGE_SIZE,
                "page_token": page_token,
            }

            def fetch(client: Any, request: dict[str, Any] = request) -> Any:
                return client.list_tuning_jobs(request=request, timeout=READ_TIMEOUT_S, retry=None)

            page = self._read(f"list the tuning jobs of {parent}", location, fetch)
            # The pager's own iterator would fetch further pages without our retries.
            yield from page.tuning_jobs
            page_token = page.next_page_token
            if not page_token:
                return

    def _read(self, doing: str, location: str, call: Callable[[Any], T]) -> T:
        """Send an idempotent request, and again after transient errors and rate limits."""

        def once() -> T:
            client = self._clients.of(location)
            try:
                with google_errors(doing):
                    return call(client)
            except Refused as refused:
                if refused.kind is not RefusalKind.QUOTA:
                    raise
                # For a read this is a rate limit, which passes.
                raise Ambiguous(refused.message, retry_after_s=refused.retry_after_s) from refused

        return retry_request(once, clock=self._clock)
