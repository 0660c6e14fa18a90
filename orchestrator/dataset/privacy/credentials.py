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


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or token: whose it is, where it stands, and how much of it may be shown."""

    issuer: str
    start: int
    end: int
    mark: str


@dataclass(frozen=True, slots=True)
class _Sort:
    """How one sort of credential is found.

    `plugin` is a module and class of detect-secrets; `pattern` is used without one. `marks` are
    strings of which every text with such a credential has one. The credential is the pattern's
    last group if `in_group`, else the whole match; `exact` ones are not longer than the pattern.
    """

    issuer: str
    marks: tuple[str, ...]
    plugin: tuple[str, str] | None = None
    pattern: str = ""
    in_group: bool = False
    exact: bool = False


_GITLAB_MARKS = (
    *("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glcbt-", "glimt-", "glptt-", "glagent-"),
    *("gloas-", "GR1348941"),
)
_SORTS = (
    _Sort("private key", ("PRIVATE KEY", "PuTTY-User-Key"), ("private_key", "PrivateKeyDetector")),
    _Sort(
        "AWS key",
        ("AKIA", "ASIA", "ABIA", "ACCA", "A3T", "aws", "AWS", "Aws"),
        ("aws", "AWSKeyDetector"),
        in_group=True,
        exact=True,
    ),
    _Sort(
        "GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        ("github_token", "GitHubTokenDetector"),
    ),
    _Sort("GitHub token", ("github_pat_",), pattern=r"github_pat_[A-Za-z0-9_]{50,}"),
    _Sort(
        "GitLab token",
        _GITLAB_MARKS,
        ("gitlab_token", "GitLabTokenDetector"),
    ),
    _Sort("Hugging Face token", ("hf_", "api_org_"), pattern=r"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    _Sort("OpenAI key", ("T3BlbkFJ",), ("openai", "OpenAIDetector")),
    _Sort(
        "API key",
        ("sk-",),
        pattern=r"sk-(?:(?:proj|svcacct|admin|ant|or)-[A-Za-z0-9_-]{32,}|[A-Za-z0-9]{32,})",
    ),
    _Sort("Google API key", ("AIza",), pattern=r"AIza[0-9A-Za-z_-]{35}"),
    _Sort("Google access token", ("ya29.",), pattern=r"ya29\.[0-9A-Za-z_-]{20,}"),
    _Sort(
        "Slack token",
        ("xoxa-", "xoxb-", "xoxp-", "xoxo-", "xoxs-", "xoxr-", "hooks.slack.com"),
        ("slack", "SlackDetector"),
    ),
    _Sort("Stripe key", ("sk_live_", "rk_live_"), ("stripe", "StripeDetector")),
    _Sort("JSON web token", ("eyJ",), ("jwt", "JwtTokenDetector")),
    # The plugin's pattern knows no password with ! or other signs of its own.
    _Sort(
        "password in an address",
        ("://",),
        pattern=r"""://[^\s/:@"'\\]{1,100}:([^\s/@"'<>\\]{1,200})@""",
        in_group=True,
    ),
    _Sort("npm token", ("npm_",), pattern=r"npm_[A-Za-z0-9]{36}"),
    _Sort("PyPI token", ("pypi-Ag",), ("pypi_token", "PypiTokenDetector")),
    _Sort("SendGrid key", ("SG.",), ("sendgrid", "SendGridDetector")),
    _Sort("Square secret", ("sq0csp-",), ("square_oauth", "SquareOAuthDetector")),
    _Sort("Azure storage key", ("AccountKey=",), ("azure_storage_key", "AzureStorageKeyDetector")),
    _Sort("Twilio key", ("AC", "SK"), ("twilio", "TwilioKeyDetector"), exact=True),
    _Sort("Mailchimp key", ("-us",), ("mailchimp", "MailchimpDetector"), exact=True),
    _Sort("Telegram token", (":AA",), ("telegram_token", "TelegramBotTokenDetector"), exact=True),
)

_TOKEN_LETTER = re.compile(r"[A-Za-z0-9_-]")
_REST = re.compile(r"[A-Za-z0-9_-]*")
_JWT_REST = re.compile(r"[A-Za-z0-9_.=-]*")
#: Nothing shorter is a credential, apart from passwords in addresses.
_LONG_RUN = re.compile(r"[A-Za-z0-9_+/=-]{16}")
_ADDRESS_PASSWORD = re.compile(r"://[^\s:]+:[^\s@]+@")
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
_PLAIN_PASSWORDS = frozenset({"password", "passwd", "pass", "pwd", "secret", "pw", "token"})


def find_credentials(text: str) -> list[Credential]:
    """Keys and tokens in a text, in their order; what documentation shows as an example is none."""
    sorts = [sort for sort in _SORTS if any(mark in text for mark in sort.marks)]
    if not sorts:
        return []
    found: list[Credential] = []
    if _LONG_RUN.search(text) or _ADDRESS_PASSWORD.search(text):
        for sort in sorts:
            found += _found(sort, text)
    return sorted(found, key=lambda one: (one.start, -one.end))


def _found(sort: _Sort, text: str) -> Iterator[Credential]:
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


@lru_cache(maxsize=len(_SORTS))
def _patterns(sort: _Sort) -> tuple[re.Pattern[str], ...]:
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
    return len(set(value[-16:])) < 6 or _marked(value)


def _marked(value: str) -> bool:
    return _PLACEHOLDER.search(value) is not None
