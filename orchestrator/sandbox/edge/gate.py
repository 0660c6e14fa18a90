"""Lets in only who has the sandbox's token, and only under a name of this machine."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: The user name that goes with the token in an address; any other is as good.
USER_NAME = "sandbox"
#: Methods that change nothing.
_READS = ("GET", "HEAD", "OPTIONS")
_THIS_MACHINE = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]+)?", re.IGNORECASE)
#: Where the JSON API takes uploads.
_UPLOADS = "/upload/storage/v1/"


class Gate:
    """ASGI middleware. The token comes as a bearer token, as an API key, or in the address.

    With `token` None everyone on this machine is let in. A request under another host name is
    refused even so: a page in a browser could have sent it (DNS rebinding); so is a change that a
    page of somebody else asks for (its form needs no token of ours to be sent). The address of a
    resumable upload (`upload_id`) is a key of its own, as at the real service.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            refusal = None
            if not _THIS_MACHINE.fullmatch(request.headers.get("host", "localhost")):
                refusal = PlainTextResponse("The sandbox serves this machine only.\n", 403)
            elif _from_another_page(request):
                refusal = PlainTextResponse("Pages of other sites may change nothing here.\n", 403)
            elif not (self._token is None or self._admits(request)):
                refusal = PlainTextResponse(
                    "The token of the sandbox is missing or wrong: orchestrator sandbox env\n",
                    401,
                    {"www-authenticate": "Bearer"},
                )
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admits(self, request: Request) -> bool:
        if _has_session(request):
            return True
        given = token_in(
            request.headers.get("authorization", ""), request.headers.get("x-goog-api-key", "")
        )
        return is_token(given, self._token or "")


def _from_another_page(request: Request) -> bool:
    """Whether a browser says that a page of another site sent this to change something."""
    site = request.headers.get("sec-fetch-site", "")
    return site == "cross-site" and request.method not in _READS


def _has_session(request: Request) -> bool:
    """Whether a request is for an upload that was opened before; its address is the key."""
    # Not POST: that would open an upload, or be one, under a key that nobody checks.
    # Only the JSON API's own addresses: elsewhere the query would be a stranger's invention.
    if request.method not in ("PUT", "DELETE") or not request.scope["path"].startswith(_UPLOADS):
        return False
    return bool(parse_qs(request.scope["query_string"]).get(b"upload_id"))


def is_token(given: str | None, token: str) -> bool:
    """Whether what was given is the token, compared in constant time."""
    return given is not None and hmac.compare_digest(given.encode(), token.encode())


def token_in(authorization: str, api_key: str = "") -> str | None:
    """The token of a request: from a Bearer or Basic authorization, or the API key."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    credentials = _basic(authorization)
    return credentials[1] if credentials else (api_key or None)


def public_base(request: Request) -> str:
    """The address of this server as the client wrote it, without a slash at its end.

    A client that keeps the token in the address follows links with that address only.
    """
    base = str(request.base_url).rstrip("/")
    credentials = _basic(request.headers.get("authorization", ""))
    if credentials is None:
        return base
    user, password = (quote(part, safe="") for part in credentials)
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{user}:{password}@{rest}"


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password
