"""Multipart uploads through the XML API: begin, send parts in any order, complete or abort."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.objects.disk import ObjectDisk, StoredVersion
from orchestrator.sandbox.objects.draft import read_blocks
from orchestrator.sandbox.objects.versions import DEFAULT_STORAGE_CLASS
from orchestrator.sandbox.storage.uploads import receive_into
from orchestrator.sandbox.storage.xml_objects import (
    content_type_of,
    refuse_unserved,
    storage_class_of,
)
from orchestrator.sandbox.storage.xml_parts import PartedUpload, PartStore, UploadedPart
from orchestrator.sandbox.storage.xml_wire import (
    S3_NAMESPACE,
    Element,
    XmlError,
    check_sums,
    hex_md5,
    instant,
    invalid_argument,
    not_served,
    object_name_of,
    sent_metadata,
    sent_properties,
    whole_number,
    written_headers,
    xml_answer,
    xml_etag,
)

#: Every part but the last has at least this size.
LEAST_PART_BYTES = 5 << 20
MOST_PARTS = 10_000
_MOST_COMPLETE_BYTES = 8 << 20
_PAGE_SIZE = 1000


@dataclass(frozen=True)
class _Named:
    """A part as the request that completes an upload names it."""

    number: int
    etag: str


class MultipartUploads:
    """The handlers; they raise the errors of the disk, of the parts or of the API."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk
        self._store = PartStore(disk)

    async def begin(self, request: Request) -> Response:
        """POST `?uploads`: the headers describe the object that will come."""
        _refuse_conditions(request)
        refuse_unserved(request)
        upload = self._store.begin(
            request.path_params["bucket"],
            object_name_of(request),
            content_type=content_type_of(request),
            metadata=sent_metadata(request.headers),
            properties=sent_properties(request.headers),
            storage_class=storage_class_of(request),
        )
        about: list[Element] = [
            ("Bucket", upload.bucket),
            ("Key", upload.name),
            ("UploadId", upload.upload_id),
        ]
        return xml_answer("InitiateMultipartUploadResult", about, namespace=S3_NAMESPACE)

    async def put_part(self, request: Request) -> Response:
        """PUT `?partNumber&uploadId`: a part, which replaces an earlier one of its number."""
        _refuse_conditions(request)
        refuse_unserved(request)
        if "x-goog-copy-source" in request.headers:
            raise not_served("parts that are copied from objects")
        upload = self._upload(request)
        number = whole_number(request.query_params, "partNumber", 0, most=MOST_PARTS + 1)
        if not 1 <= number <= MOST_PARTS:
            raise invalid_argument("Invalid argument.", "Part numbers go from 1 to 10000.")
        with self._disk.draft() as draft:
            await receive_into(request, draft)
            check_sums(request, draft)
            part = await run_in_threadpool(self._store.add, upload, number, draft)
            sums = f"crc32c={draft.crc32c},md5={draft.md5}"
        return Response(headers={"etag": _etag(part), "x-goog-hash": sums})

    async def complete(self, request: Request) -> Response:
        """POST `?uploadId`: the named parts, in order, become the object."""
        _refuse_conditions(request)
        upload = self._upload(request)
        named = _named_parts(await _small_body(request))
        version = await run_in_threadpool(self._complete, upload, named)
        about: list[Element] = [
            ("Location", f"{request.base_url}{upload.bucket}/{quote(upload.name)}"),
            ("Bucket", upload.bucket),
            ("Key", upload.name),
            ("ETag", xml_etag(version)),
        ]
        return xml_answer(
            "CompleteMultipartUploadResult",
            about,
            namespace=S3_NAMESPACE,
            headers=written_headers(version),
        )

    async def abort(self, request: Request) -> Response:
        """DELETE `?uploadId`: the upload and its parts are gone."""
        upload = self._upload(request)
        with self._store.finishing(upload):
            await run_in_threadpool(self._store.drop, upload)
        return Response(status_code=204)

    async def list_parts(self, request: Request) -> Response:
        """GET `?uploadId`: the parts that arrived."""
        upload = self._upload(request)
        query = request.query_params
        size = whole_number(query, "max-parts", _PAGE_SIZE, most=_PAGE_SIZE)
        marker = whole_number(query, "part-number-marker", 0, most=MOST_PARTS)
        rest = [part for part in self._store.parts(upload) if part.number > marker]
        shown = rest[:size]
        more = len(rest) > len(shown)
        about: list[Element] = [
            ("Bucket", upload.bucket),
            ("Key", upload.name),
            ("UploadId", upload.upload_id),
            ("StorageClass", upload.storage_class or DEFAULT_STORAGE_CLASS),
            ("PartNumberMarker", marker),
            *([("NextPartNumberMarker", shown[-1].number)] if more and shown else []),
            ("MaxParts", size),
            ("IsTruncated", "true" if more else "false"),
            *[("Part", _described(part)) for part in shown],
        ]
        return xml_answer("ListPartsResult", about, namespace=S3_NAMESPACE)

    async def list_uploads(self, request: Request) -> Response:
        """GET a bucket with `?uploads`: what was begun and neither completed nor aborted."""
        query = request.query_params
        if query.get("delimiter"):
            raise not_served("the delimiter of a list of uploads")
        prefix, bucket = query.get("prefix", ""), request.path_params["bucket"]
        marker, id_marker = query.get("key-marker", ""), query.get("upload-id-marker", "")
        size = whole_number(query, "max-uploads", _PAGE_SIZE, most=_PAGE_SIZE)
        found = [u for u in self._store.uploads(bucket) if u.name.startswith(prefix)]
        rest = _after(found, marker, id_marker)
        shown = rest[:size]
        more = len(rest) > len(shown)
        about: list[Element] = [
            ("Bucket", bucket),
            ("KeyMarker", marker),
            ("UploadIdMarker", id_marker),
            ("Prefix", prefix),
            ("MaxUploads", size),
            ("IsTruncated", "true" if more else "false"),
        ]
        if more and shown:
            about.append(("NextKeyMarker", shown[-1].name))
            about.append(("NextUploadIdMarker", shown[-1].upload_id))
        about += [("Upload", _begun(upload)) for upload in shown]
        return xml_answer("ListMultipartUploadsResult", about, namespace=S3_NAMESPACE)

    def _upload(self, request: Request) -> PartedUpload:
        bucket = request.path_params["bucket"]
        self._disk.bucket_created(bucket)
        return self._store.need(request.query_params["uploadId"], bucket, object_name_of(request))

    def _complete(self, upload: PartedUpload, named: list[_Named]) -> StoredVersion:
        with self._store.finishing(upload), self._disk.draft() as draft:
            chosen = _chosen({part.number: part for part in self._store.parts(upload)}, named)
            for part in chosen:
                for block in read_blocks(self._store.content(upload, part)):
                    draft.write(block)
            version = self._disk.commit(
                draft,
                upload.bucket,
                upload.name,
                content_type=upload.content_type,
                metadata=upload.metadata,
                properties=upload.properties,
                storage_class=upload.storage_class,
                component_count=len(chosen),
            )
            self._store.drop(upload)
            return version


def _chosen(arrived: dict[int, UploadedPart], named: list[_Named]) -> list[UploadedPart]:
    """The parts that make the object, if they are there as named."""
    chosen: list[UploadedPart] = []
    for name in named:
        part = arrived.get(name.number)
        if part is None or name.etag.strip('"') != hex_md5(part.md5):
            message = "One or more of the specified parts could not be found or has another ETag."
            raise XmlError(400, "InvalidPart", message, f"Part {name.number}")
        if chosen and part.number <= chosen[-1].number:
            message = "The list of parts was not in ascending order."
            raise XmlError(400, "InvalidPartOrder", message, f"Part {name.number}")
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size_bytes < LEAST_PART_BYTES:
            message = "Your proposed upload is smaller than the minimum allowed size."
            details = f"Part {part.number} has {part.size_bytes} bytes of {LEAST_PART_BYTES}."
            raise XmlError(400, "EntityTooSmall", message, details)
    return chosen


def _named_parts(body: bytes) -> list[_Named]:
    malformed = XmlError(
        400,
        "MalformedCompleteMultipartUploadRequest",
        "The XML you provided was not well-formed or did not validate against our schema.",
    )
    try:
        # Only this machine is served, and expat opens no files and bounds what entities become.
        root = ET.fromstring(body)  # noqa: S314
        named = [
            _Named(int(fields["PartNumber"]), fields["ETag"])
            for part in root
            for fields in [{_tag(field): (field.text or "").strip() for field in part}]
        ]
    except (ET.ParseError, KeyError, ValueError):
        raise malformed from None
    if _tag(root) != "CompleteMultipartUpload" or not named:
        raise malformed
    return named


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


async def _small_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_COMPLETE_BYTES:
            raise XmlError(400, "EntityTooLarge", "The list of parts is too long.")
    return bytes(body)


def _refuse_conditions(request: Request) -> None:
    """The service has none on these uploads; ignoring one would break what it promises."""
    for name in request.headers:
        if name.startswith("x-goog-if-") or name in ("if-match", "if-none-match"):
            raise not_served(f"{name}: multipart uploads have no preconditions")


def _after(uploads: list[PartedUpload], name: str, upload_id: str) -> list[PartedUpload]:
    """The uploads that follow a page: of the name that it ended with, those after its last one."""
    begun = [upload.upload_id for upload in uploads if upload.name == name]
    if upload_id not in begun:
        return [upload for upload in uploads if upload.name > name]
    seen = set(begun[: begun.index(upload_id) + 1])
    return [u for u in uploads if u.name >= name and u.upload_id not in seen]


def _begun(upload: PartedUpload) -> list[Element]:
    return [
        ("Key", upload.name),
        ("UploadId", upload.upload_id),
        ("StorageClass", upload.storage_class or DEFAULT_STORAGE_CLASS),
        ("Initiated", instant(upload.initiated)),
    ]


def _described(part: UploadedPart) -> list[Element]:
    return [
        ("PartNumber", part.number),
        ("LastModified", instant(part.modified)),
        ("ETag", _etag(part)),
        ("Size", part.size_bytes),
    ]


def _etag(part: UploadedPart) -> str:
    return f'"{hex_md5(part.md5)}"'
