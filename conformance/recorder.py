"""A pytest plugin for the environment of a suite: leaves cases out by rule, records the others.

It is loaded by its file name there, where nothing of this project is installed.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest


class Recorder:
    """Writes a line of JSON for each event, so that a run that is cut short loses nothing."""

    def __init__(self, rules: list[dict[str, Any]], log: Path) -> None:
        self._log = log
        self._rules = [
            (re.compile(".*".join(map(re.escape, pattern.split("*")))), rule["reason"])
            for rule in rules
            for pattern in rule["cases"]
        ]

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept, left_out = [], []
        for item in items:
            reasons = (why for pattern, why in self._rules if pattern.fullmatch(item.nodeid))
            reason = next(reasons, None)
            if reason is None:
                kept.append(item)
            else:
                left_out.append(item)
                self._write("left_out", item.nodeid, reason)
        items[:] = kept
        if left_out:
            config.hook.pytest_deselected(items=left_out)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write("failed", report.nodeid, _first_line(report))
        elif report.skipped:
            self._write("skipped", report.nodeid, _skip_reason(report))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._write("failed", report.nodeid, _first_line(report))
        elif report.skipped:
            reason = getattr(report, "wasxfail", None) or _skip_reason(report)
            self._write("skipped", report.nodeid, reason)
        elif report.when == "call":
            self._write("passed", report.nodeid, "")

    def _write(self, event: str, case: str, reason: str) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "case": case, "reason": reason}) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Start recording where the runner says."""
    rules = json.loads(os.environ["CONFORMANCE_LEFT_OUT"])
    config.pluginmanager.register(Recorder(rules, Path(os.environ["CONFORMANCE_LOG"])))


def _first_line(report: pytest.CollectReport | pytest.TestReport) -> str:
    text = str(report.longrepr)
    lines = [line for line in text.splitlines() if line.startswith("E ")]
    return (lines[0].removeprefix("E").strip() if lines else text.strip())[:200]


def _skip_reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    where = report.longrepr
    return where[2] if isinstance(where, tuple) else str(where)[-200:]
