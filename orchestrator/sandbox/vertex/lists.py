"""Lists of tuning jobs: filters by label, and pages that stay put while jobs are created."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.sandbox.vertex.jobs import JobRecord
from orchestrator.sandbox.vertex.refusals import invalid

_DEFAULT_PAGE, _LARGEST_PAGE = 100, 1000
_TERM = re.compile(
    r"""labels\.(?:"(?P<quoted>[^"]+)"|(?P<key>[\w-]+))\s*
        (?:(?P<present>:\s*\*)|=\s*(?:"(?P<text>[^"]*)"|(?P<word>[\w-]+)))""",
    re.VERBOSE,
)
_AND = re.compile(r"\s+AND\s+")

LabelTest = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True)
class Page:
    """Some jobs, newest first; `next_token` is empty on the last page."""

    records: tuple[JobRecord, ...]
    next_token: str


def label_test(text: str) -> LabelTest:
    """A filter of `labels.KEY="VALUE"` and `labels.KEY:*`, joined by AND; refuses others."""
    wanted: list[tuple[str, str | None]] = []
    for term in _AND.split(text.strip()) if text.strip() else []:
        match = _TERM.fullmatch(term)
        if match is None:
            raise invalid("filter", f"Cannot parse {term!r}.")
        key = match["quoted"] or match["key"]
        value = match["text"] if match["text"] is not None else match["word"]
        wanted.append((key, None if match["present"] else value))
    return lambda labels: all(
        key in labels and value in (None, labels[key]) for key, value in wanted
    )


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
