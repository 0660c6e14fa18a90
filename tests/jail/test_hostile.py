"""Hostile programs: each gets its verdict, and the machine is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.jail.limits import Limits
from orchestrator.jail.running import Jail
from orchestrator.jail.verdicts import Verdict
from tests.jail.hostile import ALL, ENDED_BY_THE_CLOCK, FORGED, Hostile
from tests.jail.machine import SECRET, Machine, jail_or_skip, machine

_MIB = 1024**2
#: Small, so that what must run into a bound does so soon.
LIMITS = Limits(
    cpu_s=1, wall_s=20.0, memory_bytes=192 * _MIB, process_memory_bytes=256 * _MIB, processes=16
)


@pytest.fixture(scope="module")
def jailed() -> Jail:
    return jail_or_skip()


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with machine() as found:
        yield found


@pytest.mark.parametrize("name", list(ALL))
def test_a_hostile_program_is_contained(jailed: Jail, around: Machine, name: str) -> None:
    hostile = ALL[name]
    # What would never end is stopped soon, and at once what would sleep; what ends by itself may
    # take its time on a busy machine.
    at_once = name in ENDED_BY_THE_CLOCK
    endless = Verdict.TIMEOUT in hostile.contained_by
    limits = replace(LIMITS, wall_s=0.5 if at_once else 2.5) if endless else LIMITS
    outcome = jailed.run(_placed(hostile, around), hostile.tests, limits=limits)
    assert outcome.verdict in hostile.contained_by
    assert outcome.exception in {"", hostile.exception}
    assert outcome.compiled
    assert outcome.seconds < limits.wall_s + 10
    around.assert_unharmed()


def test_there_are_more_than_forty_of_them() -> None:
    assert len(ALL) - len(FORGED) >= 40


def _placed(hostile: Hostile, around: Machine) -> str:
    known = {
        "{port}": str(around.port),
        "{abstract!r}": repr(around.abstract),
        "{canary!r}": repr(str(around.canary)),
        "{home!r}": repr(str(Path.home())),
        "{secret!r}": repr(SECRET),
    }
    program = hostile.program
    for mark, value in known.items():
        program = program.replace(mark, value)
    return program
