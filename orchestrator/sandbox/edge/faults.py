"""The transport edge of a face: what came in, and what goes wrong on purpose."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG_LENGTH = 100_000


class FaultKind(StrEnum):
    """What goes wrong."""

    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    DROP_AFTER = "drop_after"


@dataclass(frozen=True)
class Action:
    """What happens to a matching request. `status` is the answer of the two errors."""

    kind: FaultKind
    status: int = 503


def error_before(status: int = 503) -> Action:
    """Answer `status`; the request has no effect."""
    return Action(FaultKind.ERROR_BEFORE, status)


def error_after(status: int = 503) -> Action:
    """Let the request have its effect, then answer `status` instead of the real answer."""
    return Action(FaultKind.ERROR_AFTER, status)


def drop_after() -> Action:
    """Let the request have its effect, then close the connection without an answer."""
    return Action(FaultKind.DROP_AFTER)


@dataclass(frozen=True)
class FaultRule:
    """Applies `action` to the `nth` matching request and to `times - 1` after it.

    `target` is a regular expression searched in the path as it was sent, with its query.
    """

    method: str
    target: str
    action: Action
    nth: int = 1
    times: int = 1

    def matches(self, method: str, target: str) -> bool:
        """Whether a request counts for this rule."""
        return method == self.method and re.search(self.target, target) is not None


@dataclass(frozen=True)
class Injection:
    """A fault that happened. `hidden_status` is the answer that the client did not get to see."""

    method: str
    target: str
    action: Action
    hidden_status: int | None


@dataclass(frozen=True)
class LoggedRequest:
    """A request as it was sent; `target` is the path with its query, still percent-encoded."""

    method: str
    target: str


class Faults:
    """ASGI middleware that injects faults by rule; the first rule that is due decides.

    `injected` records every fault in the order in which they happened.
    """

    def __init__(self, app: ASGIApp, rules: Iterable[FaultRule] = ()) -> None:
        self.app = app
        self.injected: list[Injection] = []
        self._lock = threading.Lock()
        self._seen: list[tuple[FaultRule, int]] = [(rule, 0) for rule in rules]

    def add(self, rule: FaultRule) -> None:
        """Inject from now on; only requests from now on are counted."""
        with self._lock:
            self._seen.append((rule, 0))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        action = self._due(scope) if scope["type"] == "http" else None
        if action is None:
            await self.app(scope, receive, send)
            return
        hidden: list[int] = []

        async def swallow(message: Message) -> None:
            if message["type"] == "http.response.start":
                hidden.append(message["status"])

        if action.kind is FaultKind.ERROR_BEFORE:
            await _read_whole(receive)
        else:
            await self.app(scope, receive, swallow)
        self.injected.append(
            Injection(scope["method"], target_of(scope), action, hidden[0] if hidden else None)
        )
        if action.kind is FaultKind.DROP_AFTER:
            await _hang_up(receive, send)
        else:
            await _answer(send, action.status)

    def _due(self, scope: Scope) -> Action | None:
        """Count the request for every rule that it matches."""
        due: Action | None = None
        with self._lock:
            for index, (rule, seen) in enumerate(self._seen):
                if rule.matches(scope["method"], target_of(scope)):
                    self._seen[index] = (rule, seen + 1)
                    if due is None and rule.nth <= seen + 1 < rule.nth + rule.times:
                        due = rule.action
        return due


class RequestLog:
    """ASGI middleware that keeps the last requests."""

    def __init__(self, app: ASGIApp, log: deque[LoggedRequest]) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.log.append(LoggedRequest(scope["method"], target_of(scope)))
        await self.app(scope, receive, send)


def request_log() -> deque[LoggedRequest]:
    """An empty log; the oldest requests fall out of a full one."""
    return deque(maxlen=_LOG_LENGTH)


def target_of(scope: Scope) -> str:
    """The path and query of a request as they were sent."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("latin-1")


async def _read_whole(receive: Receive) -> None:
    """Take the body, so that the client is not still writing when the answer comes."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


async def _answer(send: Send, status: int) -> None:
    # Plain text: the clients of every face can read it.
    body = b"a fault was injected\n"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _hang_up(receive: Receive, send: Send) -> None:
    """Close the connection. ASGI has no message for it, so uvicorn's transport is asked."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        # Under another server: an answer that ends before its announced length.
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]}
        )
        return
    transport.abort()
    # Until the server has noticed, it would send an answer of its own.
    while (await receive())["type"] != "http.disconnect":
        pass
