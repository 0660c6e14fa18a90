"""A ledger of its own for every test of audits and comparisons."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.auditing.stage import Stage, new_stage


@pytest.fixture
def stage(capsys: pytest.CaptureFixture[str]) -> Iterator[Stage]:
    made = new_stage(capsys)
    yield made
    made.ledger.close()
