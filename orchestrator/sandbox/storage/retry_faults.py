"""What an instruction of a retry test does to the request that meets it."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Send

from orchestrator.sandbox.edge.waiting import Waiting
from orchestrator.sandbox.storage.routing import read_out

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_BODY = "http.response.body"
_KIB = 1024
#: How much of an answer `return-broken-stream` lets through.
_FEW_BYTES = 4


@dataclass(frozen=True)
class Call:
    """A request on its way to the app; `used` says that its instruction has been followed."""

    app: ASGIApp
    request: Request
    receive: Receive
    send: Send
    used: Callable[[], None]
    waiting: Waiting


class Fault(ABC):
    """One instruction."""

    def applies(self, request: Request) -> bool:  # noqa: ARG002 (most meet any request)
        """Whether this request can meet it; otherwise it waits for the next one."""
        return True

    @abstractmethod
    async def meet(self, call: Call) -> None:
        """Serve the request, but for what goes wrong."""


@dataclass(frozen=True)
class _Status(Fault):
    """An error, and no effect."""

    status: int

    async def meet(self, call: Call) -> None:
        call.used()
        await read_out(call.request)
        await _answer(call, self.status)


class _Reset(Fault):
    """No answer and no effect: the connection is reset."""

    async def meet(self, call: Call) -> None:
        call.used()
        await _hang_up(call, reset=True)


@dataclass(frozen=True)
class _StatusAfter(Fault):
    """An error once so much of an upload has come; what came is kept as after any interruption."""

    status: int
    after_bytes: int

    def applies(self, request: Request) -> bool:
        first = _first_byte(request)
        if first is None:
            return False
        length = request.headers.get("content-length")
        return length is None or first + int(length) >= self.after_bytes

    async def meet(self, call: Call) -> None:
        left = self.after_bytes - (_first_byte(call.request) or 0)
        cut = left <= 0
        is_more = True

        async def receive() -> Message:
            nonlocal left, cut, is_more
            if cut:
                return {"type": "http.disconnect"}
            message = await call.receive()
            is_more = message.get("more_body", False)
            body: bytes = message.get("body", b"")
            cut = len(body) >= left
            kept = body[:left]
            left -= len(kept)
            return {**message, "body": kept, "more_body": True} if cut else message

        async def send(message: Message) -> None:
            if not cut:
                await call.send(message)

        if not cut:
            await call.app(call.request.scope, receive, send)
        if cut:
            call.used()
            if is_more:
                await read_out(call.request)
            await _answer(call, self.status)


@dataclass(frozen=True)
class _Broken(Fault):
    """The connection ends in the middle of the answer."""

    after_bytes: int

    def applies(self, request: Request) -> bool:
        return request.method == "GET"

    async def meet(self, call: Call) -> None:
        left = self.after_bytes
        broken = False

        async def send(message: Message) -> None:
            nonlocal left, broken
            body: bytes = message.get("body", b"") if message["type"] == _BODY else b""
            if broken:
                return
            if len(body) < left or not body:
                left -= len(body)
                await call.send(message)
                return
            broken = True
            call.used()
            await call.send({"type": _BODY, "body": body[:left], "more_body": True})
            _close(call)

        await call.app(call.request.scope, call.receive, send)
        if broken:
            await _gone(call)


class _BrokenAtTheEnd(_Broken):
    """The last chunk of an upload has its effect, and the answer to it is cut off."""

    def applies(self, request: Request) -> bool:
        match = _CONTENT_RANGE.fullmatch(request.headers.get("content-range", ""))
        is_last = match is not None and match[3] != "*" and int(match[2]) + 1 == int(match[3])
        return is_last and "upload_id" in request.query_params


@dataclass(frozen=True)
class _Stall(Fault):
    """Nothing moves for a while, in the middle of an upload or of an answer."""

    stall_s: int
    after_bytes: int

    def applies(self, request: Request) -> bool:
        return request.method == "GET" or _first_byte(request) is not None

    async def meet(self, call: Call) -> None:
        left = self.after_bytes - (_first_byte(call.request) or 0)
        over = False

        async def stall() -> None:
            nonlocal over
            over = True
            call.used()
            await call.waiting.pass_s(self.stall_s)

        async def receive() -> Message:
            nonlocal left
            message = await call.receive()
            left -= len(message.get("body", b""))
            if left <= 0 and not over and call.request.method != "GET":
                await stall()
            return message

        async def send(message: Message) -> None:
            nonlocal left
            is_content = call.request.method == "GET" and message["type"] == _BODY
            body: bytes = message.get("body", b"") if is_content else b""
            if body and not over and len(body) >= left:
                await call.send({"type": _BODY, "body": body[:left], "more_body": True})
                await stall()
                message = {**message, "body": body[left:]}
            left -= len(body)
            await call.send(message)

        await call.app(call.request.scope, receive, send)


_INSTRUCTIONS: list[tuple[str, Callable[..., Fault]]] = [
    (r"return-(\d{3})", _Status),
    (r"return-reset-connection", _Reset),
    (r"return-(\d{3})-after-(\d+)K", lambda status, kib: _StatusAfter(status, kib * _KIB)),
    (r"return-broken-stream", lambda: _Broken(_FEW_BYTES)),
    (r"return-broken-stream-after-(\d+)K", lambda kib: _Broken(kib * _KIB)),
    (r"return-broken-stream-final-chunk-after-(\d+)B", _BrokenAtTheEnd),
    (r"stall-for-(\d+)s-after-(\d+)K", lambda stall_s, kib: _Stall(stall_s, kib * _KIB)),
]


def fault_of(instruction: object) -> Fault | None:
    """What an instruction means; None for one that nobody knows."""
    for pattern, make in _INSTRUCTIONS:
        match = re.fullmatch(pattern, instruction) if isinstance(instruction, str) else None
        if match is not None:
            return make(*map(int, match.groups()))
    return None


def _first_byte(request: Request) -> int | None:
    """Where in the object the body of an upload begins; None for what is no upload."""
    if request.method not in ("PUT", "POST"):
        return None
    match = _CONTENT_RANGE.fullmatch(request.headers.get("content-range", ""))
    if match is not None:
        return int(match[1])
    return None if "content-range" in request.headers else 0


async def _answer(call: Call, status: int) -> None:
    error = {"code": status, "message": f"Retry Test: Caused a {status}"}
    response = JSONResponse({"error": error}, status)
    await response(call.request.scope, call.receive, call.send)


async def _hang_up(call: Call, *, reset: bool) -> None:
    transport = _transport(call)
    if transport is None:
        # Under another server: an answer that ends before its announced length.
        head = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"1")],
        }
        await call.send(head)
        return
    if reset:
        # Closing then discards what is on its way and sends a reset.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    await _gone(call)


def _close(call: Call) -> None:
    transport = _transport(call)
    if transport is not None:
        transport.close()


def _transport(call: Call) -> asyncio.Transport | None:
    """The connection. ASGI has no message to close it, so uvicorn's transport is asked."""
    transport: asyncio.Transport | None
    transport = getattr(getattr(call.receive, "__self__", None), "transport", None)
    return transport


async def _gone(call: Call) -> None:
    """Until the server has noticed: it would send an answer of its own before."""
    while (await call.receive())["type"] != "http.disconnect":
        pass
