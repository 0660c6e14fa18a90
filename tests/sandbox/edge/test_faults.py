"""Faults at the transport edge, against a small app of their own, through `requests`."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.faults import HttpFaults
from orchestrator.sandbox.edge.rules import Face, RequestRule
from orchestrator.sandbox.edge.serving import AppServer
from tests.manual_clock import ManualClock

BLOCKS = [bytes([number]) * 70_000 for number in range(4)]
PATIENCE_S = 20


@dataclass
class Bell:
    """An app whose effect can be counted, with its faults; its clock stands still."""

    url: str = ""
    rung: list[bytes] = field(default_factory=list)
    book: FaultBook = field(default_factory=FaultBook)
    clock: SandboxClock = field(default_factory=lambda: SandboxClock(ManualClock()))
    edge: HttpFaults | None = None
    #: Set to let a stream go on after its first block.
    go_on: threading.Event = field(default_factory=threading.Event)

    async def ring(self, request: Request) -> PlainTextResponse:
        self.rung.append(await request.body())
        return PlainTextResponse("rung", 201)

    async def stream(self, request: Request) -> StreamingResponse:
        async def blocks() -> AsyncIterator[bytes]:
            for number, block in enumerate(BLOCKS):
                if number == 1 and "wait" in request.query_params:
                    from starlette.concurrency import run_in_threadpool

                    await run_in_threadpool(self.go_on.wait, PATIENCE_S)
                yield block

        headers = {"content-length": str(sum(map(len, BLOCKS)))}
        return StreamingResponse(blocks(), headers=headers)

    def fault(self, operation: str, target: str, **rule: Any) -> RequestRule:
        """Put a rule in force."""
        made = RequestRule(face="storage", operation=operation, target=target, **rule)
        self.book.add(made)
        return made

    def post(self, query: str = "", body: bytes = b"", timeout_s: float = PATIENCE_S) -> int:
        return requests.post(f"{self.url}/ring{query}", body, timeout=timeout_s).status_code

    @property
    def happened(self) -> list[tuple[str, int | None]]:
        """What went wrong, and what the client did not get to see."""
        return [(one.fault, one.hidden_status) for one in self.book.injected]


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    routes = [
        Route("/ring", bell.ring, methods=["GET", "POST"]),
        Route("/storage/ring", bell.ring, methods=["POST"]),
        Route("/stream", bell.stream),
    ]
    bell.edge = HttpFaults(Starlette(routes=routes), "storage", bell.book, bell.clock)
    server = AppServer(bell.edge)
    bell.url = server.url
    with server:
        yield bell
        bell.edge.close()


def test_nothing_happens_without_a_rule(bell: Bell) -> None:
    assert bell.post() == 201
    assert bell.happened == []


def test_an_error_before_has_no_effect(bell: Bell) -> None:
    bell.fault("POST", "^/ring", status=429)
    assert bell.post(body=bytes(5 << 20)) == 429
    assert bell.rung == []
    assert bell.happened == [("error 429", None)]
    (injection,) = bell.book.injected
    assert (injection.face, injection.operation, injection.target) == ("storage", "POST", "/ring")
    assert bell.post() == 201


def test_an_error_after_hides_the_answer_and_keeps_the_effect(bell: Bell) -> None:
    bell.fault("POST", "/ring", after=True)
    assert bell.post(body=b"1") == 503
    assert bell.rung == [b"1"]
    assert bell.happened == [("error 503 after the effect", 201)]


@pytest.mark.parametrize(("asked_s", "said"), [(0, "0"), (7, "7"), (1.2, "2")])
def test_an_error_says_when_to_come_back_if_asked_to(bell: Bell, asked_s: float, said: str) -> None:
    bell.fault("POST", "/ring", retry_after_s=asked_s)
    answer = requests.post(f"{bell.url}/ring", timeout=PATIENCE_S)
    assert answer.headers["retry-after"] == said
    bell.fault("POST", "/ring")
    answer = requests.post(f"{bell.url}/ring", timeout=PATIENCE_S)
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("face", "path", "told"),
    [
        ("storage", "/storage/ring", lambda answer: answer.json()["error"]["message"]),
        ("storage", "/download/ring", lambda answer: answer.text.strip()),
        ("storage", "/bucket/ring", lambda answer: re.findall("<Message>(.*?)<", answer.text)[0]),
        ("hub", "/ring", lambda answer: answer.json()["error"]),
        ("hub", "/ring", lambda answer: answer.headers["x-error-message"]),
    ],
    ids=["storage api", "download", "storage xml", "hub body", "hub header"],
)
def test_an_error_is_worded_for_the_clients_of_its_face(face: Face, path: str, told: Any) -> None:
    book = FaultBook()
    book.add(RequestRule(face=face, message="too busy", status=429))
    with AppServer(HttpFaults(Starlette(), face, book, SandboxClock())) as server:
        answer = requests.post(f"{server.url}{path}", timeout=PATIENCE_S)
    assert answer.status_code == 429
    assert told(answer) == "too busy"


@pytest.mark.parametrize("after", [True, False])
def test_a_dropped_answer_is_a_closed_connection(bell: Bell, after: bool) -> None:
    bell.fault("POST", "/ring", effect="drop", after=after)
    with pytest.raises(requests.ConnectionError):
        bell.post(body=b"1")
    assert bell.rung == ([b"1"] if after else [])
    assert bell.happened == ([("drop after the effect", 201)] if after else [("drop", None)])
    assert bell.post(body=b"2") == 201


def test_a_delayed_answer_comes_when_the_clock_is_moved(bell: Bell) -> None:
    bell.fault("POST", "/ring", effect="delay", delay_s=3600)
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(bell.post(body=b"late")))
    waiting.start()
    # The base clock stands still: only the hour that passes here can end the wait.
    while not bell.happened:
        waiting.join(0.01)
    bell.clock.advance(3599)
    waiting.join(0.1)
    assert answers == []
    assert bell.rung == [b"late"]  # the effect came at once
    bell.clock.advance(1)
    waiting.join(PATIENCE_S)
    assert answers == [201]
    assert bell.happened == [("delay of 3600 s", None)]


def test_a_delay_passes_by_itself_on_a_clock_that_runs() -> None:
    bell, clock = Bell(), SandboxClock()
    bell.fault("POST", "/ring", effect="delay", delay_s=0.05)
    app = Starlette(routes=[Route("/ring", bell.ring, methods=["POST"])])
    with AppServer(HttpFaults(app, "storage", bell.book, clock)) as server:
        bell.url = server.url
        before_s = clock.elapsed_s()
        assert bell.post() == 201
        assert clock.elapsed_s() - before_s >= 0.05


@pytest.mark.parametrize("after", [True, False])
def test_a_stalled_request_ends_with_the_clients_own_patience(bell: Bell, after: bool) -> None:
    bell.fault("POST", "/ring", effect="stall", after=after)
    with pytest.raises(requests.ReadTimeout):
        bell.post(body=b"1", timeout_s=0.2)
    assert bell.rung == ([b"1"] if after else [])
    assert bell.happened == ([("stall after the effect", 201)] if after else [("stall", None)])
    assert bell.post() == 201


def test_a_server_that_stops_ends_its_stalls_and_delays(bell: Bell) -> None:
    bell.fault("POST", "stall", effect="stall")
    bell.fault("POST", "delay", effect="delay", delay_s=10**6)
    ends: list[object] = []

    def post(query: str) -> None:
        try:
            ends.append(bell.post(query))
        except requests.ConnectionError:
            ends.append("closed")

    threads = [threading.Thread(target=post, args=(f"?{name}",)) for name in ("stall", "delay")]
    for thread in threads:
        thread.start()
    while len(bell.happened) < 2:
        threads[0].join(0.01)
    assert bell.edge is not None
    bell.edge.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(map(str, ends)) == ["201", "closed"]


@pytest.mark.parametrize("keep_bytes", [0, 1, 70_000, 150_001])
def test_a_body_is_cut_where_the_rule_says(bell: Bell, keep_bytes: int) -> None:
    bell.fault("GET", "/stream", effect="cut", keep_bytes=keep_bytes)
    answer = requests.get(f"{bell.url}/stream", stream=True, timeout=PATIENCE_S)
    assert answer.status_code == 200
    received = bytearray()

    def read() -> None:
        for byte in answer.iter_content(1):
            received.extend(byte)

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        read()
    assert received == b"".join(BLOCKS)[:keep_bytes]
    assert bell.happened == [(f"cut after {keep_bytes} bytes", None)]
    assert requests.get(f"{bell.url}/stream", timeout=PATIENCE_S).content == b"".join(BLOCKS)


@pytest.mark.parametrize("place", [0, 69_999, 70_000, 279_999])
def test_one_byte_of_a_body_is_changed(bell: Bell, place: int) -> None:
    bell.fault("GET", "/stream", effect="corrupt", keep_bytes=place)
    whole = b"".join(BLOCKS)
    received = requests.get(f"{bell.url}/stream", timeout=PATIENCE_S).content
    assert len(received) == len(whole)
    assert [at for at in range(len(whole)) if received[at] != whole[at]] == [place]
    assert bell.happened == [(f"byte {place} changed", None)]


@pytest.mark.parametrize("effect", ["cut", "corrupt"])
def test_a_body_that_is_shorter_is_left_alone_and_nothing_is_recorded(
    bell: Bell, effect: str
) -> None:
    bell.fault("GET", "/stream", effect=effect, keep_bytes=280_000)
    assert requests.get(f"{bell.url}/stream", timeout=PATIENCE_S).content == b"".join(BLOCKS)
    assert bell.happened == []


@pytest.mark.parametrize(
    "rule",
    [
        {"effect": "corrupt", "keep_bytes": 100_000},
        {"effect": "cut", "keep_bytes": 100_000},
        {"effect": "delay", "delay_s": 0},
    ],
    ids=["corrupt", "cut", "delay"],
)
def test_a_body_stays_a_stream_on_its_way_through(bell: Bell, rule: dict[str, Any]) -> None:
    bell.fault("GET", "/stream", **rule)
    answer = requests.get(f"{bell.url}/stream?wait", stream=True, timeout=PATIENCE_S)
    # The app waits before its second block: what comes was not held back for the rest.
    assert answer.raw.read(70_000) == BLOCKS[0]
    bell.go_on.set()
    assert answer.raw.read(30_000) == BLOCKS[1][:30_000]
    answer.close()


def test_a_rule_waits_for_its_turn_and_ends(bell: Bell) -> None:
    bell.fault("POST", "/ring", status=500, nth=2, times=2)
    assert [bell.post() for _ in range(5)] == [201, 500, 500, 201, 201]


def test_a_rule_looks_at_the_method_and_at_the_query(bell: Bell) -> None:
    bell.fault("POST", r"\?kind=loud$", status=500)
    assert requests.get(f"{bell.url}/ring?kind=loud", timeout=PATIENCE_S).status_code == 201
    assert [bell.post("?kind=quiet"), bell.post("?kind=loud")] == [201, 500]


def test_a_rule_for_another_face_does_not_apply(bell: Bell) -> None:
    bell.book.add(RequestRule(face="hub"))
    assert bell.post() == 201


def test_the_first_rule_that_is_due_decides_and_all_count(bell: Bell) -> None:
    bell.fault("POST", "/ring", status=500)
    bell.fault("POST", "/ring", status=502, times=2)
    assert [bell.post(), bell.post(), bell.post()] == [500, 502, 201]
    assert [(one.seen, one.applied) for one in bell.book.rules] == [(3, 1), (3, 1)]


def test_the_same_seed_and_requests_give_the_same_faults() -> None:
    from orchestrator.sandbox.edge.rules import FaultPlan

    def faults(seed: int) -> list[int]:
        rule = RequestRule(face="storage", chance=0.5, times=None)
        bell = Bell(book=FaultBook(FaultPlan(seed=seed, requests=(rule,))))
        app = Starlette(routes=[Route("/ring", bell.ring, methods=["POST"])])
        with AppServer(HttpFaults(app, "storage", bell.book, bell.clock)) as server:
            bell.url = server.url
            return [bell.post() for _ in range(24)]

    first = faults(1)
    assert faults(1) == first
    assert {201, 503} == set(first)
    assert faults(2) != first


def test_a_message_of_several_lines_is_one_header() -> None:
    message = "the Hub is down\r\nset-cookie: planted=1\r\n"
    book = FaultBook()
    book.add(RequestRule(face="hub", message=message))
    edge = HttpFaults(Starlette(), "hub", book, SandboxClock(ManualClock()))
    with AppServer(edge) as server:
        answer = requests.get(server.url, timeout=PATIENCE_S)
    assert answer.status_code == 503
    assert answer.headers["x-error-message"] == "the Hub is down set-cookie: planted=1"
    assert answer.json() == {"error": message}
    assert "set-cookie" not in answer.headers
