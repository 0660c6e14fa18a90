"""Uploads in one request (media and multipart), and what every kind of upload declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from orchestrator.sandbox.objects.disk import (
    DEFAULT_CONTENT_TYPE,
    ObjectDisk,
    Preconditions,
    StoredVersion,
)
from orchestrator.sandbox.objects.draft import READ_BYTES, Draft
from orchestrator.sandbox.storage.description import description_of
from orchestrator.sandbox.storage.multipart import (
    FileBody,
    MultipartError,
    boundary_of,
    split_related,
)
from orchestrator.sandbox.storage.wire import (
    check_object_name,
    invalid,
    json_object,
    preconditions_of,
)

_HASH = re.compile(r"\s*(crc32c|md5)=([A-Za-z0-9+/=]+)\s*")


@dataclass(frozen=True)
class Declared:
    """What a client said about the object that it uploads."""

    bucket: str
    name: str
    content_type: str
    metadata: Mapping[str, str]
    properties: Mapping[str, Any]
    preconditions: Preconditions
    crc32c: str | None
    md5: str | None
    storage_class: str | None = None


def declared_by(
    request: Request,
    disk: ObjectDisk,
    resource: dict[str, Any],
    content_type: str | None = None,
) -> Declared:
    """Read the query and the object resource that came with an upload."""
    query = request.query_params
    bucket = disk.bucket(request.path_params["bucket"])
    about = description_of(resource, query, bucket, content_type or DEFAULT_CONTENT_TYPE)
    return Declared(
        bucket=bucket.name,
        name=check_object_name(query.get("name") or resource.get("name") or ""),
        content_type=about.content_type,
        metadata=about.metadata,
        properties=about.properties,
        preconditions=preconditions_of(query),
        crc32c=resource.get("crc32c"),
        md5=resource.get("md5Hash"),
        storage_class=about.storage_class,
    )


def commit(
    disk: ObjectDisk, draft: Draft, declared: Declared, sums: Mapping[str, str]
) -> StoredVersion:
    """Make a draft an object, if it has the checksums that were declared or sent beside it."""
    for kind, computed, told in (
        ("CRC32C", draft.crc32c, (declared.crc32c, sums.get("crc32c"))),
        ("MD5 hash", draft.md5, (declared.md5, sums.get("md5"))),
    ):
        for value in told:
            if value is not None and value != computed:
                raise invalid(
                    f'Provided {kind} "{value}" doesn\'t match calculated {kind} "{computed}".'
                )
    return disk.commit(
        draft,
        declared.bucket,
        declared.name,
        content_type=declared.content_type,
        metadata=declared.metadata,
        properties=declared.properties,
        preconditions=declared.preconditions,
        storage_class=declared.storage_class,
    )


def sent_sums(request: Request) -> dict[str, str]:
    """The checksums in the request's `x-goog-hash` headers."""
    entries = ",".join(request.headers.getlist("x-goog-hash")).split(",")
    return {m[1]: m[2] for m in map(_HASH.fullmatch, entries) if m}


async def media_upload(request: Request, disk: ObjectDisk) -> StoredVersion:
    """`uploadType=media`: the body is the content."""
    with disk.draft() as draft:
        await receive_into(request, draft)
        declared = declared_by(request, disk, {}, request.headers.get("content-type"))
        return await run_in_threadpool(commit, disk, draft, declared, sent_sums(request))


async def multipart_upload(request: Request, disk: ObjectDisk) -> StoredVersion:
    """`uploadType=multipart`: the body is the object's resource, then its content."""
    with disk.draft() as body:
        await receive_into(request, body)
        body.close()
        return await run_in_threadpool(_store_parts, request, disk, body)


async def receive_into(request: Request, draft: Draft) -> None:
    """Write the body to a draft, in blocks that are worth a change of threads."""
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= READ_BYTES:
            await run_in_threadpool(draft.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(draft.write, bytes(waiting))


def _store_parts(request: Request, disk: ObjectDisk, body: Draft) -> StoredVersion:
    if body.size_bytes == 0:
        raise invalid("The multipart body is empty.")
    with body.path.open("rb") as file, disk.draft() as draft:
        content = FileBody(file, body.size_bytes)
        try:
            boundary = boundary_of(request.headers.get("content-type", ""))
            about, data = split_related(content, boundary)
        except MultipartError as error:
            raise invalid(f"Malformed multipart body: {error}") from error
        resource = json_object(content[about.start : about.end])
        declared = declared_by(request, disk, resource, data.content_type)
        for start in range(data.start, data.end, READ_BYTES):
            draft.write(content[start : min(start + READ_BYTES, data.end)])
        return commit(disk, draft, declared, sent_sums(request))
