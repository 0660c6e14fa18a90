"""Decides which request or job meets which fault, and records every fault that happened."""

from __future__ import annotations

import os
import random
import re
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

import orjson

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.sandbox.edge.rules import Face, FaultPlan, FaultRules, JobRule, RequestRule


@dataclass(frozen=True)
class Injection:
    """A fault that happened: when, to which request or job.

    `hidden_status` is the answer that the client did not get to see, where there was one.
    """

    at: datetime
    face: Face
    operation: str
    target: str
    fault: str
    hidden_status: int | None = None


@dataclass(frozen=True)
class RuleInForce:
    """A rule, how many requests or jobs matched it, and to how many of them it applied."""

    rule: RequestRule | JobRule
    seen: int
    applied: int


R = TypeVar("R", RequestRule, JobRule)


@dataclass
class _Counted(Generic[R]):
    rule: R
    chances: random.Random
    seen: int = 0
    applied: int = 0

    def due(self) -> bool:
        """Count one match; whether the rule applies to it."""
        self.seen += 1
        rule = self.rule
        in_turn = rule.nth <= self.seen and (
            rule.times is None or self.seen < rule.nth + rule.times
        )
        return in_turn and (rule.chance == 1.0 or self.chances.random() < rule.chance)


class FaultBook:
    """The rules in force, on every face of one sandbox. Safe for threads.

    Every match is counted by every rule; the first rule that is due decides. `log` is a file of
    JSON lines to which each injection is appended.
    """

    def __init__(
        self, plan: FaultPlan | None = None, *, log: Path | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        plan = plan or FaultPlan()
        self._seed = plan.seed
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._made = 0
        self._requests: list[_Counted[RequestRule]] = []
        self._jobs: list[_Counted[JobRule]] = []
        self._injected: list[Injection] = []
        self.add_all(plan)

    @property
    def injected(self) -> list[Injection]:
        """All faults that happened, in order."""
        with self._lock:
            return list(self._injected)

    @property
    def rules(self) -> list[RuleInForce]:
        """The rules in force with their counts: those for requests, then those for jobs."""
        with self._lock:
            requests = [RuleInForce(one.rule, one.seen, one.applied) for one in self._requests]
            jobs = [RuleInForce(one.rule, one.seen, one.applied) for one in self._jobs]
            return requests + jobs

    def add(self, rule: RequestRule | JobRule) -> None:
        """Put a rule in force; only what comes from now on is counted."""
        with self._lock:
            # A generator for each rule: what one draws does not depend on the others' traffic.
            chances = random.Random(f"{self._seed}:{self._made}")  # noqa: S311 (not a secret)
            self._made += 1
            if isinstance(rule, RequestRule):
                self._requests.append(_Counted(rule, chances))
            else:
                self._jobs.append(_Counted(rule, chances))

    def add_all(self, rules: FaultRules) -> None:
        """Put several rules in force."""
        for request_rule in rules.requests:
            self.add(request_rule)
        for job_rule in rules.jobs:
            self.add(job_rule)

    def clear(self) -> None:
        """Let nothing go wrong any more; the record stays."""
        with self._lock:
            self._requests.clear()
            self._jobs.clear()

    def request(self, face: Face, operation: str, target: str) -> RequestRule | None:
        """Count a request, and give the fault that it shall meet. The caller records it."""

        def matches(rule: RequestRule) -> bool:
            return (
                rule.face == face
                and rule.operation in ("*", operation)
                and re.search(rule.target, target) is not None
            )

        with self._lock:
            return _first_due(self._requests, matches)

    def job(self, description: str, face: Face = "vertex") -> JobRule | None:
        """Count a new job, and give the outcome that it shall have."""

        def matches(rule: JobRule) -> bool:
            return rule.face in (None, face) and re.search(rule.target, description) is not None

        with self._lock:
            return _first_due(self._jobs, matches)

    def record(
        self,
        face: Face,
        operation: str,
        target: str,
        fault: str,
        hidden_status: int | None = None,
    ) -> None:
        """Write down a fault that happened."""
        done = Injection(self._clock.now(), face, operation, target, fault, hidden_status)
        with self._lock:
            self._injected.append(done)
            if self._log is not None:
                # Addresses of uploads and downloads are keys: for the owner only.
                with open(self._log, "ab", opener=_private) as out:
                    out.write(orjson.dumps(asdict(done), option=orjson.OPT_APPEND_NEWLINE))


def _private(file: str, flags: int) -> int:
    return os.open(file, flags, 0o600)


def _first_due(rules: list[_Counted[R]], matches: Callable[[R], bool]) -> R | None:
    due = [one for one in rules if matches(one.rule) and one.due()]
    if not due:
        return None
    due[0].applied += 1
    return due[0].rule
