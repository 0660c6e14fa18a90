"""A log that grows by being replaced: every line once, whatever the moment of reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import Ambiguous, NotFound
from orchestrator.ledger import Metric
from orchestrator.stores.base import Progress, Put, StoredObject
from orchestrator.training_log import (
    LogReader,
    failure_reason,
    follow,
    latest_loss,
    metric_points,
)
from tests.manual_clock import ManualClock

URI = "gs://bucket/outputs/run/executor/node-0/stdout"


class GrowingStore:
    """One object, in generations: an earlier one cannot be read any more."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content
        self.generation = 1
        self.ranges: list[tuple[int, int]] = []
        self.before_read: Callable[[], None] = lambda: None
        self.unreachable = False

    def write(self, content: bytes) -> None:
        self.content = content
        self.generation += 1

    def append(self, content: bytes) -> None:
        self.write((self.content or b"") + content)

    def pin(self, uri: str) -> str:
        return uri

    def stat(self, uri: str) -> StoredObject | None:
        assert uri == URI
        if self.unreachable:
            raise Ambiguous("no route to the bucket")
        if self.content is None:
            return None
        return StoredObject(uri, len(self.content), "", self.generation)

    def read_range(self, stored: StoredObject, start: int, size_bytes: int) -> bytes:
        before, self.before_read = self.before_read, lambda: None
        before()
        if stored.generation != self.generation or self.content is None:
            raise NotFound("this generation is gone")
        self.ranges.append((start, size_bytes))
        return self.content[start : start + size_bytes]

    def check_writable(self, uri: str) -> None:
        raise NotImplementedError

    def put(self, file: Path, uri: str, progress: Progress | None = None) -> Put:
        raise NotImplementedError

    def get(self, stored: StoredObject, file: Path, progress: Progress | None = None) -> None:
        raise NotImplementedError

    def read(self, uri: str, *, max_bytes: int) -> bytes:
        raise NotImplementedError

    def delete(self, stored: StoredObject) -> bool:
        raise NotImplementedError

    def list(self, prefix: str) -> list[StoredObject]:
        raise NotImplementedError


def reader(store: GrowingStore) -> LogReader:
    return LogReader(store, URI)


def test_each_line_comes_once_and_an_unfinished_one_waits_for_its_end() -> None:
    store = GrowingStore(b"one\ntw")
    log = reader(store)
    assert list(log.new_lines()) == ["one"]
    assert list(log.new_lines()) == []
    store.append(b"o\nthree\n")
    assert list(log.new_lines()) == ["two", "three"]
    assert list(log.rest()) == []
    store.append(b"the end")
    assert list(log.new_lines()) == []
    assert list(log.rest()) == ["the end"]
    assert list(log.rest()) == []


def test_only_what_is_new_is_read() -> None:
    store = GrowingStore(b"0123456789\n" * 10)
    log = reader(store)
    list(log.new_lines())
    store.append(b"new\n")
    store.ranges.clear()
    assert list(log.new_lines()) == ["new"]
    # A few bytes before it tell whether it is still the same log.
    assert store.ranges[-1][0] == 110
    assert sum(min(size, 114 - start) for start, size in store.ranges) <= 4 + 256


def test_a_character_that_is_cut_by_the_end_is_whole_in_the_end() -> None:
    text = "naïve – ünïcode\n".encode()
    store = GrowingStore(text[:3])
    log = reader(store)
    assert list(log.new_lines()) == []
    store.append(text[3:])
    assert list(log.new_lines()) == ["naïve – ünïcode"]


def test_an_object_that_is_replaced_between_look_and_read_is_looked_at_again() -> None:
    store = GrowingStore(b"one\n")
    store.before_read = lambda: store.append(b"two\n")
    assert list(reader(store).new_lines()) == ["one", "two"]


def test_an_object_that_is_replaced_while_its_tail_is_sought_is_looked_at_again() -> None:
    store = GrowingStore(b"one\n")
    store.before_read = lambda: store.append(b"two\n")
    log = reader(store)
    log.skip_to_last(1)
    assert list(log.new_lines()) == ["two"]


def test_an_object_that_is_always_replaced_does_not_hold_up_the_reader() -> None:
    store = GrowingStore(b"one\n")

    def replace() -> None:
        store.append(b"more\n")
        store.before_read = replace

    store.before_read = replace
    assert list(reader(store).new_lines()) == []


def test_a_log_that_was_begun_again_and_is_longer_by_now_is_read_from_its_beginning() -> None:
    store = GrowingStore(b"first try\nof the job\n")
    log = reader(store)
    assert list(log.new_lines()) == ["first try", "of the job"]
    store.write(b"second try\nof the same job\nwhich went further\n")
    assert list(log.new_lines()) == ["second try", "of the same job", "which went further"]


def test_the_tail_of_a_long_log_is_sought_without_keeping_it() -> None:
    store = GrowingStore(b"x" * (5 << 20) + b"\nlast\n")
    log = reader(store)
    log.skip_to_last(2)
    assert sum(map(len, log.new_lines())) == (5 << 20) + 4


def test_a_log_that_was_begun_again_is_read_from_its_beginning() -> None:
    store = GrowingStore(b"first try, a long line\nhalf")
    log = reader(store)
    list(log.new_lines())
    store.write(b"second try\n")
    assert list(log.new_lines()) == ["second try"]


def test_nothing_is_no_error() -> None:
    log = reader(GrowingStore(None))
    assert not log.exists()
    log.skip_to_last(5)
    assert list(log.new_lines()) == list(log.rest()) == []


@pytest.mark.parametrize(
    "content", ["a\nb\nc\nd\n", "a\nb\nc\nd", "a\n\n\nd\n", "", "\n", "x", "\n\n"]
)
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 4, 9])
def test_the_tail_is_that_of_the_lines(content: str, lines: int) -> None:
    log = reader(GrowingStore(content.encode()))
    log.skip_to_last(lines)
    whole = content.removesuffix("\n").split("\n") if content else []
    assert [*log.new_lines(), *log.rest()] == (whole[-lines:] if lines else [])


def test_a_short_tail_of_a_long_log_does_not_read_it_all() -> None:
    store = GrowingStore(b"a line of a log\n" * 1_000_000)
    log = reader(store)
    log.skip_to_last(3)
    assert list(log.new_lines()) == ["a line of a log"] * 3
    assert sum(size for _, size in store.ranges) < 4 << 20


def test_a_line_without_an_end_is_given_in_pieces() -> None:
    bar = b"\r 10%" * 500_000
    store = GrowingStore(bar)
    pieces = [*(log := reader(store)).new_lines(), *log.rest()]
    assert "".join(pieces).encode() == bar
    assert max(map(len, pieces)) <= 2 << 20


def test_following_ends_after_the_attempt_with_its_last_words() -> None:
    store, clock = GrowingStore(b"one\n"), ManualClock()
    states = iter([False, False, True])

    def is_over() -> bool:
        over = next(states)
        if len(clock.sleeps) == 1:
            store.append(b"two\n")
        if over:
            store.append(b"three\nlast words")
        return over

    lines = follow(
        reader(store), is_over, clock=clock, interval_s=5, trouble=lambda _: pytest.fail("trouble")
    )
    assert list(lines) == ["one", "two", "three", "last words"]
    assert clock.sleeps == [5, 5]


def test_following_survives_that_nobody_answers_for_a_while() -> None:
    store, clock = GrowingStore(b"one\n"), ManualClock()
    troubles: list[Ambiguous] = []

    def is_over() -> bool:
        store.unreachable = len(clock.sleeps) in (1, 2)
        if len(clock.sleeps) == 1:
            raise Ambiguous("no route to the service")
        return len(clock.sleeps) > 1

    log = reader(store)
    lines = follow(log, is_over, clock=clock, interval_s=5, trouble=troubles.append)
    assert list(lines) == ["one"]
    assert [str(trouble) for trouble in troubles] == [
        "no route to the service",
        "no route to the bucket",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"event": "log", "loss": 0.5, "step": 18}\n', "loss 0.5 at step 18"),
        ("{'loss': 1.25, 'learning_rate': 1e-4, 'epoch': 0.5}\n", "loss 1.25"),
        ("{'loss': '7.1e-01', 'epoch': '1'}\n", "loss 7.1e-01"),
        ('{"loss": 3.0, "step": 1}\n{"loss": 2.0, "step": 2}\nsaving\n', "loss 2.0 at step 2"),
        ('{"eval_loss": 2.0}\n', None),
        ("nothing of the kind\n", None),
        ("", None),
    ],
)
def test_the_newest_loss_is_found_near_the_end(content: str, said: str | None) -> None:
    assert latest_loss(GrowingStore(content.encode()), URI) == said


def test_a_loss_is_looked_for_in_the_last_bytes_only() -> None:
    store = GrowingStore(b"x" * 100_000 + b'\n{"loss": 0.25}\n')
    assert latest_loss(store, URI) == "loss 0.25"
    assert store.ranges == [(100_016 - 8192, 8192)]
    assert latest_loss(GrowingStore(None), URI) is None


def test_the_events_of_a_training_become_time_series() -> None:
    lines = [
        '{"event": "start", "device": "cpu"}',
        '{"event": "log", "step": 1, "epoch": 0.5, "loss": 2.5, "grad_norm": "nan"}',
        "a warning of some library",
        '{"event": "log", "step": 1, "loss": 2.0}',
        '{"event": "log", "step": 2, "loss": tr',
        '{"event": "log", "step": "two", "loss": 1.0}',
    ]
    assert metric_points(lines) == [Metric("loss", 1, 2.0, None)]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["Traceback", "sft.py: --rank must be at least 1"], "--rank must be at least 1"),
        (['{"event": "failed", "message": "loss is nan"}', "bye"], "loss is nan"),
        (['{"event": "nothing_to_show", "message": "no final/"}'], "no final/"),
        (['{"event": "log", "step": 1}', "other.py: no"], None),
    ],
)
def test_what_a_script_says_of_its_failure_is_found(lines: list[str], reason: str | None) -> None:
    assert failure_reason(lines) == reason
