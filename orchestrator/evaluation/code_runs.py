"""Runs programs in the jail, each once, and at most two at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from orchestrator.jail.available import jail
from orchestrator.jail.verdicts import Outcome

AT_ONCE = 2
#: Runs a program and then its tests.
Run = Callable[[str, str], Outcome]
#: A program and its tests.
Programs = tuple[str, str]


class Runs:
    """What came of programs. Those that are known beforehand are run together when one is asked.

    Raises `JailUnavailable` where there is no jail: nothing is run without one.
    """

    def __init__(self, known: Sequence[Programs] = (), run: Run | None = None) -> None:
        self._waiting = list(dict.fromkeys(known))
        self._outcomes: dict[Programs, Outcome] = {}
        self._run = run
        self._lock = threading.Lock()

    def outcome(self, program: str, tests: str) -> Outcome:
        """What came of a program and its tests."""
        asked = (program, tests)
        with self._lock:
            if asked not in self._outcomes:
                together = self._waiting if asked in self._waiting else [asked]
                self._outcomes.update(self._run_all(together))
                if together is self._waiting:
                    self._waiting = []
            return self._outcomes[asked]

    def _run_all(self, programs: Sequence[Programs]) -> dict[Programs, Outcome]:
        run = self._run or jail().run
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="jail")
        try:
            # Nobody reads what they wrote, up to 1 MiB each: of thousands it would fill the memory.
            outcomes = list(pool.map(lambda one: replace(run(*one), stdout=b""), programs))
        finally:
            # After Ctrl-C those that have not begun never do.
            pool.shutdown(cancel_futures=True)
        return dict(zip(programs, outcomes, strict=True))
