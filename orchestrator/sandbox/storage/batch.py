"""Several requests in one: `multipart/mixed`, a whole HTTP request in each part."""

from __future__ import annotations

import email.parser
import http
import secrets
from dataclasses import dataclass
from email.message import Message
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Scope
from starlette.types import Message as AsgiMessage

from orchestrator.sandbox.storage.routing import Operation
from orchestrator.sandbox.storage.wire import invalid

MOST_CALLS = 100
_NOT_IN_A_BATCH = ("/upload/", "/download/", "/batch")


@dataclass(frozen=True)
class _Call:
    content_id: str | None
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes


class Batch:
    """Answers a batch; `api` serves each of its calls as if it had come alone."""

    def __init__(self) -> None:
        self.api: ASGIApp | None = None

    def operations(self) -> list[Operation]:
        """What is served."""
        return [
            Operation("storage.batch", "POST", path, self._answer)
            for path in ("/batch/storage/v1", "/batch")
        ]

    async def _answer(self, request: Request) -> Response:
        content_type = request.headers.get("content-type", "")
        calls = _calls(content_type, await request.body())
        boundary = f"batch_{secrets.token_hex(16)}"
        parts = [await self._part(request, call) for call in calls]
        opening = f"--{boundary}\r\n".encode()
        body = b"".join(opening + part + b"\r\n" for part in parts)
        return Response(
            body + f"--{boundary}--\r\n".encode(),
            headers={"content-type": f"multipart/mixed; boundary={boundary}"},
        )

    async def _part(self, request: Request, call: _Call) -> bytes:
        status, headers, body = await self._run(request, call)
        lines = ["Content-Type: application/http"]
        if call.content_id:
            lines.append(f"Content-ID: <response-{call.content_id.strip('<>')}>")
        lines += ["", f"HTTP/1.1 {status} {_phrase(status)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def _run(self, request: Request, call: _Call) -> tuple[int, list[tuple[str, str]], bytes]:
        scope: Scope = dict(request.scope) | {
            "method": call.method,
            "path": call.path,
            "raw_path": call.path.encode(),
            "query_string": call.query.encode(),
            "headers": [
                (b"host", request.headers.get("host", "").encode()),
                (b"authorization", request.headers.get("authorization", "").encode()),
                *((name.lower().encode(), value.encode()) for name, value in call.headers),
            ],
        }
        answered: list[AsgiMessage] = []

        async def receive() -> AsgiMessage:
            return {"type": "http.request", "body": call.body, "more_body": False}

        async def send(message: AsgiMessage) -> None:
            answered.append(message)

        if self.api is None:
            raise RuntimeError("the batch has no API to call")
        await self.api(scope, receive, send)
        headers = [(n.decode(), v.decode("latin-1")) for n, v in answered[0]["headers"]]
        return answered[0]["status"], headers, b"".join(m.get("body", b"") for m in answered[1:])


def _calls(content_type: str, body: bytes) -> list[_Call]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser().parsebytes(head + body)
    parts = message.get_payload() if message.is_multipart() else []
    if not isinstance(parts, list) or not parts:
        raise invalid("Failed to parse batch request: it is not multipart/mixed.")
    if len(parts) > MOST_CALLS:
        raise invalid(
            f"The batch request has {len(parts)} calls; the maximum number of calls is "
            f"{MOST_CALLS}."
        )
    calls = [_call(part) for part in parts if isinstance(part, Message)]
    # Before the first call has an effect.
    if any(_is_transfer(call) for call in calls):
        raise invalid("Uploads and downloads cannot be part of a batch.")
    return calls


def _is_transfer(call: _Call) -> bool:
    is_media = call.method == "GET" and "media" in parse_qs(call.query).get("alt", ())
    return is_media or call.path.startswith(_NOT_IN_A_BATCH)


def _call(part: Message) -> _Call:
    payload = part.get_payload(decode=True)
    text = payload.lstrip() if isinstance(payload, bytes) else b""
    line, _, rest = text.partition(b"\n")
    words = line.decode("latin-1").split()
    if part.get_content_type() != "application/http" or len(words) < 2:
        raise invalid("Failed to parse batch request: a part is not an HTTP request.")
    inner = email.parser.BytesParser().parsebytes(rest)
    content = inner.get_payload(decode=True)
    try:
        target = urlsplit(words[1])
    except ValueError:
        raise invalid(f"Failed to parse batch request: {words[1]!r} is no address.") from None
    return _Call(
        content_id=part["content-id"],
        method=words[0].upper(),
        path=target.path,
        query=target.query,
        headers=[(name, str(value)) for name, value in inner.items()],
        body=content if isinstance(content, bytes) else b"",
    )


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
