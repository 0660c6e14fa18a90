"""The storage face behind its gate: what the tests of clients are led to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.storage.gated.stage import GatedServer, GatedStorage, gated_server


@pytest.fixture(scope="module")
def server() -> Iterator[GatedServer]:
    """A server for the tests of a module."""
    with gated_server() as server:
        yield server


@pytest.fixture
def face(server: GatedServer, tmp_path: Path) -> GatedStorage:
    """An empty store of the test's own."""
    return server.serve(tmp_path / "disk")
