"""The Cloud Storage face: the JSON API over an `ObjectDisk`, as Google's own clients speak it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator.sandbox.edge.faults import RequestLog, request_log
from orchestrator.sandbox.objects.disk import (
    DEFAULT_CONTENT_TYPE,
    BucketMissing,
    ObjectDisk,
    ObjectMissing,
    PreconditionFailed,
    StoredVersion,
)
from orchestrator.sandbox.storage.downloads import download
from orchestrator.sandbox.storage.listing import list_objects
from orchestrator.sandbox.storage.resumable import ResumableUploads, read_out
from orchestrator.sandbox.storage.uploads import media_upload, multipart_upload
from orchestrator.sandbox.storage.wire import (
    FREE_PROPERTIES,
    ApiError,
    bucket_resource,
    check_bucket_name,
    error_answer,
    header_text,
    integer,
    invalid,
    json_body,
    metadata_of,
    not_served,
    object_name_of,
    object_resource,
    preconditions_of,
)


def storage_app(disk: ObjectDisk) -> Starlette:
    """The face of a disk. `app.state.requests` holds the last requests, oldest first."""
    log = request_log()
    app = Starlette(
        routes=_StorageApi(disk).routes(),
        middleware=[Middleware(RequestLog, log=log)],
        exception_handlers={
            ApiError: _on_error,
            BucketMissing: _on_error,
            ObjectMissing: _on_error,
            PreconditionFailed: _on_error,
            HTTPException: _on_unknown_route,
            ClientDisconnect: _on_disconnect,
        },
    )
    app.router.redirect_slashes = False
    app.state.requests = log
    return app


class _StorageApi:
    """The handlers; each raises the errors of the disk or of the API."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk
        self._resumable = ResumableUploads(disk)

    def routes(self) -> list[Route]:
        """Method and path of everything that is served."""
        bucket = "/storage/v1/b/{bucket}"
        item = bucket + "/o/{object:path}"
        upload = "/upload" + bucket + "/o"
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/storage/v1/b", self.list_buckets),
            ("POST", "/storage/v1/b", self.insert_bucket),
            ("GET", bucket, self.get_bucket),
            ("DELETE", bucket, self.delete_bucket),
            ("GET", bucket + "/storageLayout", self.storage_layout),
            ("GET", bucket + "/iam/testPermissions", self.test_permissions),
            ("GET", bucket + "/o", self.list_objects),
            ("GET", item, self.get_object),
            ("PATCH", item, self.patch_object),
            ("PUT", item, self.patch_object),
            ("DELETE", item, self.delete_object),
            ("GET", "/download" + item, self.get_object),
            ("POST", upload, self.upload),
            ("PUT", upload, self.resume),
            ("DELETE", upload, self.cancel),
        ]
        return [Route(path, handler, methods=[method]) for method, path, handler in table]

    async def list_buckets(self, request: Request) -> Response:
        prefix = request.query_params.get("prefix", "")
        items = [self._bucket(request, n) for n in self._disk.buckets() if n.startswith(prefix)]
        return JSONResponse({"kind": "storage#buckets", "items": items})

    async def insert_bucket(self, request: Request) -> Response:
        name = check_bucket_name((await json_body(request)).get("name"))
        if not self._disk.create_bucket(name):
            message = "The requested bucket name is not available: it exists already."
            raise ApiError(409, "conflict", message)
        return JSONResponse(self._bucket(request, name))

    async def get_bucket(self, request: Request) -> Response:
        return JSONResponse(self._bucket(request, request.path_params["bucket"]))

    async def delete_bucket(self, request: Request) -> Response:
        if not self._disk.delete_bucket(request.path_params["bucket"]):
            raise ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
        return Response(status_code=204)

    async def storage_layout(self, request: Request) -> Response:
        bucket = self._bucket(request, request.path_params["bucket"])
        layout = {
            "kind": "storage#storageLayout",
            "bucket": bucket["name"],
            "location": bucket["location"],
            "locationType": bucket["locationType"],
            "hierarchicalNamespace": {"enabled": False},
        }
        return JSONResponse(layout)

    async def test_permissions(self, request: Request) -> Response:
        self._bucket(request, request.path_params["bucket"])
        granted = request.query_params.getlist("permissions")
        answer = {"kind": "storage#testIamPermissionsResponse", "permissions": granted}
        return JSONResponse(answer)

    async def list_objects(self, request: Request) -> Response:
        page = list_objects(self._disk, request.path_params["bucket"], request.query_params)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.items:
            answer["items"] = [object_resource(request, version) for version in page.items]
        if page.prefixes:
            answer["prefixes"] = list(page.prefixes)
        if page.next_token:
            answer["nextPageToken"] = page.next_token
        return JSONResponse(answer)

    async def get_object(self, request: Request) -> Response:
        if request.query_params.get("alt") == "media":
            return download(request, self._disk)
        bucket, name = request.path_params["bucket"], object_name_of(request)
        version = self._disk.need(bucket, name, integer(request.query_params, "generation"))
        preconditions_of(request.query_params).check(version)
        return JSONResponse(object_resource(request, version))

    async def patch_object(self, request: Request) -> Response:
        body = await json_body(request)
        replaces = request.method == "PUT"
        version = self._disk.update(
            request.path_params["bucket"],
            object_name_of(request),
            lambda old: _changed(old, body, replaces=replaces),
            preconditions_of(request.query_params),
            generation=integer(request.query_params, "generation"),
        )
        return JSONResponse(object_resource(request, version))

    async def delete_object(self, request: Request) -> Response:
        self._disk.delete(
            request.path_params["bucket"],
            object_name_of(request),
            generation=integer(request.query_params, "generation"),
            preconditions=preconditions_of(request.query_params),
        )
        return Response(status_code=204)

    async def upload(self, request: Request) -> Response:
        kind = request.query_params.get("uploadType")
        try:
            if kind == "resumable":
                return await self._resumable.start(request)
            if kind == "media":
                version = await media_upload(request, self._disk)
            elif kind == "multipart":
                version = await multipart_upload(request, self._disk)
            else:
                raise invalid(f"Invalid value for uploadType: {kind!r}")
        finally:
            await read_out(request)
        return JSONResponse(object_resource(request, version))

    async def resume(self, request: Request) -> Response:
        _need_upload_id(request)
        return await self._resumable.resume(request)

    async def cancel(self, request: Request) -> Response:
        _need_upload_id(request)
        return await self._resumable.cancel(request)

    def _bucket(self, request: Request, name: str) -> dict[str, Any]:
        return bucket_resource(request, name, self._disk.bucket_created(name))


def _changed(old: StoredVersion, body: dict[str, Any], *, replaces: bool) -> StoredVersion:
    """The metadata after a patch: null removes, and what is absent stays unless it `replaces`."""
    properties = {} if replaces else dict(old.properties)
    for name in FREE_PROPERTIES:
        if body.get(name) is not None:
            properties[name] = header_text(name, body[name])
        elif name in body:
            properties.pop(name, None)
    content_type = old.content_type
    if "contentType" in body or replaces:
        content_type = header_text("contentType", body.get("contentType") or DEFAULT_CONTENT_TYPE)
    metadata = {} if replaces else dict(old.metadata)
    if "metadata" in body:
        given = body["metadata"]
        if given is None:
            metadata = {}
        elif isinstance(given, dict):
            metadata |= metadata_of({k: v for k, v in given.items() if v is not None})
            metadata = {k: v for k, v in metadata.items() if given.get(k, v) is not None}
        else:
            metadata_of(given)
    return replace(old, content_type=content_type, metadata=metadata, properties=properties)


def _need_upload_id(request: Request) -> None:
    if not request.query_params.get("upload_id"):
        raise ApiError(400, "required", "Required parameter: upload_id")


async def _on_error(request: Request, error: Exception) -> Response:
    return error_answer(request, error)


async def _on_disconnect(request: Request, error: Exception) -> Response:  # noqa: ARG001 (a handler's signature)
    """Nobody reads this answer; without it the server would report a bug."""
    return Response(status_code=499)


async def _on_unknown_route(request: Request, error: Exception) -> Response:
    """A path or method of the real API that is not served says so; it is not a missing object."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status in (404, 405):
        return error_answer(request, not_served(f"{request.method} {request.url.path}"))
    return error_answer(request, ApiError(status, "invalid", str(error)))
