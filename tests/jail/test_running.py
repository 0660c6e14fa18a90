"""What a run gives back, and that nothing of it stays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.jail.limits import Limits
from orchestrator.jail.running import Jail
from orchestrator.jail.verdicts import JailUnavailable, Verdict
from tests.jail.machine import below, jail_or_skip, orphans_adopted

_MIB = 1024**2


@pytest.fixture(scope="module")
def jailed() -> Jail:
    return jail_or_skip()


@pytest.mark.parametrize(
    ("program", "tests", "verdict", "exception"),
    [
        ("def f(): return 1", "assert f() == 1", Verdict.PASSED, ""),
        ("def f(): return 1", "assert f() == 2", Verdict.ASSERTION, ""),
        ("def f(): return g()", "assert f() == 2", Verdict.RAISED, "NameError"),
        ("def f(:", "assert f() == 2", Verdict.SYNTAX, ""),
        ("x = 1\n\0", "assert x", Verdict.SYNTAX, ""),
        ("\ud800", "assert 1", Verdict.SYNTAX, ""),
        ("(" * 10**5, "assert 1", Verdict.SYNTAX, ""),
        ("-" * 10**6 + "1", "assert 1", Verdict.SYNTAX, ""),
        ("def f(): return eval('1 +')", "f()", Verdict.RAISED, "SyntaxError"),
        ("class Odd(Exception): pass", "raise Odd", Verdict.RAISED, ""),
        ("import pip", "assert 1", Verdict.RAISED, "ModuleNotFoundError"),
        ("from __future__ import annotations\nx: y = 1", "assert x == 1", Verdict.PASSED, ""),
        ("import sys; sys.setrecursionlimit(5000)\ndef f(n): return n and f(n - 1)",
         "assert f(3000) == 0", Verdict.PASSED, ""),
        ("from dataclasses import dataclass\n@dataclass\nclass P: x: int",
         "import pickle\nassert pickle.loads(pickle.dumps(P(3))).x == 3", Verdict.PASSED, ""),
        ("import random\nrandom.seed(1)\nx = random.random()",
         "import random\nrandom.seed(1)\nassert x == random.random()", Verdict.PASSED, ""),
        ("from fractions import Fraction",
         "import fractions\nassert type(Fraction(1)) is fractions.Fraction", Verdict.PASSED, ""),
        ("import unittest.mock as m", "from unittest import mock\nassert m is mock",
         Verdict.PASSED, ""),
        ("import unittest.mock\ndef f(): return unittest.mock.Mock(return_value=3)()",
         "import unittest\nassert f() == 3", Verdict.PASSED, ""),
        (("import logging.handlers, sys, io\nsys.stdin = io.StringIO('3')\n"
          "def f(): return logging.handlers.DEFAULT_TCP_LOGGING_PORT * int(input())"),
         "import unittest\nassert f() == 9020 * 3", Verdict.PASSED, ""),
        ("import threading as t\nx = []\nt.Thread(target=x.append, args=(1,)).start()",
         "assert x == [1]", Verdict.PASSED, ""),
    ],
)  # fmt: skip
def test_each_end_has_its_verdict(
    jailed: Jail, program: str, tests: str, verdict: Verdict, exception: str
) -> None:
    outcome = jailed.run(program, tests)
    assert (outcome.verdict, outcome.exception) == (verdict, exception)
    assert outcome.compiled == (verdict is not Verdict.SYNTAX)
    assert outcome.passed == (verdict is Verdict.PASSED)


def test_a_script_reads_its_input_and_is_main(jailed: Jail) -> None:
    program = "if __name__ == '__main__':\n    print(sum(map(int, open(0).read().split())))"
    outcome = jailed.run(program, stdin=b"3 4\n" * 50_000)
    assert (outcome.verdict, outcome.stdout) == (Verdict.PASSED, b"350000\n")


def test_a_library_is_not_main(jailed: Jail) -> None:
    assert jailed.run("ran = __name__ == '__main__'", "assert not ran").passed


def test_output_is_kept_whole_up_to_its_bound(jailed: Jail) -> None:
    limits = Limits(output_bytes=300_000)
    outcome = jailed.run("print('x' * 299_999)", limits=limits)
    assert (outcome.verdict, len(outcome.stdout)) == (Verdict.PASSED, 300_000)
    outcome = jailed.run("print('x' * 300_000)", limits=limits)
    assert (outcome.verdict, len(outcome.stdout)) == (Verdict.OUTPUT, 300_000)


def test_what_is_in_tmp_counts_as_memory(jailed: Jail) -> None:
    fill = "out = open('/tmp/x', 'wb')\nfor _ in range(48): out.write(bytes(2**20))\nout.flush()\n"
    wait = "import threading\nthreading.Event().wait(1)"
    few = jailed.run(fill + wait, limits=Limits(memory_bytes=32 * _MIB, file_bytes=64 * _MIB))
    assert few.verdict is Verdict.MEMORY
    many = jailed.run(fill + wait, limits=Limits(memory_bytes=128 * _MIB, file_bytes=64 * _MIB))
    assert many.verdict is Verdict.PASSED
    assert many.memory_bytes > 48 * _MIB


def test_files_without_content_count_as_memory(jailed: Jail) -> None:
    program = "for n in range(20_000): open(f'/tmp/{n}', 'w').close()\n"
    outcome = jailed.run(program + "import threading\nthreading.Event().wait(1)")
    assert outcome.memory_bytes > 40 * _MIB


def test_what_still_writes_behind_a_pass_does_not_hold_it_up(jailed: Jail) -> None:
    program = (
        "import os, time\nif os.fork() == 0:\n"
        "    while True:\n        os.write(1, b'x')\n        time.sleep(0.001)\n"
    )
    outcome = jailed.run(program, "assert True")
    assert outcome.passed
    assert outcome.seconds < 10


def test_a_jail_ends_with_the_process_that_began_it(jailed: Jail) -> None:
    code = (
        "from orchestrator.jail.available import jail\n"
        "jail()\nprint('ready', flush=True)\n"
        "jail().run('import time; time.sleep(600)')"
    )
    with orphans_adopted():
        before = below(os.getpid())
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            wait = select.poll()
            pids: set[int] = set()
            while len(pids) < 3:  # bubblewrap, the jail's first process, Python
                wait.poll(20)
                pids = below(process.pid)
            holds = [os.pidfd_open(pid) for pid in pids]
            process.send_signal(signal.SIGKILL)
        for hold in holds:
            gone = select.poll()
            gone.register(hold, select.POLLIN)
            assert gone.poll(30_000), "a process of the jail outlived who began it"
            os.close(hold)
        assert below(os.getpid()) <= before


def test_a_jail_that_cannot_be_closed_runs_nothing(jailed: Jail, tmp_path: Path) -> None:
    with pytest.raises(JailUnavailable, match="could not be closed, so nothing was run: bwrap: "):
        Jail(jailed.bwrap, tmp_path / "bin" / "python3").run("x = 1")
    with pytest.raises(JailUnavailable, match="could not be started, so nothing was run"):
        Jail(str(tmp_path / "bwrap"), jailed.python).run("x = 1")


def test_pipes_are_closed_whatever_happens(jailed: Jail) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    jailed.run("x = 1")
    before = opened()
    for program in ("x = 1", "def f(:", "import os; os._exit(1)", "while True: print('x' * 9999)"):
        jailed.run(program, "assert x == 2", limits=Limits(cpu_s=1))
    assert opened() == before
