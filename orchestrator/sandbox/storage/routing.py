"""Which operation of the JSON API a request asks for, and who answers it.

Paths are matched as they were sent: a slash in an object's name travels as %2F, so that
`o/a%2Facl` is an object and `o/a/acl` its access list.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.sandbox.objects.versions import (
    BucketMissing,
    ObjectMissing,
    PreconditionFailed,
    Protected,
)
from orchestrator.sandbox.storage.wire import ApiError, error_answer, not_served

Handler = Callable[[Request], Awaitable[Response]]

_ETAG_CONDITIONS = {"if-match", "if-none-match"}
_ERRORS = (ApiError, BucketMissing, ObjectMissing, PreconditionFailed, Protected)


@dataclass(frozen=True)
class Operation:
    """A method of the API by its own name, such as `storage.objects.get`.

    `path` has `{names}` in place of whole segments. `permission` is what the caller needs.
    """

    name: str
    method: str
    path: str
    handle: Handler
    permission: str | None = None


class JsonApi:
    """ASGI app of the operations. `permissions` is what callers may do; None is everything."""

    def __init__(
        self, operations: Iterable[Operation], permissions: frozenset[str] | None = None
    ) -> None:
        self._permissions = permissions
        self._table: dict[tuple[str, int], list[tuple[list[str], Operation]]] = {}
        for operation in operations:
            segments = operation.path.split("/")
            key = (operation.method, len(segments))
            self._table.setdefault(key, []).append((segments, operation))

    def find(self, scope: Scope) -> tuple[Operation, dict[str, str]] | None:
        """The operation that a request asks for, and the names in its path."""
        sent = raw_path(scope).split("/")
        method = _method(scope).replace("HEAD", "GET")
        for segments, operation in self._table.get((method, len(sent)), ()):
            pairs = list(zip(segments, sent, strict=True))
            if all(name == value or name.startswith("{") for name, value in pairs):
                return operation, {
                    name[1:-1]: unquote(value) for name, value in pairs if name.startswith("{")
                }
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = dict(scope) | {"method": _method(scope)}
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            # Nobody reads this answer; without it the server would report a bug.
            response = Response(status_code=499)
        except _ERRORS as error:
            await read_out(request)
            response = error_answer(request, error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        check_utf8(request.scope)
        found = self.find(request.scope)
        if found is None:
            raise not_served(f"{request.method} {request.url.path}")
        operation, request.scope["path_params"] = found
        if "x-goog-encryption-algorithm" in request.headers:
            raise not_served("encryption keys of the customer")
        if request.method != "GET" and not _ETAG_CONDITIONS.isdisjoint(request.headers.keys()):
            # Ignoring one could replace what the client wants to keep.
            raise not_served("entity tags as conditions of writes; generations are")
        if self._permissions is not None and operation.permission is not None:
            self._need(operation.permission)
        return await operation.handle(request)

    def _need(self, permission: str) -> None:
        if permission not in (self._permissions or ()):
            raise ApiError(
                403,
                "forbidden",
                f"The caller does not have {permission} access to the Google Cloud Storage "
                f"resource. Permission '{permission}' denied on resource (or it may not exist).",
            )


def raw_path(scope: Scope) -> str:
    """The path of a request as it was sent, still percent-encoded."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.split(b"?", 1)[0].decode("latin-1")


def check_utf8(scope: Scope) -> None:
    """Refuse what is no text; it would be taken for another name."""
    try:
        for sent in (raw_path(scope), scope["query_string"]):
            unquote_to_bytes(sent).decode()
    except UnicodeDecodeError:
        raise ApiError(400, "invalid", "Names and parameters are UTF-8.") from None


async def read_out(request: Request) -> None:
    """Take what is left of the body, so that the client can read the answer."""
    # Starlette raises RuntimeError for a body that was taken to its end.
    with contextlib.suppress(RuntimeError, ClientDisconnect):
        async for _ in request.stream():
            pass


def _method(scope: Scope) -> str:
    """The method, which clients behind proxies may send in a header of a POST."""
    if scope["method"] == "POST":
        for name, value in scope["headers"]:
            if name == b"x-http-method-override":
                return str(value.decode("latin-1").upper())
    return str(scope["method"])
