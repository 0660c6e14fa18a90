"""Keys and tokens in a text, as their issuers write them.

The patterns are those of detect-secrets where it has one. Its plugins for high entropy, keywords
and formats without a mark of their own are left out: rows of code and mathematics are full of what
they report. Texts without such a mark cost a few searches for short strings.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from orchestrator.dataset.privacy.issuers import SORTS, Sort


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or token: whose it is, where it stands, and how much of it may be shown."""

    issuer: str
    start: int
    end: int
    mark: str


#: Sorts whose mark may stand apart from what is secret, or with a shorter one.
_WITH_CONTEXT = frozenset(
    {
        *("private key", "AWS key", "AWS secret key", "password in an address"),
        *("authorization", "key in a setting"),
    }
)
_MARKS = tuple((mark, sort) for sort in SORTS for mark in sort.marks)
_APART = tuple(one for one in _MARKS if one[1].issuer in _WITH_CONTEXT)
_IN_WORDS = tuple(one for one in _MARKS if one[1].issuer not in _WITH_CONTEXT)
#: Characters of the shortest token with its mark, apart from those.
_SHORTEST = 20

_TOKEN_LETTER = re.compile(r"[A-Za-z0-9_-]")
_REST = re.compile(r"[A-Za-z0-9_-]*")
_JWT_REST = re.compile(r"[A-Za-z0-9_.=-]*")
#: Nothing shorter is a credential, apart from passwords in addresses.
_LONG_RUN = re.compile(r"[A-Za-z0-9_+/=-]{16}")
_ADDRESS_PASSWORD = re.compile(r"://[^\s:]*:[^\s@]+@")
_KEY_MATERIAL = re.compile(r"[A-Za-z0-9+/]{40}")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINES = re.compile(
    r"-*(?:(?:\\[rn]|[\r\n])*[A-Za-z0-9+/=]{40,})+(?:(?:\\[rn]|[\r\n])+[A-Za-z0-9+/=]+(?!\S))?"
)
_KEY_LIMIT = re.compile(r'"|-----BEGIN')
_LONGEST_KEY = 20_000
_PLACEHOLDER = re.compile(
    r"(?i)example|your|dummy|placeholder|redacted|^\[.*\]$|<|\{|\$|\*\*|\.\.\."
)
#: Tokens whose form is also that of words or of plain numbers.
_NEED_BOTH = frozenset({"Twilio key", "key in a setting", "authorization", "AWS secret key"})
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[A-Za-z]")
_PLAIN_PASSWORDS = frozenset({"password", "passwd", "pass", "pwd", "secret", "pw", "token"})


def find_credentials(text: str) -> list[Credential]:
    """Keys and tokens in a text, in their order; what documentation shows as an example is none."""
    # Nearly all tokens are one long word with their mark, and most texts have few such words.
    long_words = " ".join([word for word in text.split() if len(word) >= _SHORTEST])
    sorts = [sort for mark, sort in _APART if mark in text]
    if long_words:
        sorts += [sort for mark, sort in _IN_WORDS if mark in long_words]
    if not sorts:
        return []
    found: list[Credential] = []
    if _LONG_RUN.search(text) or _ADDRESS_PASSWORD.search(text):
        for sort in dict.fromkeys(sorts):
            if sort.shape and not re.search(sort.shape, text):
                continue
            found += _found(sort, text)
    return sorted(found, key=lambda one: (one.start, -one.end))


def _found(sort: Sort, text: str) -> Iterator[Credential]:
    for pattern in _patterns(sort):
        for match in pattern.finditer(text):
            group = (match.lastindex or 0) if sort.in_group else 0
            start, end = match.span(group)
            if sort.issuer == "private key":
                span = _whole_key(text, start, end)
            elif sort.issuer == "JSON web token":
                span = _whole_jwt(text, start, end)
            elif group:
                span = (start, end)
            else:
                span = _bounded(text, start, end, exact=sort.exact)
            if span is not None and not _is_placeholder(text[span[0] : span[1]], sort.issuer):
                mark = next((m for m in sort.marks if text.startswith(m, span[0])), "")
                yield Credential(sort.issuer, *span, "" if group else mark)


@lru_cache(maxsize=len(SORTS))
def _patterns(sort: Sort) -> tuple[re.Pattern[str], ...]:
    if sort.plugin is None:
        return (re.compile(sort.pattern),)
    return tuple(_plugin(sort.plugin).denylist)


class _Plugin(Protocol):
    """What is used of a plugin."""

    denylist: Sequence[re.Pattern[str]]


def _plugin(name: tuple[str, str]) -> _Plugin:
    module = importlib.import_module(f"detect_secrets.plugins.{name[0]}")
    plugin: _Plugin = getattr(module, name[1])
    return plugin


def _valid_jwt(token: str) -> bool:
    from detect_secrets.plugins.jwt import JwtTokenDetector

    return bool(JwtTokenDetector.is_formally_valid(token))


def _bounded(text: str, start: int, end: int, *, exact: bool) -> tuple[int, int] | None:
    """The token with all its letters, or None if it is a piece of something else."""
    if start and _TOKEN_LETTER.match(text[start - 1]) and not _after_escape(text, start):
        return None
    rest = _REST.match(text, end)
    whole = rest.end() if rest else end
    return None if exact and whole > end else (start, whole)


def _after_escape(text: str, start: int) -> bool:
    r"""Whether the letter before is the `n` of a `\n`, in a text that is itself JSON."""
    return text[start - 2 : start] in {"\\n", "\\r", "\\t"}


def _whole_jwt(text: str, start: int, end: int) -> tuple[int, int] | None:
    # The plugin's pattern ends before the signature, and only its own check tells JWTs from others.
    rest = _JWT_REST.match(text, end)
    whole = rest.end() if rest else end
    while whole > end and text[whole - 1] in ".-_":
        whole -= 1
    parts = text[start:whole].split(".")
    return (start, whole) if len(parts) >= 2 and _valid_jwt(".".join(parts[:2])) else None


def _whole_key(text: str, start: int, end: int) -> tuple[int, int] | None:
    """From the dashes before BEGIN to those after END; None where no key follows."""
    while start and text[start - 1] == "-":
        start -= 1
    # A key ends before the next one, and before the text that holds it, where that is JSON.
    other = _KEY_LIMIT.search(text, end, end + _LONGEST_KEY)
    limit = other.start() if other else end + _LONGEST_KEY
    if (closed := _KEY_END.search(text, end, limit)) is not None:
        material = _KEY_MATERIAL.search(text, end, closed.start())
        return (start, closed.end()) if material else None
    lines = _KEY_LINES.match(text, end)
    return (start, lines.end()) if lines else None


def _is_placeholder(value: str, issuer: str) -> bool:
    if issuer == "private key":
        return False
    if issuer == "password in an address":
        return value.lower() in _PLAIN_PASSWORDS or len(set(value)) < 3 or _marked(value)
    if issuer in _NEED_BOTH and not (_DIGIT.search(value) and _LETTER.search(value[4:])):
        return True
    return len(set(value[-16:])) < 6 or _marked(value)


def _marked(value: str) -> bool:
    return _PLACEHOLDER.search(value) is not None
