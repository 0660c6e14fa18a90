"""Faults that a test of a client orders in advance, by the protocol of Google's storage testbench.

A client under test sends `x-retry-test-id` with every request; each one that asks for the operation
whose turn it is takes the next instruction from the list. The README of
github.com/googleapis/storage-testbench describes the instructions.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.clock import Clock
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.waiting import Waiting
from orchestrator.sandbox.storage.retry_faults import Call, fault_of
from orchestrator.sandbox.storage.routing import raw_path, read_out
from orchestrator.sandbox.storage.wire import ApiError, error_answer, invalid, json_body, not_served

_HEADER = b"x-retry-test-id"
_PATH = re.compile(r"/retry_tests?(?:/([0-9a-f]+))?/?")


@dataclass
class _RetryTest:
    """The instructions of one test by operation; those that are used up are gone."""

    instructions: dict[str, list[str]]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def resource(self) -> dict[str, object]:
        return {
            "id": self.id,
            "instructions": self.instructions,
            "completed": not any(self.instructions.values()),
            "transport": "HTTP",
        }


class RetryTests:
    """ASGI middleware. `operation_of` names the operation that a request asks for."""

    def __init__(
        self, app: ASGIApp, operation_of: Callable[[Scope], str | None], clock: Clock
    ) -> None:
        self._app = app
        self._operation_of = operation_of
        sandbox_clock = clock if isinstance(clock, SandboxClock) else SandboxClock(clock)
        self._waiting = Waiting(sandbox_clock)
        self._lock = threading.Lock()
        self._tests: dict[str, _RetryTest] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        match = _PATH.fullmatch(raw_path(scope))
        test_id = dict(scope["headers"]).get(_HEADER, b"").decode("latin-1")
        if match is None and not test_id:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            if match is None:
                await self._meet(request, test_id, receive, send)
                return
            response = await self._manage(request, match[1])
        except ApiError as error:
            await read_out(request)
            response = error_answer(request, error)
        await response(scope, receive, send)

    async def _meet(self, request: Request, test_id: str, receive: Receive, send: Send) -> None:
        operation = self._operation_of(request.scope) or ""
        with self._lock:
            waiting = self._need(test_id).instructions.get(operation)
            fault = fault_of(waiting[0]) if waiting else None
        if fault is None or not fault.applies(request):
            await self._app(request.scope, receive, send)
            return

        def used() -> None:
            with self._lock:
                waiting = self._need(test_id).instructions[operation]
                if waiting:
                    waiting.pop(0)

        await fault.meet(Call(self._app, request, receive, send, used, self._waiting))

    async def _manage(self, request: Request, test_id: str | None) -> Response:
        if request.method == "POST" and test_id is None:
            return JSONResponse(self._add(await json_body(request)))
        with self._lock:
            if request.method == "GET" and test_id is None:
                tests = [test.resource() for test in self._tests.values()]
                return JSONResponse({"retry_test": tests})
            if request.method == "GET":
                return JSONResponse(self._need(test_id).resource())
            if request.method == "DELETE" and test_id is not None:
                del self._tests[self._need(test_id).id]
                return JSONResponse({})
        raise not_served(f"{request.method} {request.url.path}")

    def _add(self, body: Mapping[str, object]) -> dict[str, object]:
        if body.get("transport", "HTTP") != "HTTP":
            raise not_served("retry tests of another transport than HTTP")
        given = body.get("instructions")
        if not isinstance(given, dict):
            raise invalid("The retry test has no instructions.")
        for instructions in given.values():
            for instruction in instructions if isinstance(instructions, list) else [None]:
                if fault_of(instruction) is None:
                    raise invalid(f"The instruction {instruction!r} is not known.")
        test = _RetryTest({name: list(instructions) for name, instructions in given.items()})
        with self._lock:
            self._tests[test.id] = test
        return test.resource()

    def _need(self, test_id: str | None) -> _RetryTest:
        test = self._tests.get(test_id or "")
        if test is None:
            raise ApiError(404, "notFound", f"There is no retry test {test_id}.")
        return test
