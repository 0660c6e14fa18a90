"""The Cloud Storage face: the JSON API over an `ObjectDisk`, as Google's own clients speak it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from orchestrator.sandbox.edge.faults import RequestLog, request_log
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.access_lists import access_list_operations
from orchestrator.sandbox.storage.batch import Batch
from orchestrator.sandbox.storage.buckets import Buckets
from orchestrator.sandbox.storage.copying import Copying
from orchestrator.sandbox.storage.hmac_keys import HmacKeys
from orchestrator.sandbox.storage.iam import Iam
from orchestrator.sandbox.storage.notifications import Notifications
from orchestrator.sandbox.storage.objects import Objects
from orchestrator.sandbox.storage.retry_tests import RetryTests
from orchestrator.sandbox.storage.routing import JsonApi
from orchestrator.sandbox.storage.wire import ApiError, error_answer, not_served
from orchestrator.sandbox.storage.xml_app import xml_routes

_JSON_PATHS = ("/storage/v1", "/upload/storage/v1", "/download/storage/v1", "/batch")


def storage_app(disk: ObjectDisk, *, permissions: frozenset[str] | None = None) -> Starlette:
    """The face of a disk. `app.state.requests` holds the last requests, oldest first.

    `permissions` is what callers may do, by IAM's names (`storage.objects.get`); None: everything.
    """
    api = json_api(disk, permissions)
    routes = [Route(path + rest, api) for path in _JSON_PATHS for rest in ("", "/{rest:path}")]
    routes += xml_routes(disk, permissions)
    log = request_log()
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestLog, log=log),
            Middleware(
                RetryTests,
                operation_of=lambda scope: _operation_of(scope, api, routes),
                clock=disk.clock,
            ),
        ],
        exception_handlers={HTTPException: _on_unknown_route},
    )
    app.router.redirect_slashes = False
    app.state.requests = log
    return app


def json_api(disk: ObjectDisk, permissions: frozenset[str] | None = None) -> JsonApi:
    """The operations of the JSON API over a disk."""
    batch = Batch()
    api = JsonApi(
        [
            *Buckets(disk).operations(),
            *Objects(disk).operations(),
            *Copying(disk).operations(),
            *access_list_operations(disk),
            *Iam(disk, permissions).operations(),
            *Notifications(disk).operations(),
            *HmacKeys(disk).operations(),
            *batch.operations(),
        ],
        permissions,
    )
    batch.api = api
    return api


def _operation_of(scope: Scope, api: JsonApi, routes: list[Route]) -> str | None:
    """The name of the operation that a request asks for; other faces name their routes so."""
    found = api.find(scope)
    if found is not None:
        return found[0].name
    for route in routes:
        if route.app is not api and route.matches(scope)[0] is Match.FULL:
            return route.name
    return None


async def _on_unknown_route(request: Request, error: Exception) -> Response:
    """A path or method of the real API that is not served says so; it is not a missing object."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status in (404, 405):
        return error_answer(request, not_served(f"{request.method} {request.url.path}"))
    return error_answer(request, ApiError(status, "invalid", str(error)))
