"""Objects: listed, looked at, read, changed, removed."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.objects.disk import ObjectDisk, StoredVersion
from orchestrator.sandbox.storage.description import changed
from orchestrator.sandbox.storage.downloads import download
from orchestrator.sandbox.storage.listing import list_objects
from orchestrator.sandbox.storage.resources import object_resource
from orchestrator.sandbox.storage.resumable import ResumableUploads
from orchestrator.sandbox.storage.routing import Operation, read_out
from orchestrator.sandbox.storage.uploads import media_upload, multipart_upload
from orchestrator.sandbox.storage.wire import (
    ApiError,
    check_read,
    flag,
    integer,
    invalid,
    json_answer,
    json_body,
    not_served,
    object_name_of,
    preconditions_of,
)

_INSERT = "storage.objects.insert"


class Objects:
    """The operations on objects, but for those that make one object of others."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk
        self._resumable = ResumableUploads(disk)

    def operations(self) -> list[Operation]:
        """What is served of objects."""
        bucket = "/storage/v1/b/{bucket}/o"
        item = bucket + "/{object}"
        upload = "/upload/storage/v1/b/{bucket}/o"
        read, write = "storage.objects.get", "storage.objects.update"
        create = "storage.objects.create"
        return [
            Operation("storage.objects.list", "GET", bucket, self._list, "storage.objects.list"),
            Operation("storage.objects.get", "GET", item, self._get, read),
            Operation("storage.objects.get", "GET", "/download" + item, self._get, read),
            Operation("storage.objects.patch", "PATCH", item, self._patch, write),
            Operation("storage.objects.update", "PUT", item, self._patch, write),
            Operation(
                "storage.objects.delete", "DELETE", item, self._delete, "storage.objects.delete"
            ),
            Operation(_INSERT, "POST", upload, self._upload, create),
            # The address of a resumable upload is a permission in itself.
            Operation(_INSERT, "PUT", upload, self._resume),
            Operation(_INSERT, "DELETE", upload, self._cancel),
        ]

    async def _list(self, request: Request) -> Response:
        bucket = self._disk.bucket(request.path_params["bucket"])
        page = list_objects(self._disk, bucket.name, request.query_params)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.items:
            answer["items"] = [object_resource(request, version, bucket) for version in page.items]
        if page.prefixes:
            answer["prefixes"] = list(page.prefixes)
        if page.next_token:
            answer["nextPageToken"] = page.next_token
        return json_answer(request, answer)

    async def _get(self, request: Request) -> Response:
        if flag(request.query_params, "softDeleted"):
            raise not_served("soft-deleted objects")
        bucket, name = request.path_params["bucket"], object_name_of(request)
        generation = integer(request.query_params, "generation")
        if request.query_params.get("alt") == "media":
            return download(request, self._disk, bucket, name, generation)
        version = self._disk.need(bucket, name, generation)
        check_read(request, version)
        return self._answer(request, version)

    async def _patch(self, request: Request) -> Response:
        body = await json_body(request)
        bucket = self._disk.bucket(request.path_params["bucket"])
        version = self._disk.update(
            bucket.name,
            object_name_of(request),
            lambda old: changed(
                old, body, request.query_params, bucket, replaces=request.method == "PUT"
            ),
            preconditions_of(request.query_params),
            generation=integer(request.query_params, "generation"),
        )
        return self._answer(request, version)

    async def _delete(self, request: Request) -> Response:
        self._disk.delete(
            request.path_params["bucket"],
            object_name_of(request),
            generation=integer(request.query_params, "generation"),
            preconditions=preconditions_of(request.query_params),
        )
        return Response(status_code=204)

    async def _upload(self, request: Request) -> Response:
        if request.query_params.get("upload_id"):
            # Some clients send their chunks with POST; the service takes both.
            return await self._resume(request)
        kind = request.query_params.get("uploadType")
        if kind == "resumable":
            return await self._resumable.start(request)
        if kind == "media":
            version = await media_upload(request, self._disk)
        elif kind == "multipart":
            version = await multipart_upload(request, self._disk)
        else:
            raise invalid(f"Invalid value for uploadType: {kind!r}")
        await read_out(request)
        return self._answer(request, version)

    async def _resume(self, request: Request) -> Response:
        _need_upload_id(request)
        return await self._resumable.resume(request)

    async def _cancel(self, request: Request) -> Response:
        _need_upload_id(request)
        return await self._resumable.cancel(request)

    def _answer(self, request: Request, version: StoredVersion) -> Response:
        bucket = self._disk.bucket(version.bucket)
        return json_answer(request, object_resource(request, version, bucket))


def _need_upload_id(request: Request) -> None:
    if not request.query_params.get("upload_id"):
        raise ApiError(400, "required", "Required parameter: upload_id")
