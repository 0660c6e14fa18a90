"""Pages of tuning jobs that stay put while jobs are created."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.sandbox.vertex.jobs import JobRecord
from orchestrator.sandbox.vertex.refusals import invalid

_DEFAULT_PAGE, _LARGEST_PAGE = 100, 1000


@dataclass(frozen=True)
class Page:
    """Some jobs, newest first; `next_token` is empty on the last page."""

    records: tuple[JobRecord, ...]
    next_token: str


def page_of(records: Sequence[JobRecord], size: int, token: str) -> Page:
    """The page of `records` (newest first) that a token asks for."""
    if size < 0:
        raise invalid("page_size", "The page size must not be negative.")
    size = min(size or _DEFAULT_PAGE, _LARGEST_PAGE)
    if token:
        last_seen = _read_token(token)
        records = [record for record in records if record.sequence < last_seen]
    page = tuple(records[:size])
    more = len(records) > len(page)
    return Page(page, _token(page[-1].sequence) if more else "")


def _token(sequence: int) -> str:
    return base64.urlsafe_b64encode(f"before:{sequence}".encode()).decode()


def _read_token(token: str) -> int:
    try:
        word, _, number = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        if word == "before":
            return int(number)
    except (binascii.Error, UnicodeError, ValueError):
        pass
    raise invalid("page_token", "The page token is not valid.")
