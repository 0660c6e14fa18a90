"""What is said between the one who runs a program and the program inside; no processes here.

Each step is believed only in its turn, and a pass only with a word that is sent together with the
tests, when the program's own lines have run. Whatever else arrives ends the conversation.
"""

from __future__ import annotations

import builtins
import json
import re
import secrets
import signal
from collections.abc import Mapping
from enum import Enum, auto

from orchestrator.jail.verdicts import Verdict

#: Longer than anything that `inside.py` says.
_LONGEST_LINE = 4096
_BUILT_IN = frozenset(
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
)
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\w[\w.]*)[ \t]+import\b|import[ \t]+(\w[\w., \t]*))", re.MULTILINE
)


class _Turn(Enum):
    READY = auto()
    COMPILED = auto()
    DEFINED = auto()
    PASSED = auto()


class Conversation:
    """Takes what comes through the pipe and says what goes back; has a verdict in the end."""

    def __init__(self, program: str, tests: str, limits: Mapping[str, float]) -> None:
        job = {"program": program, "scripted": not tests, "imports": _imports(tests)}
        self._job = json.dumps({**job, "limits": dict(limits)}).encode("ascii")
        self._tests = tests.encode()
        self._word = secrets.token_hex(16).encode()  # as long as `inside.py` expects
        self._turn = _Turn.READY
        self._rest = b""
        self.verdict: Verdict | None = None
        self.exception = ""

    @property
    def begun(self) -> bool:
        """Whether the program inside was there at all."""
        return self._turn is not _Turn.READY

    @property
    def compiled(self) -> bool:
        """Whether Python could read the program, which is said before any of it runs."""
        return self._turn in (_Turn.DEFINED, _Turn.PASSED)

    def hear(self, data: bytes) -> bytes:
        """Take some bytes; returns what to send back."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(b"")
        answer = b""
        for line in lines:
            if self.verdict is None:
                answer += self._answer(line)
        return answer

    def ended(self, code: int) -> None:
        """Nothing more can come: the jail ended with this exit code, 128 and a signal's number."""
        if self.verdict is None:
            self.verdict = (
                Verdict.TIMEOUT
                if code == 128 + signal.SIGXCPU
                else Verdict.KILLED
                if code > 128 or code < 0
                else Verdict.ENDED_EARLY
            )

    def _answer(self, line: bytes) -> bytes:
        said, _, rest = line.partition(b" ")
        match self._turn, said:
            case _Turn.READY, b"ready":
                self._turn = _Turn.COMPILED
                return _message(self._job)
            case _Turn.COMPILED, b"compiled":
                self._turn = _Turn.DEFINED
            case _Turn.COMPILED, b"unreadable":
                self.verdict = Verdict.SYNTAX
            case _Turn.DEFINED, b"defined":
                self._turn = _Turn.PASSED
                return _message(self._word + self._tests)
            case _Turn.PASSED, b"passed" if secrets.compare_digest(rest, self._word):
                self.verdict = Verdict.PASSED
            case ((_Turn.DEFINED | _Turn.PASSED), b"raised"):
                self._raised(rest.decode("utf-8", "replace"))
            case ((_Turn.DEFINED | _Turn.PASSED), b"memory"):
                self.verdict = Verdict.MEMORY
            case _:
                self.verdict = Verdict.ENDED_EARLY
        return b""

    def _raised(self, name: str) -> None:
        if name == "AssertionError":
            self.verdict = Verdict.ASSERTION
        else:
            self.verdict = Verdict.RAISED
            # A program can name its exceptions as it likes; only Python's own names are passed on.
            self.exception = name if name in _BUILT_IN else ""


def _imports(tests: str) -> list[str]:
    """The modules that tests import by name; one too many does no harm."""
    found = dict[str, None]()
    for single, several in _IMPORT.findall(tests):
        named = (
            [single] if single else [one.split()[0] for one in several.split(",") if one.split()]
        )
        found |= dict.fromkeys(named)
    return list(found)


def _message(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data
