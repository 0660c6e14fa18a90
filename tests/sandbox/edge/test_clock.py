"""The clock of a sandbox: it runs with the machine's, and hours pass at once on request."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.errors import InputError
from orchestrator.sandbox.edge.clock import SandboxClock
from tests.manual_clock import START, ManualClock


def test_it_shows_its_base_until_it_is_moved() -> None:
    base = ManualClock()
    clock = SandboxClock(base)
    assert (clock.now(), clock.elapsed_s(), clock.ahead_s) == (START, 1000.0, 0.0)
    clock.advance(90)
    base.advance(10)
    assert (clock.now() - START).total_seconds() == 100
    assert (clock.elapsed_s(), clock.ahead_s) == (1100.0, 90.0)


def test_over_the_machines_clock_it_runs() -> None:
    clock = SandboxClock(SYSTEM_CLOCK)
    before_s = clock.elapsed_s()
    clock.sleep(0.02)
    assert 0.02 <= clock.elapsed_s() - before_s < 10


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_never_goes_back_or_to_its_end(seconds: float) -> None:
    clock = SandboxClock(ManualClock())
    with pytest.raises(ValueError, match="cannot pass"):
        clock.advance(seconds)
    assert clock.ahead_s == 0


def test_who_sleeps_wakes_when_enough_time_has_passed() -> None:
    clock = SandboxClock(ManualClock())
    awake = threading.Event()

    def sleep() -> None:
        clock.sleep(60)
        awake.set()

    sleeper = threading.Thread(target=sleep, daemon=True)
    sleeper.start()
    clock.advance(30)
    assert not awake.wait(0.05)
    # However much of it the sleeper saw: an hour is more than it waits for.
    clock.advance(3600)
    assert awake.wait(20)
    sleeper.join(20)


def test_listeners_are_told_after_each_move() -> None:
    clock = SandboxClock(ManualClock())
    seen: list[float] = []
    clock.on_advance(lambda: seen.append(clock.ahead_s))
    clock.advance(5)
    clock.advance(7)
    assert seen == [5.0, 12.0]


def test_how_far_it_was_moved_outlives_a_restart(tmp_path: Path) -> None:
    base, file = ManualClock(), tmp_path / "clock.json"
    before = SandboxClock(base, file)
    before.advance(7200)
    before.advance(0.5)
    assert SandboxClock(base, file).now() == before.now()
    assert SandboxClock(base, tmp_path / "another.json").ahead_s == 0


@pytest.mark.parametrize("content", ["", "{}", "3", '{"ahead_s": "far"}', '{"ahead_s": null}'])
def test_a_file_that_does_not_say_how_far_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "clock.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"clock\.json does not say how far"):
        SandboxClock(ManualClock(), file)
