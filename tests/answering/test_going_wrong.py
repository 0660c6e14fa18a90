"""Servers that are busy, broken, slow, somebody else, or after the token."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from orchestrator.answering.answers import AnsweringResult, answer_rows
from orchestrator.answering.endpoint import Endpoint
from orchestrator.errors import Ambiguous, InputError, Refused
from tests.answering.server import (
    Body,
    FakeServer,
    asked_in,
    cut_short,
    hung_up,
    said,
    serving,
    status,
    trickling,
)
from tests.manual_clock import ManualClock

TOKEN = "tok-4711-secret"


def answered(
    server: FakeServer,
    folder: Path,
    rows: int = 1,
    *,
    clock: ManualClock | None = None,
    endpoint: Endpoint | None = None,
) -> AnsweringResult:
    file = folder / "rows.jsonl"
    lines = [json.dumps({"prompt": f"q{n}", "completion": "yes"}) for n in range(rows)]
    file.write_text("\n".join(lines) + "\n")
    return answer_rows(
        file,
        endpoint or Endpoint(server.base_url, "router", concurrency=1, token_variable="MY_TOKEN"),
        folder / "answers",
        environment={"MY_TOKEN": TOKEN},
        clock=clock or ManualClock(),
    )


@pytest.mark.parametrize(
    "fault",
    [
        status(429, {"error": {"message": "slow down"}}),
        status(503, raw=b"<html>busy</html>"),
        status(200, raw=b'{"choices": [{"mess'),
        status(200, {"error": {"message": "upstream", "code": 502}}),
        status(200, {"error": "upstream"}),
        status(200, [1]),
        status(200, {"choices": [{"message": None}]}),
        cut_short,
        hung_up,
    ],
)
def test_what_passes_is_asked_again(
    server: FakeServer, tmp_path: Path, fault: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    server.faults.append(fault)
    result = answered(server, tmp_path)
    assert (result.answered, result.paid, len(server.received)) == (1, 1, 2)


def test_the_server_says_how_long_to_wait_and_everybody_does(
    server: FakeServer, tmp_path: Path
) -> None:
    clock = ManualClock()
    server.faults.append(status(429, {"error": {"message": "slow"}}, retry_after="42"))
    answered(server, tmp_path, rows=3, clock=clock)
    assert sum(clock.sleeps) >= 42
    assert len(server.received) == 4


class StandingClock(ManualClock):
    """Time stands still; who sleeps on it is written down by thread."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers: set[str] = set()
        self.two_slept = threading.Event()

    def sleep(self, seconds: float) -> None:
        self.sleepers.add(threading.current_thread().name)
        if len(self.sleepers) > 1:
            self.two_slept.set()


def test_one_who_is_told_to_wait_holds_back_the_others(server: FakeServer, tmp_path: Path) -> None:
    clock = StandingClock()
    server.faults.append(status(429, {"error": {"message": "slow"}}, retry_after="42"))

    def answer(body: Body) -> Body:
        if asked_in(body) == server.questions[0]:  # asked again by the one who was told to wait
            clock.two_slept.wait(5)
        return said("yes", body)

    server.answer = answer
    two = Endpoint(server.base_url, "router", concurrency=2)
    assert answered(server, tmp_path, rows=30, clock=clock, endpoint=two).answered == 30
    assert len(clock.sleepers) == 2


def test_a_server_that_wants_hours_is_not_waited_for(server: FakeServer, tmp_path: Path) -> None:
    clock = ManualClock()
    server.faults.append(status(429, {"error": {"message": "slow"}}, retry_after="9999"))
    with pytest.raises(Ambiguous, match="429: slow"):
        answered(server, tmp_path, clock=clock)
    assert sum(clock.sleeps) == 0
    assert len(server.received) == 1
    server.faults.extend([status(429, {"error": {"message": "slow"}}, retry_after="9999")] * 9)
    with pytest.raises(Ambiguous, match="429: slow"):
        answered(server, tmp_path, rows=9, clock=clock)
    assert sum(clock.sleeps) == 0, "nobody waits in vain for the others"


@pytest.mark.parametrize("in_headers", [True, False])
def test_an_answer_that_trickles_for_ever_ends_with_its_time_and_is_not_paid_for_again(
    server: FakeServer, tmp_path: Path, in_headers: bool
) -> None:
    server.faults.append(trickling(server, in_headers=in_headers))
    slow = Endpoint(server.base_url, "router", concurrency=1, timeout_s=0.4)
    with pytest.raises(Ambiguous, match=r"no whole answer within 0\.4 s"):
        answered(server, tmp_path, endpoint=slow)
    assert len(server.received) == 1
    assert server.let_go.wait(10), "the server was not told that nobody listens any more"


def test_after_a_slow_answer_the_next_one_is_read(server: FakeServer, tmp_path: Path) -> None:
    server.faults.append(trickling(server, in_headers=False))
    slow = Endpoint(server.base_url, "router", concurrency=1, timeout_s=0.5)
    with pytest.raises(Ambiguous, match="1 of 2 questions got no answer"):
        answered(server, tmp_path, rows=2, endpoint=slow)
    assert answered(server, tmp_path, rows=2, endpoint=slow).paid == 1


def test_nobody_listening_is_told_with_the_place(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        port = taken.getsockname()[1]
        server = FakeServer(f"http://127.0.0.1:{port}/v1")
        with pytest.raises(Ambiguous, match=f"nothing answers at 127.0.0.1:{port}"):
            answered(server, tmp_path)


def test_a_redirect_is_not_followed_and_the_token_stays_here(
    server: FakeServer, tmp_path: Path
) -> None:
    with serving() as other:
        for code in (301, 302, 303, 307, 308):
            place = f"{other.base_url}/chat/completions?got={code}"
            server.list_faults.append(status(code, raw=b"", Location=place))
            server.faults.append(status(code, raw=b"", Location=place))
            with pytest.raises(Refused, match=r"sends us on to http://127\.0\.0\.1"):
                answered(server, tmp_path)
        assert other.received == []
    assert len(server.received) == 5


def test_a_web_page_is_not_asked_five_times(server: FakeServer, tmp_path: Path) -> None:
    page = status(200, raw=b"<!DOCTYPE html><h1>Log in</h1>", Content_Type="text/html")
    server.list_faults.append(page)
    server.faults.append(page)
    with pytest.raises(Refused, match="answers with a web page") as caught:
        answered(server, tmp_path)
    assert "/v1" in caught.value.hint
    assert len(server.received) == 1


def test_an_answer_without_end_is_not_read_to_the_end(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.answering.client._MOST_BYTES", 1000)
    server.faults.append(status(200, raw=b"[" * 1001))
    with pytest.raises(Refused, match="answers with more than"):
        answered(server, tmp_path)


def test_the_token_is_sent_and_stands_nowhere_else(
    server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answered(server, tmp_path, rows=2)
    assert [one.headers["Authorization"] for one in server.received] == [f"Bearer {TOKEN}"] * 2
    server.faults.append(status(401, {"error": {"message": f"Incorrect key: {TOKEN}"}}))
    with pytest.raises(Refused, match=r"Incorrect key: \(token\)") as caught:
        answered(server, tmp_path, rows=3)
    assert "MY_TOKEN" in caught.value.hint
    server.faults.append(status(400, {"error": {"message": f"no {TOKEN}"}}))
    assert TOKEN not in str(answered(server, tmp_path, rows=3).refusals)
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert TOKEN.encode() not in written
    assert TOKEN not in caplog.text
    assert TOKEN not in str(caught.value)


def test_without_a_token_none_is_sent(server: FakeServer, tmp_path: Path) -> None:
    answered(server, tmp_path, endpoint=Endpoint(server.base_url, "router"))
    assert "Authorization" not in server.received[0].headers


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert answered(server, tmp_path).answered == 1


# -------------------- the model that is served


def test_a_model_that_the_server_does_not_list_is_refused_before_anything_is_asked(
    server: FakeServer, tmp_path: Path
) -> None:
    server.models = [f"model-{n}" for n in range(7)]
    with pytest.raises(InputError, match="does not serve router") as caught:
        answered(server, tmp_path)
    assert caught.value.hint == (
        "It serves: model-0, model-1, model-2, model-3, model-4 and 2 more."
    )
    assert server.received == []


@pytest.mark.parametrize(
    "fault",
    [
        status(404, {}),
        status(500, raw=b"Internal Server Error"),
        status(200, {"data": "x"}),
        status(200, {"data": []}),
        status(200, raw=b"<html></html>"),
    ],
)
def test_a_server_without_a_list_is_asked_all_the_same_with_a_warning(
    server: FakeServer, tmp_path: Path, fault: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    server.list_faults.append(fault)
    result = answered(server, tmp_path)
    assert result.answered == 1
    assert any("gives no list of models" in one for one in result.warnings)


def test_a_list_that_wants_a_token_says_so(server: FakeServer, tmp_path: Path) -> None:
    server.list_faults.append(status(401, {"error": {"message": "who are you?"}}))
    with pytest.raises(Refused, match="who are you"):
        answered(server, tmp_path)
    assert server.received == []


def test_an_answer_of_another_model_stops_and_can_be_allowed_without_paying_again(
    server: FakeServer, tmp_path: Path
) -> None:
    server.answer = lambda body: said("yes", body) | {"model": "some-base"}
    with pytest.raises(InputError, match="asked for router, and some-base answered") as caught:
        answered(server, tmp_path, rows=3)
    assert "name it so: some-base" in caught.value.hint
    allowed = Endpoint(server.base_url, "router", answers_as="some-base", concurrency=1)
    assert answered(server, tmp_path, rows=3, endpoint=allowed).models == ("some-base",)
    assert server.questions == ["q0", "q1", "q2"]


def test_answers_of_another_model_are_asked_again_once_the_right_one_is_there(
    server: FakeServer, tmp_path: Path
) -> None:
    server.faults.append(status(200, said("no", {"model": "some-base"})))
    with pytest.raises(InputError, match="some-base answered"):
        answered(server, tmp_path)
    result = answered(server, tmp_path)
    assert (result.paid, result.models) == (1, ("router",))


def test_answers_under_several_names_are_told(server: FakeServer, tmp_path: Path) -> None:
    dated = said("yes", {"model": "router-2026-01-31"})
    server.faults.append(status(200, dated))
    result = answered(server, tmp_path, rows=2)
    assert any("under 2 names: router, router-2026-01-31" in one for one in result.warnings)


def test_answers_that_cannot_be_kept_are_not_asked_for(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("a file in the way")
    with pytest.raises(InputError) as caught:
        answered(server, tmp_path, rows=20)
    assert "answers" in caught.value.message
    assert server.received == []
