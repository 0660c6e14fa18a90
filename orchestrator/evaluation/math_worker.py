"""The process that asks math-verify whether two answers are equal, one question a line.

It runs apart because nothing inside a process bounds computer algebra: one power of powers fills
memory inside a single call that no signal interrupts. Here each question has a bound of processor
time (counted in the process, so that a busy machine changes nothing) and the process one of
memory; where the system knows neither (Windows), `math_checking.py` stops the process by the clock.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

#: Processor time for one question: after the first an exception, after the second the end.
SOFT_CPU_S = 3
HARD_CPU_S = 6
MEMORY_BYTES = 2 * 1024**3

EQUAL, DIFFERENT, UNREAD, TOO_LARGE = "equal", "different", "unread", "too large"
EXPECTED_UNREAD = "expected unread"


class _OutOfTime(BaseException):
    """Raised by the timer; above `Exception`, which math-verify catches."""


def main() -> None:
    """Answer questions `{"expected", "said"}` on standard input until it ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    # What libraries print must not pass for an answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.disable(logging.CRITICAL)
    _bound_memory()
    math_verify = importlib.import_module("math_verify")  # it has no types

    answers.write('"ready"\n')
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(math_verify, json.loads(line))) + "\n")
        answers.flush()


def _answer(math_verify: Any, question: dict[str, Any]) -> str:
    _start_timer()
    try:
        return _compare(math_verify, question["expected"], question["said"])
    except (_OutOfTime, MemoryError, RecursionError):
        return TOO_LARGE
    except Exception:
        # Whatever a parser of other people's makes of a model's text, the answer was not read.
        return UNREAD
    finally:
        _stop_timer()


def _compare(math_verify: Any, expected: str, said: str) -> str:
    # Without time limits of its own: those need the main thread's alarm, or a process a call.
    right = math_verify.parse(expected, parsing_timeout=None)
    if not right:
        return EXPECTED_UNREAD
    answer = math_verify.parse(said, parsing_timeout=None)
    if not answer:
        return UNREAD
    return EQUAL if math_verify.verify(right, answer, timeout_seconds=None) else DIFFERENT


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (most, most))
        except (ValueError, OSError):  # a lower limit is there already, or macOS, which has none
            continue


def _start_timer() -> None:
    if not hasattr(signal, "setitimer"):  # Windows
        return
    import resource

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _OutOfTime

    signal.signal(signal.SIGVTALRM, stop)
    # Again every second, as code in between may catch everything.
    signal.setitimer(signal.ITIMER_VIRTUAL, SOFT_CPU_S, 1)
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = int(used.ru_utime + used.ru_stime) + HARD_CPU_S
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or end < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (end, hard))


def _stop_timer() -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


if __name__ == "__main__":
    main()
