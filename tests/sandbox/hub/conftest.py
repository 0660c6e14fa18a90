"""Gives the Hub's client a cache of its own in each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import Stage, served


@pytest.fixture(autouse=True)
def _own_hub_cache(_own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads where its cache is when it is imported, before any test has a home."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(_own_home / "hub"))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A server for the tests of a module; each test puts a Hub of its own on it."""
    with served() as stage:
        yield stage


@pytest.fixture
def clock() -> ManualClock:
    """The time of the Hub."""
    return ManualClock()


@pytest.fixture
def alice(
    stage: Stage, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> HfApi:
    """The client of a user of an empty Hub."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    stage.open(tmp_path / "hub", clock=clock)
    return HfApi(endpoint=stage.url, token="hf_alice")


@pytest.fixture
def one(alice: HfApi) -> HfApi:
    """Her client, with the model `alice/one` there."""
    alice.create_repo("one")
    return alice


@pytest.fixture
def api(alice: HfApi) -> HfApi:
    """Her client, as most tests name it; a module may prepare more."""
    return alice


@pytest.fixture
def bob(stage: Stage) -> HfApi:
    """The client of somebody else."""
    return HfApi(endpoint=stage.url, token="hf_bob")
