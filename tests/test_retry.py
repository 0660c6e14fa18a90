"""Request retries: for lost answers only, capped in attempts and in time, patient when asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.errors import (
    Ambiguous,
    Conflict,
    Corrupt,
    InputError,
    NotFound,
    RefusalKind,
    Refused,
)
from orchestrator.retry import retry_request
from tests.manual_clock import ManualClock


class Request:
    """Fails with the given errors, one after the other, then answers."""

    def __init__(self, *errors: BaseException, duration_s: float = 0.0) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.clock = ManualClock()
        self._duration_s = duration_s

    def __call__(self) -> str:
        self.calls += 1
        self.clock.advance(self._duration_s)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def lost(times: int) -> list[Ambiguous]:
    return [Ambiguous(f"lost {number}") for number in range(1, times + 1)]


def test_a_request_that_succeeds_is_sent_once_and_waits_for_nothing() -> None:
    request = Request()
    assert retry_request(request, clock=request.clock) == "answer"
    assert (request.calls, request.clock.sleeps) == (1, [])


def test_lost_answers_are_asked_for_again() -> None:
    request = Request(*lost(3))
    assert retry_request(request, clock=request.clock) == "answer"
    assert request.calls == 4


def test_waits_grow_and_carry_jitter() -> None:
    request = Request(*lost(4))
    retry_request(request, clock=request.clock)
    waits = request.clock.sleeps
    assert all(
        least <= wait <= least + 0.5 for least, wait in zip([0.5, 1, 2, 4], waits, strict=True)
    )


def test_two_clients_do_not_wait_equally_long() -> None:
    waits = set()
    for _ in range(10):
        request = Request(*lost(1))
        retry_request(request, clock=request.clock)
        waits.add(request.clock.sleeps[0])
    assert len(waits) > 1


def test_a_single_wait_is_never_longer_than_eight_seconds() -> None:
    request = Request(*lost(9))
    retry_request(request, attempts=10, total_s=1000, clock=request.clock)
    assert max(request.clock.sleeps) <= 8.0


def test_attempts_are_capped_and_the_last_error_is_raised() -> None:
    request = Request(*lost(9))
    with pytest.raises(Ambiguous, match="lost 3"):
        retry_request(request, attempts=3, clock=request.clock)
    assert request.calls == 3
    assert len(request.clock.sleeps) == 2


def test_total_time_is_capped_and_no_wait_ends_after_it() -> None:
    request = Request(*lost(99))
    started_s = request.clock.elapsed_s()
    with pytest.raises(Ambiguous):
        retry_request(request, attempts=99, total_s=20.0, clock=request.clock)
    assert 5 <= request.calls < 10
    assert request.clock.elapsed_s() - started_s <= 20.0


def test_the_time_that_the_requests_take_counts() -> None:
    request = Request(*lost(99), duration_s=11.0)
    with pytest.raises(Ambiguous):
        retry_request(request, attempts=99, total_s=20.0, clock=request.clock)
    assert request.calls == 2


def test_retry_after_is_honoured() -> None:
    request = Request(Ambiguous("busy", retry_after_s=17.0), *lost(1))
    assert retry_request(request, clock=request.clock) == "answer"
    assert request.clock.sleeps[0] == 17.0
    assert request.clock.sleeps[1] < 2.0


def test_a_short_retry_after_does_not_shorten_our_own_wait() -> None:
    request = Request(Ambiguous("busy", retry_after_s=0.001))
    retry_request(request, clock=request.clock)
    assert request.clock.sleeps[0] >= 0.5


def test_a_retry_after_beyond_the_total_time_is_not_waited_for() -> None:
    request = Request(Ambiguous("busy", retry_after_s=3600.0))
    with pytest.raises(Ambiguous, match="busy"):
        retry_request(request, total_s=60.0, clock=request.clock)
    assert (request.calls, request.clock.sleeps) == (1, [])


@pytest.mark.parametrize(
    "make",
    [
        *[lambda kind=kind: Refused("no", kind=kind, retry_after_s=1.0) for kind in RefusalKind],
        lambda: NotFound("no"),
        lambda: Conflict("no"),
        lambda: Corrupt("no"),
        lambda: InputError("no"),
        lambda: ValueError("no"),
        lambda: KeyboardInterrupt("no"),
    ],
)
def test_anything_but_a_lost_answer_is_raised_at_once(make: Callable[[], BaseException]) -> None:
    error = make()
    request = Request(error)
    with pytest.raises(type(error), match="no") as caught:
        retry_request(request, clock=request.clock)
    assert caught.value is error
    assert (request.calls, request.clock.sleeps) == (1, [])


def test_a_refusal_after_a_lost_answer_ends_the_retries() -> None:
    request = Request(*lost(1), NotFound("gone"))
    with pytest.raises(NotFound, match="gone"):
        retry_request(request, clock=request.clock)
    assert request.calls == 2
