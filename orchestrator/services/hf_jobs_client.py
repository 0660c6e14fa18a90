"""The requests of Hugging Face Jobs, one function each.

A job is created by the client's own `run_job`, which sends one request. The others go through the
client's session: its `list_jobs` retries by itself, beyond the limits that are set here, and its
log stream loses its place between two processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from orchestrator.clock import Clock
from orchestrator.endpoints import without_user_info
from orchestrator.errors import Ambiguous, InputError
from orchestrator.hub_client import ended_within, prepare_client
from orchestrator.retry import retry_request
from orchestrator.services.hf_jobs_errors import launch_errors, read_errors
from orchestrator.services.hf_jobs_messages import (
    Flavor,
    Job,
    JobCall,
    JobName,
    to_flavor,
    to_job,
)

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
READ_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 20.0
#: The timeout that the whole process gives to the client; the requests here give their own.
_PROCESS_TIMEOUT_S = 60.0


class JobsClient:
    """Jobs at one Hub, with one token."""

    def __init__(self, endpoint: str, token: str | None, clock: Clock) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._clock = clock

    def page_for_people(self, name: JobName) -> str:
        """The address of a job's page."""
        return f"{without_user_info(self._endpoint)}/jobs/{name.namespace}/{name.id}"

    def create(self, namespace: str, call: JobCall, may_send: Callable[[], float]) -> JobName:
        """Send the one request that creates a job; `may_send` is asked when all else is ready."""
        prepare_client(_PROCESS_TIMEOUT_S)
        from huggingface_hub import HfApi, Volume, constants, get_session

        if call.secrets and constants.HF_DEBUG:
            raise InputError(
                "HF_DEBUG is set: the Hub's client would write the job's secrets into its log",
                hint="Unset HF_DEBUG.",
            )
        # False, not None: None would pick up whatever token this machine has stored.
        api = HfApi(endpoint=self._endpoint, token=self._token or False)
        volumes = [
            Volume(
                type=one.kind,
                source=one.repo,
                revision=one.revision,
                mount_path=one.mount_path,
                read_only=True,
            )
            for one in call.volumes
        ]
        get_session()
        doing = f"run a job in {namespace} at {self._endpoint}"
        timeout_s = may_send()
        with launch_errors(doing), ended_within(timeout_s):
            info = api.run_job(
                image=call.image,
                command=list(call.command),
                env=dict(call.environment),
                secrets=dict(call.secrets) or None,
                flavor=call.flavor,
                timeout=call.timeout_s,
                labels=dict(call.labels),
                volumes=volumes or None,
                namespace=namespace,
            )
            name = JobName(namespace, str(info.id))
            # What the ledger keeps must name the job again.
            return JobName.of(name.handle)

    def job(self, name: JobName) -> Job:
        """One job; `NotFound` if the service does not know it."""
        url = f"{self._jobs(name.namespace)}/{name.id}"
        return self._read(f"read the job {name.id}", lambda: to_job(self._json("GET", url)))

    def jobs(self, namespace: str, label: tuple[str, str]) -> Iterator[Job]:
        """The jobs that carry a label, page by page; each page is retried on its own."""
        url: str | None = self._jobs(namespace)
        params: dict[str, str] | None = {"label": "=".join(label)}
        seen: set[str] = set()
        while url is not None:
            seen.add(url)
            page, url = self._page(namespace, url, params)
            yield from page
            params = None  # the next page's address carries them
            if url is not None and (url in seen or not self._is_here(url)):
                raise Ambiguous(f"the list of jobs in {namespace} goes on where it cannot: {url}")

    def cancel(self, name: JobName) -> None:
        """Ask for a job to be stopped; to ask again does no harm."""
        url = f"{self._jobs(name.namespace)}/{name.id}/cancel"
        self._read(f"cancel the job {name.id}", lambda: self._answer("POST", url))

    def check_may_run(self, namespace: str) -> None:
        """Raise `Refused` unless this token may run jobs in the namespace; nothing is created."""
        url = f"{self._jobs(namespace)}/auth-check/write"
        self._read(f"ask whether jobs may run in {namespace}", lambda: self._answer("POST", url))

    def flavors(self, attempts: int = 5) -> tuple[Flavor, ...]:
        """The kinds of machines that the service offers, with their prices."""
        url = f"{self._endpoint}/api/jobs/hardware"

        def ask() -> tuple[Flavor, ...]:
            answer = self._json("GET", url)
            if not isinstance(answer, list):
                raise Ambiguous("the service did not list its hardware")
            return tuple(map(to_flavor, answer))

        return self._read("list the hardware of jobs", ask, attempts)

    @contextmanager
    def logs(self, name: JobName, silence_s: float) -> Iterator[httpx2.Response]:
        """A stream of a job's log from its beginning; sent once.

        What goes wrong while it is read is raised as the client does, for the caller to judge.
        """
        prepare_client(_PROCESS_TIMEOUT_S)
        import httpx2
        from huggingface_hub import get_session, hf_raise_for_status

        url = f"{self._jobs(name.namespace)}/{name.id}/logs"
        timeout = httpx2.Timeout(_CONNECT_TIMEOUT_S, read=silence_s)
        with get_session().stream("GET", url, headers=self._headers(), timeout=timeout) as response:
            hf_raise_for_status(response)
            yield response

    def _page(
        self, namespace: str, url: str, params: dict[str, str] | None
    ) -> tuple[Sequence[Job], str | None]:
        def ask() -> tuple[Sequence[Job], str | None]:
            response = self._answer("GET", url, params)
            answer = response.json()
            if not isinstance(answer, list):
                raise Ambiguous(f"the service did not list the jobs of {namespace}")
            return list(map(to_job, answer)), response.links.get("next", {}).get("url")

        return self._read(f"list the jobs of {namespace}", ask)

    def _is_here(self, url: str) -> bool:
        """Whether an address is this Hub's: the token is sent nowhere else."""
        here, there = urlsplit(self._endpoint), urlsplit(url)
        return (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)

    def _json(self, method: str, url: str) -> Any:
        return self._answer(method, url).json()

    def _answer(
        self, method: str, url: str, params: dict[str, str] | None = None
    ) -> httpx2.Response:
        prepare_client(_PROCESS_TIMEOUT_S)
        import httpx2
        from huggingface_hub import get_session, hf_raise_for_status

        response = get_session().request(
            method,
            url,
            params=params,
            headers=self._headers(),
            timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
        )
        hf_raise_for_status(response)
        return response

    def _jobs(self, namespace: str) -> str:
        return f"{self._endpoint}/api/jobs/{namespace}"

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def _read(self, doing: str, call: Callable[[], T], attempts: int = 5) -> T:
        def once() -> T:
            with read_errors(f"{doing} at {self._endpoint}"):
                return call()

        return retry_request(once, attempts=attempts, clock=self._clock)
