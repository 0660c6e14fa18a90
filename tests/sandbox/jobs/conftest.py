"""A Hub with jobs for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.sandbox.jobs.stage import Stage


@pytest.fixture(autouse=True)
def _own_hub_cache(_own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads where its cache is when it is imported, before any test has a home."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(_own_home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)
