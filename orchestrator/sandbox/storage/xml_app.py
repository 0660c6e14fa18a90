"""The XML API of Cloud Storage: `/bucket` and `/bucket/object` on the host of the JSON API."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.sandbox.objects.disk import (
    BucketMissing,
    ObjectDisk,
    ObjectMissing,
    PreconditionFailed,
    Protected,
)
from orchestrator.sandbox.storage.routing import check_utf8, read_out
from orchestrator.sandbox.storage.wire import ApiError
from orchestrator.sandbox.storage.xml_listing import list_bucket
from orchestrator.sandbox.storage.xml_multipart import MultipartUploads
from orchestrator.sandbox.storage.xml_objects import XmlObjects
from orchestrator.sandbox.storage.xml_parts import UploadMissing
from orchestrator.sandbox.storage.xml_wire import XmlError, error_answer, key_of, not_served

_BUCKET, _OBJECT = "/{bucket}", "/{bucket}/{object:path}"
#: Path, method, and the operation of the JSON API that does the same.
_ROUTES = (
    (_BUCKET, "GET", "storage.objects.list"),
    (_BUCKET, "HEAD", "storage.buckets.get"),
    (_OBJECT, "GET", "storage.objects.get"),
    (_OBJECT, "HEAD", "storage.objects.get"),
    (_OBJECT, "PUT", "storage.objects.insert"),
    (_OBJECT, "POST", "storage.objects.insert"),
    (_OBJECT, "DELETE", "storage.objects.delete"),
)
#: Parts of a bucket or object that a query names: such a request is not about the content.
_SUBRESOURCES = re.compile(
    "acl|billing|compose|cors|customPlacementConfig|defaultObjectAcl|delete|encryption"
    "|encryptionConfig|ipFilter|legal-hold|lifecycle|location|logging|notification"
    "|notificationConfig|object-lock|policy|publicAccessBlock|restore|retention|storageClass"
    "|storageLayout|tagging|uploadId|upload_id|uploads|versioning|versions|website"
)

_Handler = Callable[[Request], Awaitable[Response]]

_ERRORS = (ApiError, XmlError, BucketMissing, ObjectMissing, PreconditionFailed, Protected)


def xml_routes(disk: ObjectDisk, permissions: frozenset[str] | None = None) -> list[Route]:
    """The routes; put them behind those of the JSON API.

    `permissions` is what callers may do, by IAM's names; None: everything.
    """
    api = _XmlApi(disk, permissions)
    return [_XmlRoute(path, api.answer, method=method, name=name) for path, method, name in _ROUTES]


class _XmlRoute(Route):
    """Matches names with line ends too: they are refused in the API's own words."""

    def __init__(self, path: str, endpoint: _Handler, *, method: str, name: str) -> None:
        super().__init__(path, endpoint, methods=[method], name=name)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)


class _XmlApi:
    """Finds the handler of a request, and puts what it raises into the API's words."""

    def __init__(self, disk: ObjectDisk, permissions: frozenset[str] | None) -> None:
        self._disk = disk
        self._permissions = permissions
        objects, uploads = XmlObjects(disk), MultipartUploads(disk)
        #: By method and subresource: what the caller must be allowed to do, and who answers.
        self._of_bucket: dict[tuple[str, str], tuple[str, _Handler]] = {
            ("GET", ""): ("objects.list", self._list),
            ("HEAD", ""): ("buckets.get", self._describe_bucket),
            ("GET", "uploads"): ("multipartUploads.list", uploads.list_uploads),
        }
        self._of_object: dict[tuple[str, str], tuple[str, _Handler]] = {
            ("GET", ""): ("objects.get", objects.read),
            ("HEAD", ""): ("objects.get", objects.read),
            ("PUT", ""): ("objects.create", objects.write),
            ("DELETE", ""): ("objects.delete", objects.delete),
            ("POST", "uploads"): ("multipartUploads.create", uploads.begin),
            ("PUT", "uploadId"): ("multipartUploads.create", uploads.put_part),
            ("POST", "uploadId"): ("multipartUploads.create", uploads.complete),
            ("DELETE", "uploadId"): ("multipartUploads.abort", uploads.abort),
            ("GET", "uploadId"): ("multipartUploads.listParts", uploads.list_parts),
        }

    async def answer(self, request: Request) -> Response:
        """Any request of the API."""
        try:
            check_utf8(request.scope)
            return await self._handler(request)(request)
        except UploadMissing:
            message = "The requested upload was not found."
            error: Exception = XmlError(404, "NoSuchUpload", message)
        except ClientDisconnect:
            # Nobody reads this answer; without it the server would report a bug.
            return Response(status_code=499)
        except _ERRORS as raised:
            error = raised
        await read_out(request)
        return error_answer(request, error)

    def _handler(self, request: Request) -> _Handler:
        table = self._of_object if key_of(request) else self._of_bucket
        named = next(filter(_SUBRESOURCES.fullmatch, request.query_params), "")
        found = table.get((request.method, named))
        if found is None:
            what = "an object" if table is self._of_object else "a bucket"
            raise not_served(f"{request.method} {f'?{named} ' if named else ''}of {what}")
        permission, handler = found
        if self._permissions is not None and f"storage.{permission}" not in self._permissions:
            details = f"The caller does not have storage.{permission} access."
            raise XmlError(403, "AccessDenied", "Access denied.", details)
        return handler

    async def _list(self, request: Request) -> Response:
        return await run_in_threadpool(list_bucket, request, self._disk)

    async def _describe_bucket(self, request: Request) -> Response:
        self._disk.bucket_created(request.path_params["bucket"])
        return Response(headers={"x-goog-storage-class": "STANDARD"})
