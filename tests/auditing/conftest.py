"""A ledger of its own for every test of audits and comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from orchestrator.evaluation import scores
from orchestrator.evaluation.resampling import draws
from tests.auditing.stage import Stage, new_stage


@pytest.fixture
def stage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    # The evaluations themselves are the background here: their intervals may be rough.
    monkeypatch.setattr(scores, "draws", partial(draws, resamples=50))
    made = new_stage(capsys)
    yield made
    made.ledger.close()
