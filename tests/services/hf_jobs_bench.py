"""What the tests of Hugging Face Jobs share: the sandbox's jobs behind an edge of the test's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import JobRule, Outcome
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.app import Account, hub_app
from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.jobs.face import JobsFace
from orchestrator.sandbox.jobs.routes import job_routes
from orchestrator.services.base import AttemptKind, Handle, ScriptRequest, TuneRequest
from orchestrator.services.hf_jobs import HfJobsService
from orchestrator.services.hf_jobs_messages import JobName
from tests.manual_clock import ManualClock
from tests.sandbox.hub.openapi_judge import Judge
from tests.services.vertex_bench import TestClock
from tests.services.vertex_bench import request as tune_request

ACCOUNTS = {
    "hf_alice": Account("alice", orgs={"lab": "write"}),
    "hf_reader": Account("alice", role="read"),
}
OUTPUT = "hf://models/alice/router-candidates@run-1/attempt-1"
#: Prints, waits until its gate is open, and prints again. The gate comes without its first slash:
#: the sandbox moves whole paths below /tmp into the job's own folder.
TRAINING = (
    "import pathlib, sys, time\n"
    "print('step 1', flush=True)\n"
    "while not pathlib.Path('/', sys.argv[1]).exists(): time.sleep(0.01)\n"
    "print('step 2', flush=True)\n"
)
_LIST, _READ, _CREATE, _CANCEL, _LOGS = "list", "read", "create", "cancel", "logs"
Rewrite = Callable[[dict[str, Any]], dict[str, Any] | None]


def kind_of(scope: Scope) -> str:
    """What a request asks of the jobs; empty for all other requests."""
    parts = str(scope["path"]).strip("/").split("/")
    if parts[:2] != ["api", "jobs"] or parts[2:] == ["hardware"]:
        return ""
    if len(parts) == 3:
        return _LIST if scope["method"] == "GET" else _CREATE
    return _READ if len(parts) == 4 else parts[-1]


@dataclass
class Edge:
    """Lies between the service and the jobs: counts, loses answers, changes what is told."""

    app: ASGIApp
    calls: Counter[str] = field(default_factory=Counter)
    #: The next request of a kind ends in this status, before or after its effect.
    failing: dict[str, tuple[int, bool]] = field(default_factory=dict)
    stalling: set[str] = field(default_factory=set)
    #: What a job is told as in lists (None: not at all), and everywhere.
    listed: Rewrite = lambda job: job
    told: Rewrite = lambda job: job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = kind_of(scope)
        self.calls[kind] += 1
        if kind in self.stalling:
            self.stalling.discard(kind)
            await self._swallowed(scope, receive)
            while (await receive())["type"] != "http.disconnect":
                pass
        elif kind in self.failing:
            status, after_effect = self.failing.pop(kind)
            if after_effect:
                await self._swallowed(scope, receive)
            await PlainTextResponse("oh", status)(scope, receive, send)
        elif kind in (_LIST, _READ):
            await self._retold(kind, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _swallowed(self, scope: Scope, receive: Receive) -> None:
        async def nowhere(_message: Message) -> None:
            """The answer that gets lost."""

        await self.app(scope, receive, nowhere)

    async def _retold(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        body = b""

        async def keep(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
            else:
                body += message.get("body", b"")

        await self.app(scope, receive, keep)
        if start["status"] == 200:
            body = orjson.dumps(self._changed(kind, orjson.loads(body)))
        headers = [(k, v) for k, v in start["headers"] if k != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    def _changed(self, kind: str, told: Any) -> Any:
        if kind == _READ:
            return self.told(told)
        kept = [job for job in map(self.listed, told) if job is not None]
        return [self.told(job) for job in kept]


def request(**changes: Any) -> ScriptRequest:
    """A request that the face accepts, with changes."""
    accepted = ScriptRequest(
        run_id="run-1",
        display_name="router tune",
        kind=AttemptKind.TUNE,
        command=("python", "-c", "print('trained')"),
        image="ghcr.io/astral-sh/uv:python3.12-bookworm",
        flavor="a10g-small",
        timeout_s=7200,
        output_uri=OUTPUT,
        environment={"HF_HUB_DISABLE_XET": "1"},
        secret_names=("HF_TOKEN",),
    )
    return replace(accepted, **changes)


@dataclass
class HfJobsBench:
    """A service and the jobs that it talks to, with what the contract suite needs of both."""

    service: HfJobsService
    face: JobsFace
    edge: Edge
    book: FaultBook
    clock: TestClock
    sandbox_clock: SandboxClock
    gate: Path
    url: str

    def request(self, **changes: Any) -> ScriptRequest:
        return request(**{"command": self.command, **changes})

    @property
    def command(self) -> tuple[str, ...]:
        return ("python", "-c", TRAINING, str(self.gate).removeprefix("/"))

    def refused_request(self) -> ScriptRequest:
        return self.request(flavor="abacus-large")

    def foreign_request(self) -> TuneRequest:
        return tune_request()

    def unknown_handle(self) -> Handle:
        return Handle("hf-jobs", "alice/0123456789abcdef01234567")

    def job_count(self) -> int:
        return len(self.face.jobs())

    def launch_calls(self) -> int:
        return self.edge.calls[_CREATE]

    def list_calls(self) -> int:
        return self.edge.calls[_LIST]

    def read_calls(self) -> int:
        return self.edge.calls[_READ]

    def wait_until_running(self, handle: Handle) -> None:
        self.face.wait_until_running(JobName.of(handle).id)

    def let_train(self, handle: Handle) -> None:
        self.gate.touch()
        self.wait_until_ended(handle)

    def wait_until_ended(self, handle: Handle) -> None:
        self.face.wait_until_ended(JobName.of(handle).id)

    def fail_trainings(self, message: str) -> None:
        rule = JobRule(face="jobs", outcome=Outcome.FAILED, message=message)
        self.book.add(rule)

    def lose_next_launch(self, *, after_effect: bool) -> None:
        self.edge.failing[_CREATE] = (503, after_effect)

    def stall_next_launch(self) -> None:
        self.edge.stalling.add(_CREATE)

    def break_next_read(self) -> None:
        for kind in (_LIST, _READ, _CANCEL):
            self.edge.failing[kind] = (503, False)

    def hide_from_lists(self, handle: Handle) -> None:
        hidden = JobName.of(handle).id
        self.edge.listed = lambda job: None if job["id"] == hidden else job

    def report_unheard_of_state(self, handle: Handle) -> str:
        changed = JobName.of(handle).id

        def tell(job: dict[str, Any]) -> dict[str, Any]:
            status = {**job["status"], "stage": "HIBERNATING"}
            return {**job, "status": status} if job["id"] == changed else job

        self.edge.told = tell
        return "HIBERNATING"


@contextmanager
def hf_jobs_bench(root: Path, **conduct: Any) -> Iterator[HfJobsBench]:
    """A service on a fresh face, whose jobs end with the context."""
    sandbox_clock = SandboxClock(ManualClock())
    book = FaultBook(clock=sandbox_clock)
    faces: list[JobsFace] = []
    urls: list[str] = []

    def with_jobs(hub: HubFace) -> list[Route]:
        faces.append(
            JobsFace(
                root / "jobs",
                hub,
                endpoint=lambda: urls[0],
                clock=sandbox_clock,
                book=book,
                conduct=JobsConduct(**conduct),
            )
        )
        return job_routes(faces[0])

    app = hub_app(root / "hub", ACCOUNTS, sandbox_clock, more=with_jobs)
    edge, clock = Edge(Judge(app)), TestClock()
    with AppServer(edge) as server:
        urls.append(server.url)
        service = HfJobsService(
            server.url, "hf_alice", "alice", {"HF_TOKEN": "hf_alice"}, clock, quiet_after_s=0.3
        )
        faces[0].start()
        try:
            yield HfJobsBench(
                service,
                faces[0],
                edge,
                book,
                clock,
                sandbox_clock,
                root / "gate",
                server.url,
            )
        finally:
            faces[0].stop()
