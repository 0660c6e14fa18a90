"""The faces that suites are run against, each over a folder that is empty at first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from orchestrator.sandbox.edge.gate import Gate
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.app import storage_app


@contextmanager
def storage(folder: Path) -> Iterator[str]:
    """The Cloud Storage face without a token: the suites of others cannot send one."""
    with AppServer(Gate(storage_app(ObjectDisk(folder)), None)) as server:
        yield server.url


FACES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {"storage": storage}
