"""Faults at the transport edge, against a small app of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from orchestrator.sandbox.edge.faults import (
    FaultRule,
    Faults,
    Injection,
    drop_after,
    error_after,
    error_before,
)
from orchestrator.sandbox.edge.serving import AppServer


@dataclass
class Bell:
    """An app whose effect can be counted."""

    url: str = ""
    rung: list[bytes] = field(default_factory=list)

    async def ring(self, request: Request) -> PlainTextResponse:
        self.rung.append(await request.body())
        return PlainTextResponse("rung", 201)

    def post(self, query: str = "", body: bytes = b"") -> int:
        return requests.post(f"{self.url}/ring{query}", body, timeout=10).status_code


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def faults(bell: Bell) -> Iterator[Faults]:
    faults = Faults(Starlette(routes=[Route("/ring", bell.ring, methods=["GET", "POST"])]))
    with AppServer(faults) as server:
        bell.url = server.url
        yield faults


def test_nothing_happens_without_a_rule(bell: Bell, faults: Faults) -> None:
    assert bell.post() == 201
    assert faults.injected == []


def test_an_error_before_has_no_effect(bell: Bell, faults: Faults) -> None:
    rule = FaultRule("POST", "^/ring", error_before(429))
    faults.add(rule)
    assert bell.post(body=bytes(5 << 20)) == 429
    assert bell.rung == []
    assert faults.injected == [Injection("POST", "/ring", rule.action, None)]
    assert bell.post() == 201


def test_an_error_after_hides_the_answer_and_keeps_the_effect(bell: Bell, faults: Faults) -> None:
    faults.add(FaultRule("POST", "/ring", error_after(503)))
    assert bell.post(body=b"1") == 503
    assert bell.rung == [b"1"]
    assert faults.injected[0].hidden_status == 201


def test_a_dropped_answer_is_a_closed_connection(bell: Bell, faults: Faults) -> None:
    faults.add(FaultRule("POST", "/ring", drop_after()))
    with pytest.raises(requests.ConnectionError):
        bell.post(body=b"1")
    assert bell.rung == [b"1"]
    assert faults.injected[0].hidden_status == 201
    assert bell.post(body=b"2") == 201


def test_a_rule_waits_for_its_turn_and_ends(bell: Bell, faults: Faults) -> None:
    faults.add(FaultRule("POST", "/ring", error_before(500), nth=2, times=2))
    assert [bell.post() for _ in range(5)] == [201, 500, 500, 201, 201]


def test_a_rule_looks_at_the_method_and_at_the_query(bell: Bell, faults: Faults) -> None:
    faults.add(FaultRule("POST", r"\?kind=loud$", error_before(500)))
    assert requests.get(f"{bell.url}/ring?kind=loud", timeout=10).status_code == 201
    assert [bell.post("?kind=quiet"), bell.post("?kind=loud")] == [201, 500]


def test_the_first_rule_that_is_due_decides_and_all_count(bell: Bell, faults: Faults) -> None:
    faults.add(FaultRule("POST", "/ring", error_before(500)))
    faults.add(FaultRule("POST", "/ring", error_before(502), times=2))
    assert [bell.post(), bell.post(), bell.post()] == [500, 502, 201]
