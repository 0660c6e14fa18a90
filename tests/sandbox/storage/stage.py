"""A running Cloud Storage face, and Google's client for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.faults import HttpFaults, LoggedRequest
from orchestrator.sandbox.edge.rules import RequestRule
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.app import storage_app

BUCKET = "training-data"


@dataclass(frozen=True)
class StorageFace:
    """The face, the disk below it, and the faults above it."""

    url: str
    disk: ObjectDisk
    faults: FaultBook
    requests: Any

    def count(self, method: str, target: str) -> int:
        """How many requests of a method had `target` in their path or query."""
        log: list[LoggedRequest] = list(self.requests)
        return sum(r.method == method and target in r.target for r in log)

    def uploads(self) -> int:
        """How many uploads were started."""
        return self.count("POST", "/upload/")


class FaceServer:
    """One server for many tests, since stopping one takes longer than most of them."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._server = AppServer(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None
        await self._app(scope, receive, send)

    def face(
        self,
        root: Path,
        *,
        permissions: frozenset[str] | None = None,
        clock: SandboxClock | None = None,
    ) -> StorageFace:
        """From now on serve the disk in this folder, as a process that starts on it would."""
        disk = ObjectDisk(root, clock or SandboxClock())
        disk.create_bucket(BUCKET)
        app = storage_app(disk, permissions=permissions)
        faults = FaultBook()
        self._app = HttpFaults(app, "storage", faults, SandboxClock())
        return StorageFace(self._server.url, disk, faults, app.state.requests)

    def __enter__(self) -> FaceServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()


#: What becomes of a request whose answer is lost, as `fault` takes it.
ERROR_AFTER: dict[str, Any] = {"after": True}
DROP_AFTER: dict[str, Any] = {"effect": "drop", "after": True}


def fault(operation: str, target: str, **rule: Any) -> RequestRule:
    """A rule for the storage face; without more, 503 is answered and nothing happens."""
    return RequestRule(face="storage", operation=operation, target=target, **rule)


@contextmanager
def storage_client(url: str) -> Iterator[Any]:
    """Google's own client for a face."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(
        project="rehearsal",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url},
    )
    try:
        yield client
    finally:
        client.close()


def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Google's client retry without the seconds that it waits between tries."""
    import time

    from google.api_core.retry import retry_unary

    at_once = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: None)
    monkeypatch.setattr(retry_unary, "time", at_once)
