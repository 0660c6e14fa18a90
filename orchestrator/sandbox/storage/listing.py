"""Listing the objects of a bucket: prefix, delimiter, glob, versions, pages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from orchestrator.sandbox.objects.disk import ObjectDisk, StoredVersion
from orchestrator.sandbox.storage.glob import glob_pattern
from orchestrator.sandbox.storage.wire import flag, integer, invalid, not_served

_PAGE_SIZE = 1000

#: Where an entry stands in a list: its name, or its name and generation (0 for a prefix).
Place: TypeAlias = str | tuple[str, int]
P = TypeVar("P", str, tuple[str, int])


@dataclass(frozen=True)
class Page:
    """One page; `next_token` is None on the last one."""

    items: tuple[StoredVersion, ...]
    prefixes: tuple[str, ...]
    next_token: str | None


def list_objects(disk: ObjectDisk, bucket: str, query: Mapping[str, str]) -> Page:
    """The page that a list request asks for; objects and prefixes count alike, in order."""
    # `includeFoldersAsPrefixes` changes nothing: folders of their own need another bucket type.
    if flag(query, "softDeleted"):
        raise not_served("lists of soft-deleted objects")
    if query.get("filter"):
        raise not_served("filters of object contexts")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    wanted = _wanted(query)
    items: dict[tuple[str, int], StoredVersion] = {}
    prefixes: set[tuple[str, int]] = set()
    for version in disk.list(bucket, prefix, versions=flag(query, "versions")):
        if not wanted(version.name):
            continue
        folder = _folder(version.name, prefix, delimiter)
        if folder is not None:
            prefixes.add((folder, 0))
        if folder is None or (version.name == folder and flag(query, "includeTrailingDelimiter")):
            items[version.name, version.generation] = version
    places, token = page_of(sorted(items.keys() | prefixes), query)
    return Page(
        items=tuple(items[place] for place in places if place in items),
        prefixes=tuple(place[0] for place in places if place in prefixes),
        next_token=token,
    )


def page_of(places: Sequence[P], query: Mapping[str, str]) -> tuple[list[P], str | None]:
    """The page of an ordered list that `pageToken` and `maxResults` ask for, and the next token."""
    if query.get("pageToken"):
        after = _place_in(query["pageToken"])
        places = [place for place in places if _key(place) > after]
    size = _page_size(query)
    shown = list(places[:size])
    return shown, _token(shown[-1]) if len(places) > size else None


def _page_size(query: Mapping[str, str]) -> int:
    size = integer(query, "maxResults")
    if size is None:
        return _PAGE_SIZE
    if size < 0:
        raise invalid(f"Invalid value for maxResults: {size}")
    return min(size or _PAGE_SIZE, _PAGE_SIZE)


def _wanted(query: Mapping[str, str]) -> Callable[[str], bool]:
    start, end = query.get("startOffset", ""), query.get("endOffset")
    glob = query.get("matchGlob")
    try:
        pattern = re.compile(glob_pattern(glob)) if glob else None
    except re.error:
        raise invalid(f"Invalid value for matchGlob: {glob!r}") from None

    def wanted(name: str) -> bool:
        if name < start or (end and name >= end):
            return False
        return pattern is None or pattern.fullmatch(name) is not None

    return wanted


def _folder(name: str, prefix: str, delimiter: str) -> str | None:
    """The prefix that stands for a name whose rest holds the delimiter."""
    at = name.find(delimiter, len(prefix)) if delimiter else -1
    return name[: at + len(delimiter)] if at >= 0 else None


def _key(place: Place) -> tuple[str, int]:
    return (place, 0) if isinstance(place, str) else place


def _token(place: Place) -> str:
    """Names the last entry of a page, so that the next page stays the same when others change."""
    return base64.urlsafe_b64encode(json.dumps(_key(place)).encode()).decode()


def _place_in(token: str) -> tuple[str, int]:
    try:
        name, generation = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        return str(name), int(generation)
    except (ValueError, TypeError, OverflowError):
        raise invalid(f"Invalid page token: {token!r}") from None
