"""Downloads: the content of an object, whole, one range of it, or unpacked."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from email.utils import format_datetime
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.sandbox.objects.disk import DEFAULT_CONTENT_TYPE, ObjectDisk, StoredVersion
from orchestrator.sandbox.objects.draft import READ_BYTES, blocks_of
from orchestrator.sandbox.storage.wire import ApiError, check_read, etag

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_HEADER_PROPERTIES = {
    "cacheControl": "cache-control",
    "contentDisposition": "content-disposition",
    "contentEncoding": "content-encoding",
    "contentLanguage": "content-language",
}
#: zlib's name for data with a gzip header.
_GZIP = zlib.MAX_WBITS | 16


class _Content(Response):
    """Sends blocks of an open file, and closes it whatever happens."""

    def __init__(
        self,
        file: BinaryIO,
        blocks: Iterator[bytes],
        status: int,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        if "content-length" not in headers:
            # Starlette counted the empty body.
            del self.headers["content-length"]
        self._file = file
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (the ASGI signature)
        head = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        with self._file:
            await send(head)
            while scope["method"] != "HEAD":
                block = await run_in_threadpool(next, self._blocks, None)
                if block is None:
                    break
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def download(
    request: Request, disk: ObjectDisk, bucket: str, name: str, generation: int | None
) -> Response:
    """GET with `alt=media`: the content, or the range that the Range header names."""
    version, file = disk.open(bucket, name, generation)
    try:
        check_read(request, version)
    except BaseException:
        file.close()
        raise
    return content_answer(request, version, file)


def content_answer(
    request: Request,
    version: StoredVersion,
    file: BinaryIO,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The content in `file`, which is closed whatever happens, as far as the request wants it.

    `headers` come on top of those that describe the version. Raises `ApiError` 416.
    """
    try:
        all_headers = _headers(version) | dict(headers or {})
        if _is_to_be_unpacked(request, version):
            return _Content(file, _unpacked(file), 200, _unpacked_headers(all_headers))
        wanted = _wanted(request.headers.get("range"), version.size_bytes)
    except BaseException:
        file.close()
        raise
    all_headers["accept-ranges"] = "bytes"
    status, first, size_bytes = 200, 0, version.size_bytes
    if wanted is not None:
        status, first, size_bytes = 206, wanted[0], wanted[1] - wanted[0] + 1
        all_headers["content-range"] = f"bytes {first}-{wanted[1]}/{version.size_bytes}"
    all_headers["content-length"] = str(size_bytes)
    return _Content(file, _part(file, first, size_bytes), status, all_headers)


def _part(file: BinaryIO, start: int, size_bytes: int) -> Iterator[bytes]:
    file.seek(start)
    left = size_bytes
    while left > 0:
        block = file.read(min(READ_BYTES, left))
        if not block:
            return
        left -= len(block)
        yield block


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


def _is_to_be_unpacked(request: Request, version: StoredVersion) -> bool:
    """Whether the content is stored packed and the client does not take it so."""
    if version.properties.get("contentEncoding") != "gzip":
        return False
    if "no-transform" in version.properties.get("cacheControl", ""):
        return False
    return not _takes_gzip(request.headers.get("accept-encoding", ""))


def _takes_gzip(accepted: str) -> bool:
    for entry in accepted.lower().split(","):
        name, _, parameters = entry.strip().partition(";")
        if name.strip() in ("gzip", "x-gzip") and not re.fullmatch(r"\s*q=0(\.0*)?\s*", parameters):
            return True
    return False


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """What the file holds in gzip format, in blocks of limited size however well it is packed."""
    unpacker = zlib.decompressobj(_GZIP)
    for block in blocks_of(file):
        while block:
            if unpacker.eof:  # several gzip members may follow each other
                unpacker = zlib.decompressobj(_GZIP)
            unpacked = unpacker.decompress(block, READ_BYTES)
            block = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if unpacked:
                yield unpacked
            elif not unpacker.eof and not block:
                break


def _unpacked_headers(headers: dict[str, str]) -> dict[str, str]:
    """The range is ignored and the length not known before the end."""
    return {name: value for name, value in headers.items() if name != "content-encoding"} | {
        "warning": "214 UploadServer gunzipped",
        "x-guploader-response-body-transformations": "gunzipped",
    }


def _headers(version: StoredVersion) -> dict[str, str]:
    sums = f"crc32c={version.crc32c}" + (f",md5={version.md5}" if version.md5 else "")
    headers = {
        "content-type": version.content_type or DEFAULT_CONTENT_TYPE,
        "etag": etag(version),
        "last-modified": format_datetime(version.created, usegmt=True),
        "x-goog-generation": str(version.generation),
        "x-goog-metageneration": str(version.metageneration),
        "x-goog-storage-class": version.storage_class,
        "x-goog-hash": sums,
        "x-goog-stored-content-length": str(version.size_bytes),
        "x-goog-stored-content-encoding": version.properties.get("contentEncoding", "identity"),
    }
    if version.component_count is not None:
        headers["x-goog-component-count"] = str(version.component_count)
    for name, header in _HEADER_PROPERTIES.items():
        if name in version.properties:
            headers[header] = version.properties[name]
    # Spaces at the ends are no part of a header, and servers send none.
    return {name: value.strip() for name, value in headers.items()}
