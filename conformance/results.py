"""What became of the cases of a suite: read from the recorder's log, kept, and drawn as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from conformance.rules import Rule, Rules, matches
from conformance.suites import Suite
from orchestrator.clock import SYSTEM_CLOCK

#: A case is what the worst of its events says; a teardown may fail after a call has passed.
_WORST_FIRST = ("failed", "left_out", "skipped", "passed")


@dataclass(frozen=True)
class SuiteResult:
    """The counts of one suite. `tried` are the cases that were run to a verdict.

    `failed` are those that nobody expects to fail. The others count cases by reason: those known
    to fail, which are among the tried; those that the suite skips itself; those left out.
    """

    suite: str
    source: str
    face: str
    date: str
    tried: int
    passed: int
    failed: dict[str, str]
    known_to_fail: dict[str, int]
    skipped: dict[str, int]
    left_out: dict[str, int]
    idle_rules: tuple[str, ...]
    finished: bool

    @property
    def is_good(self) -> bool:
        """Whether it went as the rules say, and every rule is still needed."""
        return self.finished and self.tried > 0 and not self.failed and not self.idle_rules


def read_log(suite: Suite, rules: Rules, log: Path, root: Path, *, finished: bool) -> SuiteResult:
    """Count what the recorder wrote; paths of this machine are cut out of what is kept."""
    events = _events(log)
    cases = {
        kind: sorted(case for case, event in events.items() if event["event"] == kind)
        for kind in _WORST_FIRST
    }
    known = {case: reason for case in cases["failed"] if (reason := _reason(rules.fails, case))}
    return SuiteResult(
        suite=suite.name,
        source=suite.source,
        face=suite.face,
        date=f"{SYSTEM_CLOCK.now():%Y-%m-%d}",
        tried=len(cases["passed"]) + len(cases["failed"]),
        passed=len(cases["passed"]),
        failed={
            case: events[case]["reason"].replace(str(root), "…")
            for case in cases["failed"]
            if case not in known
        },
        known_to_fail=dict(sorted(Counter(known.values()).items())),
        skipped=_by_reason(events[case] for case in cases["skipped"]),
        left_out=_by_reason(events[case] for case in cases["left_out"]),
        idle_rules=(
            *_idle(rules.left_out, cases["left_out"]),
            *_idle(rules.fails, cases["failed"]),
        ),
        finished=finished,
    )


def _events(log: Path) -> dict[str, dict[str, str]]:
    """The worst event of each case."""
    events: dict[str, dict[str, str]] = {}
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    for event in map(json.loads, lines):
        old = events.get(event["case"])
        worst = _WORST_FIRST.index
        if old is None or worst(event["event"]) < worst(old["event"]):
            events[event["case"]] = event
    return events


def _reason(rules: Iterable[Rule], case: str) -> str | None:
    fitting = (
        rule.reason for rule in rules if any(matches(pattern, case) for pattern in rule.cases)
    )
    return next(fitting, None)


def _idle(rules: Iterable[Rule], cases: list[str]) -> list[str]:
    return [
        pattern
        for rule in rules
        for pattern in rule.cases
        if not any(matches(pattern, case) for case in cases)
    ]


def _by_reason(events: Iterable[dict[str, str]]) -> dict[str, int]:
    reasons = Counter(event["reason"].removeprefix("Skipped: ") for event in events)
    return dict(sorted(reasons.items()))


def keep(file: Path, results: list[SuiteResult]) -> None:
    """Write the results over those of the same suites; the others stay."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known |= {result.suite: asdict(result) for result in results}
    temporary = file.with_suffix(".new")
    text = json.dumps(known, indent=2, sort_keys=True, ensure_ascii=False)
    temporary.write_text(f"{text}\n", encoding="utf-8")
    temporary.replace(file)


def table(results: list[SuiteResult]) -> str:
    """Suites as rows; below them why cases did not pass, and those that nobody expected to fail."""
    rows = [("suite", "face", "passed of tried", "skipped by itself", "left out")]
    rows += [
        (
            f"{result.suite} ({result.source})",
            result.face,
            f"{result.passed} of {result.tried}" + ("" if result.finished else ", cut short"),
            str(sum(result.skipped.values())),
            str(sum(result.left_out.values())),
        )
        for result in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    for result in results:
        lines += ["", result.suite]
        lines += [f"  known to fail, {n}: {why}" for why, n in result.known_to_fail.items()]
        lines += [f"  left out, {n}: {why}" for why, n in result.left_out.items()]
        lines += [f"  skipped by itself, {n}: {why}" for why, n in result.skipped.items()]
        lines += [f"  FAILED {case}: {why}" for case, why in result.failed.items()]
        lines += [f"  a rule that fits no case: {pattern}" for pattern in result.idle_rules]
    return "\n".join(lines)
