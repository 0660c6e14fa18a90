"""Lists of a bucket's objects through the XML API, in both of its versions."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.objects.disk import ObjectDisk, StoredVersion
from orchestrator.sandbox.storage.xml_wire import (
    LIST_NAMESPACE,
    Element,
    instant,
    invalid_argument,
    whole_number,
    xml_answer,
    xml_etag,
)

_PAGE_SIZE = 1000


@dataclass(frozen=True)
class _Page:
    """One page; objects and prefixes count alike. `last` is the name that the next one follows."""

    objects: tuple[StoredVersion, ...]
    prefixes: tuple[str, ...]
    last: str | None


def list_bucket(request: Request, disk: ObjectDisk) -> Response:
    """GET a bucket: version 2 with `list-type=2`, else version 1."""
    query = request.query_params
    kind = query.get("list-type", "1")
    if kind not in ("1", "2"):
        raise invalid_argument("Invalid argument.", f"Invalid list-type: {kind}")
    token = query.get("continuation-token", "") if kind == "2" else ""
    start = query.get("start-after" if kind == "2" else "marker", "")
    size = whole_number(query, "max-keys", _PAGE_SIZE, most=_PAGE_SIZE)
    delimiter = query.get("delimiter", "")
    page = _page(
        disk.list(request.path_params["bucket"], query.get("prefix", "")),
        prefix_length=len(query.get("prefix", "")),
        delimiter=delimiter,
        after=_name_in(token) if token else start,
        size=size,
    )
    encoded = _encoder(query.get("encoding-type"))
    about: list[Element] = [
        ("Name", request.path_params["bucket"]),
        ("Prefix", encoded(query.get("prefix", ""))),
    ]
    if kind == "2":
        about += _second_version(query.get("start-after"), token, page, encoded)
    else:
        about.append(("Marker", encoded(start)))
        about += [("NextMarker", encoded(page.last))] if page.last is not None else []
    about += [("Delimiter", encoded(delimiter))] if delimiter else []
    about += [("EncodingType", "url")] if query.get("encoding-type") else []
    about += [("MaxKeys", size), ("IsTruncated", "true" if page.last is not None else "false")]
    about += [("Contents", _contents(version, encoded)) for version in page.objects]
    about += [("CommonPrefixes", [("Prefix", encoded(prefix))]) for prefix in page.prefixes]
    return xml_answer("ListBucketResult", about, namespace=LIST_NAMESPACE)


def _second_version(
    start_after: str | None, token: str, page: _Page, encoded: Callable[[str], str]
) -> list[Element]:
    about: list[Element] = [("KeyCount", len(page.objects) + len(page.prefixes))]
    if start_after:
        about.append(("StartAfter", encoded(start_after)))
    if token:
        about.append(("ContinuationToken", token))
    if page.last is not None:
        about.append(("NextContinuationToken", _token(page.last)))
    return about


def _contents(version: StoredVersion, encoded: Callable[[str], str]) -> list[Element]:
    return [
        ("Key", encoded(version.name)),
        ("Generation", version.generation),
        ("MetaGeneration", version.metageneration),
        ("LastModified", instant(version.updated)),
        ("ETag", xml_etag(version)),
        ("Size", version.size_bytes),
        ("StorageClass", version.storage_class),
    ]


def _page(
    versions: list[StoredVersion], *, prefix_length: int, delimiter: str, after: str, size: int
) -> _Page:
    """The first `size` entries that follow `after`: a prefix stands for all names below it."""
    entries: dict[str, StoredVersion | None] = {}
    for version in versions:
        if version.name <= after:
            continue
        at = version.name.find(delimiter, prefix_length) if delimiter else -1
        entry = version.name if at < 0 else version.name[: at + len(delimiter)]
        # A prefix that ended the last page is listed once, though more names follow below it.
        if entry != after:
            entries.setdefault(entry, version if at < 0 else None)
    names = list(entries)[:size]
    return _Page(
        objects=tuple(found for name in names if (found := entries[name]) is not None),
        prefixes=tuple(name for name in names if entries[name] is None),
        last=names[-1] if names and len(entries) > size else None,
    )


def _encoder(kind: str | None) -> Callable[[str], str]:
    if kind not in (None, "", "url"):
        raise invalid_argument("Invalid argument.", f"Invalid encoding-type: {kind}")
    return (lambda text: quote(text, safe="/")) if kind else (lambda text: text)


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_in(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid_argument("Invalid argument.", "Invalid continuation-token.") from None
