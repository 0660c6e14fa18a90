"""The storage face without its gate, and Google's client for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.storage.stage import (
    BUCKET,
    FaceServer,
    StorageFace,
    retry_at_once,
    storage_client,
)


@pytest.fixture(scope="module")
def server() -> Iterator[FaceServer]:
    """A server for the tests of a module."""
    with FaceServer() as server:
        yield server


@pytest.fixture
def face(server: FaceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageFace:
    """An empty store of the test's own, and a client that does not wait before it tries again."""
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    retry_at_once(monkeypatch)
    return server.face(tmp_path / "disk")


@pytest.fixture
def client(face: StorageFace) -> Iterator[Any]:
    """Google's client."""
    with storage_client(face.url) as client:
        yield client


@pytest.fixture
def bucket(client: Any) -> Any:
    """The bucket that is there."""
    return client.bucket(BUCKET)
