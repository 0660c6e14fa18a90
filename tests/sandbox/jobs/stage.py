"""What the tests of the Jobs face share: a Hub with jobs on a clock that a test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, Volume
from starlette.routing import Route

import orchestrator
from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.faults import HttpFaults
from orchestrator.sandbox.edge.rules import FaultPlan
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.app import Account, TokenScope, hub_app
from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.jobs.face import JobRecord, JobsFace
from orchestrator.sandbox.jobs.routes import job_routes
from orchestrator.sandbox.jobs.stand_in import JobStandIn
from tests.manual_clock import ManualClock
from tests.sandbox.hub.openapi_judge import Judge

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"
ACCOUNTS = {
    "hf_alice": Account("alice", orgs={"lab": "write", "club": "read"}),
    "hf_reader": Account("alice", role="read", orgs={"lab": "write"}),
    "hf_runner": Account(
        "alice", role="fineGrained", scopes=(TokenScope("user", "alice", ("job.write",)),)
    ),
    "hf_narrow": Account(
        "alice", role="fineGrained", scopes=(TokenScope("user", "alice", ("repo.write",)),)
    ),
    "hf_bob": Account("bob"),
}
ALICE = "hf_alice"
#: Where a script is told to leave its files, as in a container.
OUTPUT = "/tmp/output"  # noqa: S108 (a path of the job, not of this machine)
#: Says that it runs, and goes on until somebody ends it.
WAITS = "import time; print('ready', flush=True); time.sleep(600)"
#: The same, and it does not end when it is asked to. A handler may come in the middle of a `print`.
STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'no\\n'));"
    "print('ready', flush=True); [time.sleep(0.2) for _ in range(3000)]"
)
TIMEOUT_S = 30.0


@dataclass
class Stage:
    """A Hub and its jobs in one folder; `serving` is the life of a process that serves it."""

    root: Path
    clock: SandboxClock = field(default_factory=lambda: SandboxClock(ManualClock()))
    book: FaultBook = field(default_factory=FaultBook)
    face: JobsFace = field(init=False)
    url: str = ""

    @contextmanager
    def serving(
        self,
        conduct: JobsConduct | None = None,
        *,
        stand_in: JobStandIn | None = None,
        faults: FaultPlan | None = None,
    ) -> Iterator[HfApi]:
        """The client of alice."""
        self.book = FaultBook(faults, clock=self.clock)

        def with_jobs(hub: HubFace) -> list[Route]:
            self.face = JobsFace(
                self.root / "jobs",
                hub,
                endpoint=lambda: self.url,
                clock=self.clock,
                book=self.book,
                conduct=conduct or JobsConduct(),
                stand_in=stand_in,
            )
            return job_routes(self.face)

        app = hub_app(self.root / "hub", ACCOUNTS, self.clock, more=with_jobs)
        edge = HttpFaults(Judge(app), "hub", self.book, self.clock)
        with AppServer(edge) as server:
            self.url = server.url
            self.face.start()
            try:
                yield self.client("hf_alice")
            finally:
                edge.close()
                self.face.stop()

    def client(self, token: str) -> HfApi:
        """The client of whoever has a token."""
        return HfApi(endpoint=self.url, token=token)

    def ask(self, method: str, path: str, token: str | None = ALICE, **more: Any) -> Any:
        """A request that no client would send."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        # Without TLS there is nothing to verify, and reading the certificates takes a tenth of a
        # second.
        return httpx2.request(method, self.url + path, headers=headers, verify=False, **more)

    def ended(self, job_id: str) -> JobRecord:
        """The job once it is over."""
        return self.face.wait_until_ended(job_id, timeout_s=TIMEOUT_S)

    def log(self, job_id: str) -> list[str]:
        """What a job has said so far."""
        file = self.face.store.log_file(job_id)
        lines = file.read_bytes().splitlines() if file.exists() else []
        return [httpx2.Response(200, content=line).json()["data"] for line in lines]

    def until_said(self, job_id: str, text: str) -> None:
        """Wait until a line of the log is `text`."""
        assert self.face.queue.wait_for(lambda: text in self.log(job_id), TIMEOUT_S), self.log(
            job_id
        )


def run(api: HfApi, code: str, *arguments: str, **more: Any) -> str:
    """Create a job that runs some Python; returns its id."""
    command = ["python", "-c", code, *arguments]
    return submit(api, command, **more)


def submit(api: HfApi, command: list[str], **more: Any) -> str:
    """Create a job; returns its id."""
    more.setdefault("namespace", "alice")
    job_id: str = api.run_job(image=IMAGE, command=command, **more).id
    return job_id


def scripts(api: HfApi, files: dict[str, str], name: str = "alice/code") -> str:
    """Commit files to a private data set; returns the commit."""
    api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
    operations = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
    oid: str = api.create_commit(name, operations, commit_message="stage", repo_type="dataset").oid
    return oid


def staged(api: HfApi, rows: Sequence[object]) -> Volume:
    """The package's own job scripts and some rows, as one commit, mounted at /o."""
    package = Path(orchestrator.__file__).parent
    files = {f"code/{one.name}": one.read_text() for one in (package / "training").glob("*.py")}
    files["code/calls.py"] = (package / "calls.py").read_text()
    files["staged/rows.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows)
    revision = scripts(api, files, "alice/staging")
    return Volume(
        type="dataset",
        source="alice/staging",
        revision=revision,
        mount_path="/o",
        read_only=True,
    )


def kept(prefix: str, *words: str) -> list[str]:
    """The command of an attempt, with the keeper that uploads what its script leaves."""
    where = ["--candidate", "alice/m-candidates", "--branch", "r-1", "--prefix", prefix]
    return ["uv", "run", "/o/code/job.py", *where, "--", *words, "--output", OUTPUT]
