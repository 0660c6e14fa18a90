"""A ledger of its own for every test of the report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manual_clock import ManualClock
from tests.report.runs import Runs


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """A ledger in the home folder of the test: the command finds it too."""
    home = Path(os.environ["ORCHESTRATOR_HOME"])
    made = Runs(tmp_path, ManualClock(), home=home)
    yield made
    made.close()
