"""What came of a program in the jail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import OrchestratorError


class Verdict(StrEnum):
    """How a run ended. Only `PASSED` says that all tests were reached and held."""

    PASSED = "passed"
    ASSERTION = "assertion failed"
    RAISED = "raised"
    SYNTAX = "syntax error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "too much output"
    ENDED_EARLY = "ended early"
    KILLED = "killed"


@dataclass(frozen=True)
class Outcome:
    """One run.

    `exception` is the name of a built-in exception where the verdict is `RAISED`, and empty for one
    that the program made up. `compiled` says whether Python could read the program. `stdout` is the
    beginning of what it wrote, `seconds` are by the clock, `memory_bytes` the most that was seen.
    """

    verdict: Verdict
    compiled: bool
    exception: str = ""
    stdout: bytes = b""
    seconds: float = 0.0
    memory_bytes: int = 0

    @property
    def passed(self) -> bool:
        """Whether all tests held."""
        return self.verdict is Verdict.PASSED


class JailUnavailable(OrchestratorError):
    """There is no jail on this machine, so nothing was run."""

    exit_code = 2
