"""Conditions in the headers of the XML API, as preconditions on a generation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime

from orchestrator.sandbox.objects.disk import PreconditionFailed, Preconditions, StoredVersion
from orchestrator.sandbox.storage.xml_wire import invalid_argument, xml_etag

#: Before the names of the conditions on the source of a copy.
SOURCE = "x-goog-copy-source-"

_ETAG = re.compile(r'(?:W/)?"[^"]*"|[^\s,"]+')


def write_preconditions(headers: Mapping[str, str], current: StoredVersion | None) -> Preconditions:
    """The conditions of a write or delete. Raises `PreconditionFailed` if they fail already.

    Conditions on the ETag become one on the generation that has it: that holds until the write.
    """
    conditions = _generations(headers, "x-goog-")
    if "if-match" not in headers and "if-none-match" not in headers:
        return conditions
    conditions.check(current)
    _check_etag(headers, "", current, reading=False)
    return replace(conditions, generation_match=current.generation if current else 0)


def check_read(
    headers: Mapping[str, str], version: StoredVersion, prefix: str = "", *, reading: bool = True
) -> None:
    """Raise `PreconditionFailed` unless the conditions of a read hold.

    With the prefix `SOURCE` those on the source of a copy, which never answer "not modified".
    """
    _generations(headers, prefix or "x-goog-").check(version)
    _check_etag(headers, prefix, version, reading=reading)
    if f"{prefix}if-match" not in headers:
        since = _date(headers.get(f"{prefix}if-unmodified-since"))
        if since is not None and _modified(version) > since:
            raise PreconditionFailed(unchanged=False)
    if f"{prefix}if-none-match" not in headers:
        since = _date(headers.get(f"{prefix}if-modified-since"))
        if since is not None and _modified(version) <= since:
            raise PreconditionFailed(unchanged=reading)


def _generations(headers: Mapping[str, str], prefix: str) -> Preconditions:
    return Preconditions(
        generation_match=_number(headers, f"{prefix}if-generation-match"),
        metageneration_match=_number(headers, f"{prefix}if-metageneration-match"),
    )


def _check_etag(
    headers: Mapping[str, str], prefix: str, current: StoredVersion | None, *, reading: bool
) -> None:
    wanted, unwanted = headers.get(f"{prefix}if-match"), headers.get(f"{prefix}if-none-match")
    if wanted is not None and not _names(wanted, current):
        raise PreconditionFailed(unchanged=False)
    if unwanted is not None and _names(unwanted, current):
        raise PreconditionFailed(unchanged=reading)


def _names(header: str, current: StoredVersion | None) -> bool:
    """Whether a list of ETags, or `*`, names what is there."""
    if current is None:
        return False
    tags = {tag.removeprefix("W/").strip('"') for tag in _ETAG.findall(header)}
    return "*" in tags or xml_etag(current).strip('"') in tags


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise invalid_argument("Invalid argument.", f"Invalid value for {name}: {text}")
    return int(text)


def _date(text: str | None) -> datetime | None:
    """A date that nobody can read is ignored, as HTTP wants it."""
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else None


def _modified(version: StoredVersion) -> datetime:
    """When the content came, to the second, as Last-Modified says it."""
    return version.created.replace(microsecond=0)
