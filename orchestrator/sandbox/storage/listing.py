"""Listing the objects of a bucket: prefix, delimiter, pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.sandbox.objects.disk import ObjectDisk, StoredVersion
from orchestrator.sandbox.storage.wire import integer, invalid

_PAGE_SIZE = 1000


@dataclass(frozen=True)
class Page:
    """One page; `next_token` is None on the last one."""

    items: tuple[StoredVersion, ...]
    prefixes: tuple[str, ...]
    next_token: str | None


def list_objects(disk: ObjectDisk, bucket: str, query: Mapping[str, str]) -> Page:
    """The page that a list request asks for; objects and prefixes count alike, in order."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    size = _page_size(query)
    after = _name_in(query["pageToken"]) if query.get("pageToken") else ""
    items: dict[str, StoredVersion] = {}
    prefixes: set[str] = set()
    for version in disk.list(bucket, prefix):
        if not _between(version.name, query):
            continue
        folder = _folder(version.name, prefix, delimiter)
        if folder is not None:
            prefixes.add(folder)
        if folder is None or _is_listed_too(version.name, folder, query):
            items[version.name] = version
    names = [name for name in sorted(items.keys() | prefixes) if name > after]
    shown = names[:size]
    return Page(
        items=tuple(items[name] for name in shown if name in items),
        prefixes=tuple(name for name in shown if name in prefixes),
        next_token=_token(shown[-1]) if len(names) > size else None,
    )


def _page_size(query: Mapping[str, str]) -> int:
    size = integer(query, "maxResults")
    if size is None:
        return _PAGE_SIZE
    if size < 0:
        raise invalid(f"Invalid value for maxResults: {size}")
    return min(size or _PAGE_SIZE, _PAGE_SIZE)


def _folder(name: str, prefix: str, delimiter: str) -> str | None:
    """The prefix that stands for a name whose rest holds the delimiter."""
    at = name.find(delimiter, len(prefix)) if delimiter else -1
    return name[: at + len(delimiter)] if at >= 0 else None


def _is_listed_too(name: str, folder: str, query: Mapping[str, str]) -> bool:
    return name == folder and query.get("includeTrailingDelimiter", "").lower() == "true"


def _between(name: str, query: Mapping[str, str]) -> bool:
    end = query.get("endOffset")
    return name >= query.get("startOffset", "") and (not end or name < end)


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_in(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise invalid(f"Invalid page token: {token!r}") from None
