"""A Hub for the keeper of jobs, and a place where a job runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.keeper_stage import JobHub, Place, served


@pytest.fixture(scope="module")
def served_hub() -> Iterator[JobHub]:
    with served() as hub:
        yield hub


@pytest.fixture
def hub(served_hub: JobHub, tmp_path: Path) -> JobHub:
    served_hub.open(tmp_path / "hub")
    return served_hub


@pytest.fixture
def place(hub: JobHub, tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "job", hub)
    yield place
    place.close()
