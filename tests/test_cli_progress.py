"""What is drawn while something takes long, and what Ctrl-C means meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from orchestrator.cli import progress
from orchestrator.cli.interrupts import Interrupts
from orchestrator.cli.printing import duration
from orchestrator.cli.progress import Display, Waiting
from orchestrator.progress import SILENT, Reporter
from tests.manual_clock import START, ManualClock


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    with Interrupts() as made:
        yield made


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class TestInterrupts:
    def test_ctrl_c_stops_at_once(self, interrupts: Interrupts) -> None:
        interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()

    def test_it_reaches_other_threads_at_their_next_question(self, interrupts: Interrupts) -> None:
        raised: list[BaseException] = []
        asked, go_on = threading.Event(), threading.Event()

        def work() -> None:
            try:
                interrupts.check()
                asked.set()
                go_on.wait(10)
                interrupts.check()
            except KeyboardInterrupt as error:
                raised.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        asked.wait(10)
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
        go_on.set()
        thread.join(10)
        assert len(raised) == 1

    def test_it_reaches_them_though_it_did_not_wake_the_main_thread(
        self, interrupts: Interrupts
    ) -> None:
        raised: list[BaseException] = []
        waiting, ended = threading.Event(), threading.Event()

        def work() -> None:
            waiting.wait(10)
            signal.raise_signal(signal.SIGINT)  # comes to this thread: the other one sleeps on
            try:
                interrupts.check()
            except KeyboardInterrupt as error:
                raised.append(error)
            ended.set()

        def wait() -> None:
            waiting.set()
            ended.wait(10)

        thread = threading.Thread(target=work)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            wait()
        thread.join(10)
        assert len(raised) == 1

    def test_the_first_one_waits_where_an_answer_is_awaited(
        self, interrupts: Interrupts, capfd: pytest.CaptureFixture[str]
    ) -> None:
        done: list[str] = []

        def ask() -> None:
            with interrupts.held_back("the answer"):
                press_ctrl_c()
                interrupts.check()
                done.append("answered")

        with pytest.raises(KeyboardInterrupt):
            ask()
        assert done == ["answered"]
        assert "waiting for the answer; Ctrl-C again stops at once" in capfd.readouterr().err

    def test_the_second_one_does_not_wait(self, interrupts: Interrupts) -> None:
        done: list[str] = []

        def ask() -> None:
            with interrupts.held_back("the answer"):
                press_ctrl_c()
                done.append("first")
                press_ctrl_c()
                done.append("second")

        with pytest.raises(KeyboardInterrupt):
            ask()
        assert done == ["first"]

    def test_an_error_inside_stays_that_error(self, interrupts: Interrupts) -> None:
        with pytest.raises(ValueError, match="odd"), interrupts.held_back("the answer"):
            raise ValueError("odd")

    def test_who_ignores_ctrl_c_goes_on_ignoring_it(self) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with Interrupts() as made:
                press_ctrl_c()
                made.check()
        finally:
            signal.signal(signal.SIGINT, before)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_command_that_must_clean_up_takes_the_other_endings_too(
        self, number: signal.Signals
    ) -> None:
        before = signal.signal(number, signal.SIG_DFL)  # nohup leaves SIGHUP ignored
        try:
            with Interrupts(ending=True), pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)  # to this thread: another one would make it late
            assert signal.getsignal(number) is signal.SIG_DFL
        finally:
            signal.signal(number, before)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_afterwards_python_takes_it_again(self) -> None:
        with Interrupts():
            pass
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class TestWithoutATerminal:
    def test_nothing_is_drawn_and_rich_is_not_even_imported(
        self, interrupts: Interrupts, capfd: pytest.CaptureFixture[str]
    ) -> None:
        clock = ManualClock()
        display = Display(interrupts, clock=clock)
        with display.transfer("staging", 10) as moved:
            moved(10)
        display.pause([Waiting("a run", START)], 30)
        assert capfd.readouterr() == ("", "")
        assert clock.sleeps == [30]

    def test_what_lasts_is_told_in_lines_now_and_then(
        self,
        interrupts: Interrupts,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        clock, told = ManualClock(), threading.Event()
        monkeypatch.setattr(progress, "_TOLD_EVERY_S", 0.001)
        display = Display(interrupts, clock=clock)
        tell = display.tell

        def heard(line: str) -> None:
            tell(line)
            told.set()

        monkeypatch.setattr(display, "tell", heard)
        with display.waiting("the model learns"):
            clock.sleep(65)
            assert told.wait(30)
        assert "the model learns: 1 m 05 s so far\n" in capfd.readouterr().err

    def test_a_transfer_still_ends_on_ctrl_c(self, interrupts: Interrupts) -> None:
        display = Display(interrupts)
        with display.transfer("staging", 10) as moved:
            with pytest.raises(KeyboardInterrupt):
                press_ctrl_c()
            with pytest.raises(KeyboardInterrupt):
                moved(1)


class _Terminal:
    """Standard error that says that it is a terminal, and keeps what was written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def fileno(self) -> int:
        return 2


def a_screen(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    """Not a fixture: pytest sets the streams anew when a test begins."""
    made = _Terminal()
    monkeypatch.setattr("sys.stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return made


class TestOnATerminal:
    def test_a_transfer_is_a_bar_with_its_size(
        self, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        screen = a_screen(monkeypatch)
        with Display(interrupts).transfer("staging", 2_000_000) as moved:
            moved(2_000_000)
        assert "staging" in screen.written
        assert "2.0/2.0 MB" in screen.written

    def test_waiting_shows_the_state_and_since_when(
        self, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        screen = a_screen(monkeypatch)
        clock = ManualClock()
        since = clock.now() - timedelta(minutes=3, seconds=20)
        runs = [Waiting("20260101-a  RUNNING  loss 0.5 at step 18", since)]
        Display(interrupts, clock=clock).pause(runs, 5)
        assert "20260101-a  RUNNING  loss 0.5 at step 18" in screen.written
        assert "3 m 2" in screen.written
        assert clock.sleeps == [5]

    def test_many_runs_do_not_fill_the_screen(
        self, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        screen = a_screen(monkeypatch)
        runs = [Waiting(f"run-{number}", None) for number in range(20)]
        Display(interrupts, clock=ManualClock()).pause(runs, 1)
        assert "run-7" in screen.written
        assert "run-8" not in screen.written
        assert "… and 12 more" in screen.written

    @pytest.mark.parametrize("quiet", [True, False])
    def test_for_programs_and_dumb_terminals_nothing_is_drawn(
        self,
        interrupts: Interrupts,
        monkeypatch: pytest.MonkeyPatch,
        quiet: bool,
    ) -> None:
        screen = a_screen(monkeypatch)
        if not quiet:
            monkeypatch.setenv("TERM", "dumb")
        display = Display(interrupts, quiet=quiet)
        with display.transfer("staging", 10) as moved:
            moved(10)
        assert screen.written == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (200, "3 m 20 s"),
        (3600, "1 h 00 m"),
        (4 * 3600 + 320, "4 h 05 m"),
        (86_399, "23 h 59 m"),
        (12 * 86_400 + 5, "12 d"),
    ],
)
def test_a_time_span_is_short(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_nobody_need_look(capfd: pytest.CaptureFixture[str]) -> None:
    reporter: Reporter = SILENT
    with reporter.unbroken("an answer"), reporter.transfer("staging", 5) as moved:
        moved(5)
    assert capfd.readouterr() == ("", "")
