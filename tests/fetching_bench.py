"""A Hub and a bucket with rows, faults above them, and a fetcher on a machine of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.connections import Connections
from orchestrator.fetching import Fetcher
from orchestrator.hub_client import prepare_client
from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.faults import HttpFaults
from orchestrator.sandbox.edge.rules import RequestRule
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import hub_app
from orchestrator.settings import Settings
from orchestrator.spec import LoadedSpec, load_spec
from tests.manual_clock import ManualClock
from tests.router_spec import SPEC
from tests.sandbox.hub.openapi_judge import Judge
from tests.sandbox.hub.stage import ACCOUNTS, put

ROWS = b'{"prompt": "a question", "completion": "an answer"}\n'


@dataclass
class HubBench:
    """A Hub on a server, with faults above it."""

    url: str = ""
    faults: FaultBook = field(default_factory=FaultBook)
    app: ASGIApp | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)

    def open(self, root: Path) -> None:
        """Put an empty Hub on the server."""
        hub = hub_app(root, ACCOUNTS)
        self.faults = FaultBook()
        self.requests.clear()
        self.app = HttpFaults(Judge(hub), "hub", self.faults, SandboxClock())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        self.requests.append((scope["method"], scope["path"]))
        await self.app(scope, receive, send)

    def api(self) -> HfApi:
        """The Hub's own client, by which tests put things there."""
        prepare_client(60.0)  # without Xet, which the sandbox does not speak
        return HfApi(endpoint=self.url, token="hf_alice")

    def downloads(self) -> int:
        """How many contents were asked for."""
        return sum("/resolve/" in path for _, path in self.requests)

    def fails(self, operation: str, target: str, **rule: Any) -> None:
        """Let matching requests go wrong."""
        self.faults.add(RequestRule(face="hub", operation=operation, target=target, **rule))


@contextmanager
def hub_bench() -> Iterator[HubBench]:
    """A server for the tests of a module."""
    bench = HubBench()
    with AppServer(bench) as server:
        bench.url = server.url
        yield bench


def settings_for(home: Path, **changes: Any) -> Settings:
    """The settings of a machine that nothing was fetched to."""
    return replace(Settings(home=home, ledger_url="sqlite://"), **changes)


def fetcher_for(
    settings: Settings, *, offline: bool = False, clock: ManualClock | None = None
) -> Fetcher:
    """A fetcher whose retries do not wait."""
    clock = clock or ManualClock()
    return Fetcher(settings, Connections(settings, clock), offline=offline, clock=clock)


def add_dataset(api: HfApi, files: dict[str, bytes], name: str = "alice/rows") -> str:
    """A dataset with files; returns its commit."""
    api.create_repo(name, repo_type="dataset", exist_ok=True)
    return put(api, name, files, repo_type="dataset")


def spec_with(folder: Path, data: str, more: str = "") -> LoadedSpec:
    """The router spec with other lines under `data:`, in a file of `folder`."""
    head, _, rest = SPEC.partition("data:\n")
    after = rest[next(i for i, c in enumerate(rest) if c.isalpha() and rest[i - 1] == "\n") :]
    file = folder / "spec.yaml"
    file.write_text(f"{head}data:\n{data}\n{more}\n{after}", encoding="utf-8")
    return load_spec(file, "spec.yaml")
