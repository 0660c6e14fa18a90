"""The transport edge of an HTTP face: what came in, and what goes wrong on purpose."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from xml.sax.saxutils import escape

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import Effect, Face, RequestRule
from orchestrator.sandbox.edge.waiting import Waiting

_LOG_LENGTH = 100_000
_BODY = "http.response.body"
_JOBS = re.compile(r"/api/jobs(?=[/?]|$)")


class HttpFaults:
    """ASGI middleware that lets requests of one face go wrong by the rules of a book.

    Bodies stay streams. Every fault is recorded once it has happened or has begun.
    """

    def __init__(self, app: ASGIApp, face: Face, book: FaultBook, clock: SandboxClock) -> None:
        self._app = app
        self._face = face
        self._book = book
        self._waiting = Waiting(clock)

    def close(self) -> None:
        """End all delays and stalls, so that the server can stop."""
        self._waiting.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = None
        if scope["type"] == "http":
            target = target_of(scope)
            rule = self._book.request(self._face_of(target), scope["method"], target)
        if rule is None:
            await self._app(scope, receive, send)
        elif rule.effect in (Effect.ERROR, Effect.DROP, Effect.STALL):
            await self._replace(rule, scope, receive, send)
        elif rule.effect is Effect.DELAY:
            await self._delay(rule, scope, receive, send)
        else:
            await self._damage(rule, scope, receive, send)

    async def _replace(self, rule: RequestRule, scope: Scope, receive: Receive, send: Send) -> None:
        """Another answer than the face's, or none."""
        hidden: list[int] = []

        async def swallow(message: Message) -> None:
            if message["type"] == "http.response.start":
                hidden.append(message["status"])

        if rule.after:
            await self._app(scope, receive, swallow)
        else:
            await _read_whole(receive)
        self._record(rule, scope, hidden[0] if hidden else None)
        if rule.effect is Effect.ERROR:
            await _answer(send, self._face_of(target_of(scope)), target_of(scope), rule)
            return
        if rule.effect is Effect.STALL:
            await self._waiting.until_gone(receive)
        await _hang_up(receive, send, at_once=True)

    async def _delay(self, rule: RequestRule, scope: Scope, receive: Receive, send: Send) -> None:
        """The effect now, the answer later."""
        begun = False

        async def late(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                self._record(rule, scope)
                await self._waiting.pass_s(rule.delay_s)
            await send(message)

        await self._app(scope, receive, late)

    async def _damage(self, rule: RequestRule, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer, but for its end or for one byte."""
        sent_bytes = 0
        done = False

        async def damaging(message: Message) -> None:
            nonlocal sent_bytes, done
            body: bytes = message.get("body", b"") if message["type"] == _BODY else b""
            place = rule.keep_bytes - sent_bytes
            sent_bytes += len(body)
            if done or place >= len(body):
                if not (done and rule.effect is Effect.CUT):
                    await send(message)
                return
            done = True
            self._record(rule, scope)
            if rule.effect is Effect.CUT:
                await send({"type": _BODY, "body": body[:place], "more_body": True})
                _close(send, at_once=False)
            else:
                await send({**message, "body": _one_byte_off(body, place)})

        await self._app(scope, receive, damaging)
        if done and rule.effect is Effect.CUT:
            await _gone(receive)

    def _record(self, rule: RequestRule, scope: Scope, hidden_status: int | None = None) -> None:
        target = target_of(scope)
        face = self._face_of(target)
        self._book.record(face, scope["method"], target, rule.fault, hidden_status)

    def _face_of(self, target: str) -> Face:
        """The face that a request is for: two of them share the Hub's address."""
        return "jobs" if self._face == "hub" and _JOBS.match(target) else self._face


@dataclass(frozen=True)
class LoggedRequest:
    """A request as it was sent; `target` is the path with its query, still percent-encoded."""

    method: str
    target: str


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


async def _answer(send: Send, face: Face, target: str, rule: RequestRule) -> None:
    kind, body = _error_body(face, target, rule)
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if rule.retry_after_s is not None:
        # Whole seconds: the header knows no others.
        headers.append((b"retry-after", str(math.ceil(rule.retry_after_s)).encode()))
    if face in ("hub", "jobs"):
        # On one line: a break in a header would begin another one.
        line = " ".join(rule.message.split())
        headers.append((b"x-error-message", line.encode("latin-1", "replace")))
    await send({"type": "http.response.start", "status": rule.status, "headers": headers})
    await send({"type": _BODY, "body": body})


def _error_body(face: Face, target: str, rule: RequestRule) -> tuple[bytes, bytes]:
    """An error in the form that the face's clients read."""
    if face in ("hub", "jobs"):
        return b"application/json", orjson.dumps({"error": rule.message})
    if face == "storage" and target.startswith(("/storage/", "/upload/", "/batch/")):
        reason = {401: "required", 403: "forbidden", 404: "notFound", 429: "rateLimitExceeded"}
        detail = {
            "message": rule.message,
            "domain": "global",
            "reason": reason.get(rule.status, "backendError" if rule.status >= 500 else "invalid"),
        }
        error = {"code": rule.status, "message": rule.message, "errors": [detail]}
        return b"application/json; charset=UTF-8", orjson.dumps({"error": error})
    if face == "storage" and not target.startswith("/download/"):
        code = {403: "AccessDenied", 404: "NoSuchKey", 429: "SlowDown", 503: "ServiceUnavailable"}
        inner = (
            f"<Code>{code.get(rule.status, 'InternalError')}</Code>"
            f"<Message>{escape(rule.message)}</Message>"
        )
        document = f"<?xml version='1.0' encoding='UTF-8'?><Error>{inner}</Error>"
        return b"application/xml; charset=UTF-8", document.encode()
    # What the service says of downloads, plainly.
    return b"text/plain; charset=utf-8", f"{rule.message}\n".encode()


def _one_byte_off(body: bytes, place: int) -> bytes:
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


async def _hang_up(receive: Receive, send: Send, *, at_once: bool) -> None:
    """Close the connection before an answer has begun."""
    if _close(send, at_once=at_once):
        await _gone(receive)
    else:
        # Under another server: an answer that ends before its announced length.
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


def _close(send: Send, *, at_once: bool) -> bool:
    """Close the connection, `at_once` or after what was sent; false if the server has no way.

    ASGI has no message for it, so uvicorn's transport is asked.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        return False
    if at_once:
        transport.abort()
    else:
        transport.close()
    return True


async def _gone(receive: Receive) -> None:
    """Until the server has noticed: it would send an answer of its own before."""
    while (await receive())["type"] != "http.disconnect":
        pass
