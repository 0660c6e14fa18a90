"""Hugging Face Jobs: scripts in containers, on machines that are paid by the minute.

The API has no idempotency key: the labels are the only way to find a job again. The service filters
lists by label; what it lists is filtered here as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import Ambiguous, NotFound, RefusalKind, Refused, RemoteError
from orchestrator.services.base import (
    TOKEN_LABEL,
    AttemptRequest,
    AttemptState,
    Handle,
    Logs,
    MaySend,
    Snapshot,
)
from orchestrator.services.hf_jobs_client import JobsClient
from orchestrator.services.hf_jobs_logs import QUIET_AFTER_S, LogLine, LogPlace, LogReader
from orchestrator.services.hf_jobs_messages import (
    KINDS,
    OUTPUT_VARIABLE,
    OWN_LABEL,
    OWN_VALUE,
    SERVICE,
    Flavor,
    Job,
    JobName,
    label_value,
    namespace_of,
    to_call,
    to_snapshot,
)

#: How long prices are remembered, and how long it is remembered that they were not to be had.
_PRICES_FOR_S = 3600.0
_NO_PRICES_FOR_S = 300.0


class HfJobsService:
    """Jobs at one Hub; `namespace` is the user or organisation that runs and pays for new ones.

    `secret_values` are the values that a job's secrets may have, by name; never shown.
    """

    name = SERVICE
    kinds = KINDS

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        namespace: str,
        secret_values: Mapping[str, str],
        clock: Clock = SYSTEM_CLOCK,
        *,
        quiet_after_s: float = QUIET_AFTER_S,
    ) -> None:
        self._namespace = namespace_of(namespace)
        self._secret_values = secret_values
        self._client = JobsClient(endpoint, token, clock)
        self._clock = clock
        self._quiet_after_s = quiet_after_s
        self._flavors: dict[str, Flavor] = {}
        self._flavors_until_s: float | None = None

    def launch(self, attempt: AttemptRequest, token: str, *, may_send: MaySend) -> Handle:
        """Create the job with one request, never repeated."""
        call = to_call(attempt, token, self._secret_values)
        return self._client.create(self._namespace, call, may_send).handle

    def find(self, token: str) -> Handle | None:
        """The job labelled with `token`; `Ambiguous` if several are that nobody has cancelled."""
        label_value("the launch token", token)
        jobs = {
            JobName(self._namespace, job.id): job
            for job in self._client.jobs(self._namespace, (TOKEN_LABEL, token))
            if job.labels.get(TOKEN_LABEL) == token
        }
        # A request that was doubled on its way is decided by a person, who cancels one of the two.
        wanted = {n for n, job in jobs.items() if job.state is not AttemptState.CANCELLED}
        names = wanted if len(wanted) == 1 else set(jobs)
        if len(names) > 1:
            listed = ", ".join(sorted(name.handle.id for name in names))
            raise Ambiguous(
                f"{len(names)} jobs carry the launch token {token}: {listed}",
                hint="Decide which one is the run's, and cancel the others.",
            )
        return names.pop().handle if names else None

    def inspect(self, handles: Iterable[Handle]) -> dict[Handle, Snapshot]:
        """The state of the jobs: one list for each namespace, and a read for what it misses."""
        by_namespace: dict[str, dict[str, Handle]] = {}
        for handle in handles:
            name = JobName.of(handle)
            by_namespace.setdefault(name.namespace, {})[name.id] = handle
        jobs: dict[Handle, Job] = {}
        for namespace, wanted in by_namespace.items():
            jobs |= self._jobs_of(namespace, wanted)
        flavors = self._prices() if any(job.state.is_final for job in jobs.values()) else {}
        return {handle: to_snapshot(job, flavors) for handle, job in jobs.items()}

    def cancel(self, handle: Handle) -> None:
        """Ask the job to stop; silent if it has ended or is gone."""
        name = JobName.of(handle)
        try:
            self._client.cancel(name)
        except NotFound:
            return
        except Refused as refused:
            if refused.kind not in (RefusalKind.INVALID, RefusalKind.CONFLICT):
                raise
            # The service may refuse to cancel what has ended: that is what was wanted.
            job = self._job(handle)
            if job is not None and not job.state.is_final:
                raise

    def logs(self, handle: Handle) -> Logs:
        """The job's page; `log_lines` reads the log itself."""
        return Logs(uri=None, link=self._client.page_for_people(JobName.of(handle)))

    def log_lines(
        self, handle: Handle, *, after: LogPlace | None = None, follow: bool = False
    ) -> Iterator[LogLine]:
        """The lines of the job's log behind `after`, each once; to its end if `follow`.

        Without `follow`: what is there now. Raises `NotFound` if the job is gone.
        """
        return LogReader(
            self._client,
            JobName.of(handle),
            after=after,
            follow=follow,
            quiet_after_s=self._quiet_after_s,
            clock=self._clock,
        ).lines()

    def outputs(self, handle: Handle) -> str:
        """Where the job was told to leave its files; `NotFound` if the job is gone."""
        job = self._job(handle)
        uri = job.environment.get(OUTPUT_VARIABLE) if job else None
        if not uri:
            raise NotFound(f"{handle.id} is gone, or has no {OUTPUT_VARIABLE} in its environment")
        return str(uri)

    def check_may_run(self) -> None:
        """Raise `Refused` unless the token may run jobs in the namespace."""
        self._client.check_may_run(self._namespace)

    def hardware(self) -> tuple[Flavor, ...]:
        """The kinds of machines that the service offers now, with their prices."""
        return self._client.flavors()

    def close(self) -> None:
        """Nothing is held open: connections belong to the Hub's client of the process."""

    def _job(self, handle: Handle) -> Job | None:
        try:
            return self._client.job(JobName.of(handle))
        except NotFound:
            return None

    def _jobs_of(self, namespace: str, wanted: Mapping[str, Handle]) -> dict[Handle, Job]:
        """The jobs in `wanted` (by id); reads no page more than it must."""
        found: dict[Handle, Job] = {}
        missing = dict(wanted)
        for job in self._client.jobs(namespace, (OWN_LABEL, OWN_VALUE)):
            handle = missing.pop(job.id, None)
            if handle is not None:
                found[handle] = job
            if not missing:
                return found
        for handle in missing.values():
            unlisted = self._job(handle)
            if unlisted is not None:
                found[handle] = unlisted
        return found

    def _prices(self) -> Mapping[str, Flavor]:
        """The kinds of machines by name; the last known, or none, if they are not to be had."""
        now_s = self._clock.elapsed_s()
        if self._flavors_until_s is None or now_s >= self._flavors_until_s:
            try:
                # Once: a state without a cost is worth more than a cost that is waited for.
                self._flavors = {one.name: one for one in self._client.flavors(attempts=1)}
                self._flavors_until_s = now_s + _PRICES_FOR_S
            except RemoteError:
                self._flavors_until_s = now_s + _NO_PRICES_FOR_S
        return self._flavors
