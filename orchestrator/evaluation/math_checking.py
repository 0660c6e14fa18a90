"""Whether two mathematical answers are equal by math-verify, within bounds of time and memory.

math-verify (Hugging Face, 0.9) reads LaTeX and plain expressions and compares them with SymPy. It
is asked in a process of its own (`math_worker.py`) that is started with the first question, serves
all threads in turn, ends with this one, and is replaced when an answer was too much for it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import queue
import re
import subprocess
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import IO

from orchestrator.errors import InputError
from orchestrator.evaluation import math_worker

#: By the clock, for systems without limits of processor time; elsewhere those come long before.
ANSWER_TIMEOUT_S = 60.0
START_TIMEOUT_S = 300.0
#: What is longer, or nested deeper, is no final answer.
LONGEST = 2000
DEEPEST = 40
#: Numbers that no answer needs and no machine has room for: powers of powers, huge exponents,
#: factorials of five digits.
_ENORMOUS = re.compile(
    r"""(?:\^|\*\*)\s*[({]*\s*-?[\d,. ]+[)}]*\s*(?:\^|\*\*|!)   # 9^9^9, 9^{9^9}, 9**(9!)
      | (?:\^|\*\*)\s*[({]*\s*-?\d[\d,]{4,}                     # 10^100000
      | \d[\d,]{4,}[\s)}]*!                                     # 100000!
      | ![\s)}]*!.*\d | \d\s*!\s*!\s*!                          # factorials of factorials
    """,
    re.VERBOSE,
)


class Verdict(StrEnum):
    """What came of comparing what was said with what is right."""

    EQUAL = math_worker.EQUAL
    DIFFERENT = math_worker.DIFFERENT
    UNREAD = math_worker.UNREAD
    TOO_LARGE = math_worker.TOO_LARGE
    EXPECTED_UNREAD = math_worker.EXPECTED_UNREAD


def compare(expected: str, said: str) -> Verdict:
    """Whether what was said is equal to what is right, both as math-verify reads them.

    `InputError` where math-verify is not installed. Any text gets a verdict within about six
    seconds of processor time and 2 GiB (Linux; on Windows a minute and no bound of memory).
    """
    return _WORKER.ask(expected, said)


def is_reasonable(text: str) -> bool:
    """Whether a text is short, flat and small enough to be worth reading as an expression."""
    if len(text) > LONGEST or _ENORMOUS.search(text):
        return False
    depth = deepest = 0
    for letter in text:
        depth += (letter in "{([") - (letter in "})]")
        deepest = max(deepest, depth)
    return deepest <= DEEPEST


class _Worker:
    """The process, and the thread that reads from it; asked by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def ask(self, expected: str, said: str) -> Verdict:
        with self._lock:
            process = self._started()
            question = json.dumps({"expected": expected, "said": said}) + "\n"
            try:
                assert process.stdin is not None  # noqa: S101 (for the type checker: it is a pipe)
                process.stdin.write(question.encode("ascii"))
                process.stdin.flush()
                line = self._answers.get(timeout=ANSWER_TIMEOUT_S)
            except (queue.Empty, OSError):
                line = b""
            except BaseException:  # Ctrl-C: this answer must not be taken for the next one's
                self._stop()
                raise
            if not line:
                self._stop()
                return Verdict.TOO_LARGE
            return Verdict(json.loads(line))

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        if importlib.util.find_spec("math_verify") is None:
            raise InputError(
                "answers of mathematics are compared by math-verify, which is not installed",
                hint="pip install 'orchestrator[evaluation]'",
            )
        package = Path(math_worker.__file__).parents[2]
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator.evaluation.math_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._answers = queue.SimpleQueue()
        threading.Thread(
            target=_read, args=(self._process.stdout, self._answers), daemon=True
        ).start()
        try:
            ready = self._answers.get(timeout=START_TIMEOUT_S)
        except queue.Empty:
            ready = b""
        if not ready:
            self._stop()
            raise InputError(
                "math-verify could not be started: its process ended before it was ready",
                hint="try `python -m orchestrator.evaluation.math_worker` to see what it says",
            )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._stop()


def _read(answers: IO[bytes] | None, to: queue.SimpleQueue[bytes]) -> None:
    """Hand over each line of a process, and an empty one at its end."""
    if answers is not None:
        with answers:
            for line in answers:
                to.put(line)
    to.put(b"")


_WORKER = _Worker()


def close() -> None:
    """End the process that compares; the next question starts another."""
    _WORKER.close()


atexit.register(close)
if hasattr(os, "register_at_fork"):
    # A child of fork must not share the pipes of its parent.
    os.register_at_fork(after_in_child=_WORKER.__init__)  # type: ignore[misc]  # starts it anew
