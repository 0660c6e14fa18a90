"""Objects through the XML API: read, describe, write, copy, delete."""

from __future__ import annotations

from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.objects.disk import (
    DEFAULT_CONTENT_TYPE,
    Description,
    ObjectDisk,
    StoredVersion,
)
from orchestrator.sandbox.storage.downloads import content_answer
from orchestrator.sandbox.storage.uploads import receive_into
from orchestrator.sandbox.storage.wire import check_object_name, header_text, integer
from orchestrator.sandbox.storage.xml_conditions import SOURCE, check_read, write_preconditions
from orchestrator.sandbox.storage.xml_wire import (
    Element,
    check_sums,
    decoded,
    http_date,
    instant,
    invalid_argument,
    metadata_headers,
    not_served,
    object_name_of,
    sent_metadata,
    sent_properties,
    written_headers,
    xml_answer,
    xml_etag,
)


class XmlObjects:
    """The handlers of `/bucket/object`; they raise the errors of the disk or of the API."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk

    async def read(self, request: Request) -> Response:
        """GET and HEAD: the content or a range of it, and all that is known in headers."""
        refuse_unserved(request)
        version, file = self._disk.open(
            request.path_params["bucket"],
            object_name_of(request),
            integer(request.query_params, "generation"),
        )
        try:
            check_read(request.headers, version)
        except BaseException:
            file.close()
            raise
        about = written_headers(version) | metadata_headers(version)
        about["last-modified"] = http_date(version.created)
        if "customTime" in version.properties:
            about["x-goog-custom-time"] = str(version.properties["customTime"])
        return content_answer(request, version, file, about)

    async def write(self, request: Request) -> Response:
        """PUT: the body, or the object that `x-goog-copy-source` names, becomes the object."""
        refuse_unserved(request)
        if "x-goog-copy-source" in request.headers:
            return await run_in_threadpool(self._copy, request)
        with self._disk.draft() as draft:
            await receive_into(request, draft)
            check_sums(request, draft)
            bucket, name = request.path_params["bucket"], object_name_of(request)
            preconditions = write_preconditions(request.headers, self._disk.get(bucket, name))
            version = await run_in_threadpool(
                self._disk.commit,
                draft,
                bucket,
                name,
                content_type=content_type_of(request),
                metadata=sent_metadata(request.headers),
                properties=sent_properties(request.headers),
                preconditions=preconditions,
                storage_class=storage_class_of(request),
            )
        return Response(headers=written_headers(version))

    async def delete(self, request: Request) -> Response:
        """DELETE: an object that is not there is an error, unlike at S3."""
        bucket, name = request.path_params["bucket"], object_name_of(request)
        generation = integer(request.query_params, "generation")
        current = self._disk.need(bucket, name, generation)
        self._disk.delete(
            bucket,
            name,
            generation=generation,
            preconditions=write_preconditions(request.headers, current),
        )
        return Response(status_code=204)

    def _copy(self, request: Request) -> Response:
        bucket, name = request.path_params["bucket"], object_name_of(request)
        found = self._source(request)
        check_read(request.headers, found, SOURCE, reading=False)
        about = Description(
            found.content_type, found.metadata, found.properties, storage_class_of(request)
        )
        if _replaces_metadata(request):
            about = replace(
                about,
                content_type=content_type_of(request),
                metadata=sent_metadata(request.headers),
                properties=sent_properties(request.headers),
            )
        preconditions = write_preconditions(request.headers, self._disk.get(bucket, name))
        version = self._disk.copy(found, bucket, name, about, preconditions)
        result: list[Element] = [
            ("LastModified", instant(version.updated)),
            ("ETag", xml_etag(version)),
        ]
        source = {"x-goog-copy-source-generation": str(found.generation)}
        return xml_answer("CopyObjectResult", result, headers=written_headers(version) | source)

    def _source(self, request: Request) -> StoredVersion:
        bucket, _, name = decoded(request.headers["x-goog-copy-source"]).strip("/").partition("/")
        generation = integer(request.headers, f"{SOURCE}generation")
        return self._disk.need(bucket, check_object_name(name), generation)


def content_type_of(request: Request) -> str:
    """The content type of the object that a request describes."""
    return header_text("contentType", request.headers.get("content-type") or DEFAULT_CONTENT_TYPE)


def storage_class_of(request: Request) -> str | None:
    """The storage class that a request asks for; None is the bucket's default."""
    chosen = request.headers.get("x-goog-storage-class")
    return None if chosen is None else header_text("storageClass", chosen.upper())


def _replaces_metadata(request: Request) -> bool:
    directive = request.headers.get("x-goog-metadata-directive", "COPY").upper()
    if directive not in ("COPY", "REPLACE"):
        raise invalid_argument("Invalid argument.", f"x-goog-metadata-directive: {directive}")
    return directive == "REPLACE"


def refuse_unserved(request: Request) -> None:
    """What would be ignored otherwise, although the client relies on it."""
    if any(name.startswith("x-goog-encryption-") for name in request.headers):
        raise not_served("encryption keys of the customer")
    if "content-range" in request.headers:
        raise not_served("parts of a resumable upload through the XML API")
