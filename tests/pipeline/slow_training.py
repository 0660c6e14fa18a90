"""A training of the sandbox that lasts until a test lets it end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sandbox.standins.base import TrainingJob, TrainingOutcome
from orchestrator.sandbox.standins.replay import ReplayStandIn


def train_until_released(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """From now on trainings go on until the event is set, or they are cancelled."""
    released = threading.Event()
    train = ReplayStandIn.train

    def wait(
        self: ReplayStandIn, job: TrainingJob, output: Path, **options: Any
    ) -> TrainingOutcome:
        while not options["cancelled"]() and not released.wait(0.02):
            pass
        return train(self, job, output, **options)

    monkeypatch.setattr(ReplayStandIn, "train", wait)
    return released
