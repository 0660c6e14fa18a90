"""The command line in this process, against the bench's sandbox and home."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.cli import run
from tests.pipeline.bench import Bench


class Shell:
    """Runs commands; `out` and `err` are what the last one printed."""

    def __init__(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, value in bench.sandbox.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ORCHESTRATOR_HOME", str(bench.settings.home))
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        self._capsys.readouterr()
        code = run(list(arguments))
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def json(self) -> Any:
        """The one document on standard output: `loads` fails if there is more than one."""
        return json.loads(self.out)
