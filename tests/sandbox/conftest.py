"""Fails every test in which the Hub face answered otherwise than its description says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.sandbox.openapi_judge import RECORD, description


@pytest.fixture(autouse=True)
def _own_hub_cache(_own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads where its cache is when it is imported, before any test has a home."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(_own_home / "hub"))


@pytest.fixture(autouse=True)
def _as_described() -> Iterator[None]:
    RECORD.departures.clear()
    yield
    found = sorted(set(RECORD.departures))
    RECORD.departures.clear()
    if found:
        pytest.fail("replies depart from the Hub's description:\n" + "\n".join(found))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not RECORD.replies:
        return
    source = "public and other" if description() else "other (ORCHESTRATOR_DATA is not set)"
    terminalreporter.write_line(
        f"Hub replies judged: {RECORD.replies}, of {len(RECORD.judged)} operations, "
        f"by their {source} descriptions"
    )
    if RECORD.served:
        terminalreporter.write_line(f"Of the Hub's public description: {RECORD.served}")
