"""Downloads: the content of an object, whole or one range of it."""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.sandbox.objects.disk import ObjectDisk, StoredVersion
from orchestrator.sandbox.objects.draft import READ_BYTES
from orchestrator.sandbox.storage.wire import (
    ApiError,
    etag,
    integer,
    object_name_of,
    preconditions_of,
)

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_HEADER_PROPERTIES = {
    "cacheControl": "cache-control",
    "contentDisposition": "content-disposition",
    "contentEncoding": "content-encoding",
    "contentLanguage": "content-language",
}


class _Content(Response):
    """Sends a part of an open file, and closes it whatever happens."""

    def __init__(
        self, file: BinaryIO, start: int, size_bytes: int, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self.headers["content-length"] = str(size_bytes)
        self._file = file
        self._start = start
        self._left = size_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (the ASGI signature)
        head = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        with self._file:
            await send(head)
            self._file.seek(self._start)
            while self._left > 0 and scope["method"] != "HEAD":
                block = await run_in_threadpool(self._file.read, min(READ_BYTES, self._left))
                if not block:
                    break
                self._left -= len(block)
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def download(request: Request, disk: ObjectDisk) -> Response:
    """GET with `alt=media`: the content, or the range that the Range header names."""
    bucket, name = request.path_params["bucket"], object_name_of(request)
    version, file = disk.open(bucket, name, integer(request.query_params, "generation"))
    try:
        preconditions_of(request.query_params).check(version)
        wanted = _wanted(request.headers.get("range"), version.size_bytes)
    except BaseException:
        file.close()
        raise
    headers = _headers(version)
    if wanted is None:
        return _Content(file, 0, version.size_bytes, 200, headers)
    first, last = wanted
    headers["content-range"] = f"bytes {first}-{last}/{version.size_bytes}"
    return _Content(file, first, last - first + 1, 206, headers)


def _wanted(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The first and last byte to send; None for all of them. A header nobody reads is ignored."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first_text, last_text = match.groups()
    if first_text:
        first = int(first_text)
        last = min(int(last_text), size_bytes - 1) if last_text else size_bytes - 1
        if last_text and int(last_text) < first:
            return None
    else:
        first, last = max(0, size_bytes - int(last_text)), size_bytes - 1
    if first > last:
        message = "The requested range cannot be satisfied."
        raise ApiError(416, "requestedRangeNotSatisfiable", message, size_bytes=size_bytes)
    return first, last


def _headers(version: StoredVersion) -> dict[str, str]:
    headers = {
        "content-type": version.content_type,
        "etag": f'"{etag(version)}"',
        "last-modified": format_datetime(version.created, usegmt=True),
        "accept-ranges": "bytes",
        "x-goog-generation": str(version.generation),
        "x-goog-metageneration": str(version.metageneration),
        "x-goog-storage-class": "STANDARD",
        "x-goog-hash": f"crc32c={version.crc32c},md5={version.md5}",
        "x-goog-stored-content-length": str(version.size_bytes),
        "x-goog-stored-content-encoding": version.properties.get("contentEncoding", "identity"),
    }
    for name, header in _HEADER_PROPERTIES.items():
        if name in version.properties:
            headers[header] = version.properties[name]
    return headers
