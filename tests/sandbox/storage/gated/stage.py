"""A running Cloud Storage face behind its gate, for clients that must bring the token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.sandbox.edge.gate import USER_NAME, Gate
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.app import storage_app

BUCKET = "training-data"
TOKEN = "s3cr3t-t0ken"


@dataclass(frozen=True)
class GatedStorage:
    """Where the face is: `url` without the token, `address` with it."""

    url: str
    disk: ObjectDisk

    @property
    def address(self) -> str:
        return self.url.replace("//", f"//{USER_NAME}:{TOKEN}@")

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {TOKEN}"}


class GatedServer:
    """One server for many tests; each test serves a disk of its own."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._server = AppServer(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None
        await self._app(scope, receive, send)

    def serve(self, root: Path) -> GatedStorage:
        """From now on serve the disk in this folder, as a process that starts on it would."""
        disk = ObjectDisk(root)
        disk.create_bucket(BUCKET)
        self._app = Gate(storage_app(disk), TOKEN)
        return GatedStorage(self._server.url, disk)

    @property
    def running(self) -> AppServer:
        return self._server


@contextmanager
def gated_server() -> Iterator[GatedServer]:
    """A server that listens."""
    server = GatedServer()
    with server.running:
        yield server
