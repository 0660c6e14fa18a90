"""Answers carry the date of the sandbox's clock.

The Hub's client compares it with the times of a log: of a log that is not followed it shows what
was written before the answer. uvicorn's own date is the machine's, and up to two seconds old.
"""

from __future__ import annotations

from email.utils import format_datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.clock import Clock


class Dated:
    """ASGI middleware: a `Date` for every answer (RFC 9110)."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            send = _DatedSend(send, self._clock).send
        await self._app(scope, receive, send)


class _DatedSend:
    def __init__(self, send: Send, clock: Clock) -> None:
        self._send = send
        self._clock = clock
        #: uvicorn's, if it is uvicorn: faults close it.
        self.transport = getattr(getattr(send, "__self__", None), "transport", None)

    async def send(self, message: Message) -> None:
        """Pass on, with the date where an answer begins."""
        if message["type"] == "http.response.start":
            date = format_datetime(self._clock.now(), usegmt=True).encode("ascii")
            message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
        await self._send(message)
