"""What a text tells of people and systems: e-mail addresses, phone numbers, keys and tokens.

It is shown masked, and replaced by `[EMAIL]`, `[PHONE]` and `[SECRET]` where rows are redacted.
Phone numbers count if they are valid and written as such: with a country code (`+49 151 …`), or as
North America writes them (`(415) 555-2671`, `415-555-2671`). Bare digits never do, nor numbers and
addresses that are reserved for examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orchestrator.dataset.privacy.credentials import find_credentials

PrivateKind = Literal["email", "example-email", "phone", "secret"]

_REPLACEMENTS: dict[PrivateKind, str] = {
    "email": "[EMAIL]",
    "phone": "[PHONE]",
    "secret": "[SECRET]",
}

_EMAIL = re.compile(
    # Not after a letter of an address, except the letter of an escape in a text that is JSON.
    r"(?:(?<![\w.%+\\-])|(?<=\\[nrt]))"
    r"(?P<local>[^\W_](?:(?:[\w.%+-]|(?<=[^\W_])'(?=[^\W_])){0,62}[\w+-])?)"
    # As in an address of the web and as JSON may escape it, too.
    r"(?:@|%40|\\u0040)(?P<domain>(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+(?P<top>[^\W\d_]{2,24}))"
    # `a@b.transpose(…)` is code.
    r"(?![^\W_]|\s?\()"
)
#: `https://user:password@host`: what stands before the @ is no mailbox.
_ADDRESS_USER = re.compile(r"://[^\s/@]*$")
_EXAMPLE_DOMAIN = re.compile(
    r"(?i)(?:^|\.)(?:example\.(?:com|net|org|edu)|example|test|invalid|localhost)$"
)
#: What follows the last dot of a file's name, as in `icon@2x.png`.
_FILE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "js", "ts", "py", "css"})

#: Scripts that put no space between a word and an address.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")

#: What stands between digits: the hyphens and the space that do not break lines count, too.
_BETWEEN = r"().\-/ \u00a0\u2010-\u2013"
_INTERNATIONAL = re.compile(rf"(?<![\w)\]}}.+*/^=])[+\uff0b]\(?\d[\d{_BETWEEN}]{{5,20}}\d(?!\w)")
#: Groups of digits as people write a number that begins with its country. Such a number need not
#: be grouped as its country does it.
_GROUPED = re.compile(
    r"\+\d{1,3}(?:[ \u00a0\u2010-\u2013-]\d{2,9}|[ \u00a0]?\(\d{1,5}\)){1,6}"
    r"(?:[ \u00a0\u2010-\u2013-]\d{2,9})*"
)
#: The same with the zeros that are dialled for the plus.
_DIALLED = re.compile(r"(?<![\w)\]}.+*/^=-])00(?=[1-9]\d{0,2}[ -]\d{2})[\d \-]{8,20}\d(?![\w.])")
#: What is called a number of a telephone, and begins with a zero as nearly everywhere.
_ZERO_FIRST = re.compile(r"0\d[\d() /-]{6,14}\d(?!\w|\.\d)")
_NAME = re.compile(
    r"(?i)(?<![^\W_])(?:tele?phone?|phone|telefono?|teléfono|téléphone|tel|mobile?|cell|handy|fax)"
    r"(?:[_ ]?(?:number|no|nr|nummer))?[.:=\\\"' ]{1,6}\(?$"
)
_LONGEST_NAME = 28
_NATIONAL = re.compile(
    r"(?<![\w.+*/^(=-])(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}(?P<by>[-.]))\d{3}(?(by)(?P=by)|-)\d{4}"
    r"(?![\w*/^+-]|\.\d| [-+*/=] )"
)
#: Every national number ends so; both are found much faster than the whole.
_NATIONAL_ENDS = (re.compile(r"-\d{4}"), re.compile(r"\.\d{4}"))
#: Numbers that are kept for films and manuals.
_FICTION = re.compile(r"555[-. ]01\d\d$")


@dataclass(frozen=True, slots=True)
class Private:
    """Something private in a text: what it is, where it stands, and what may be shown of it."""

    kind: PrivateKind
    start: int
    end: int
    masked: str
    name: str


def find_private(text: str) -> list[Private]:
    """What is private in a text, in its order and without overlaps."""
    found = [
        Private(
            "secret", one.start, one.end, _masked_secret(one.mark, one.end - one.start), one.issuer
        )
        for one in find_credentials(text)
    ]
    if "@" in text or "%40" in text or "\\u0040" in text:
        found += _emails(text)
    found += _phones(text)
    # Of two that overlap the secret counts, then the one that begins first.
    apart: list[Private] = []
    for one in sorted(found, key=lambda one: (one.kind != "secret", one.start, -one.end)):
        if all(one.end <= other.start or other.end <= one.start for other in apart):
            apart.append(one)
    return sorted(apart, key=lambda one: one.start)


def redact(text: str) -> str:
    """The text with `[EMAIL]`, `[PHONE]` and `[SECRET]` for what is private.

    Redacting again changes nothing, and a text that is JSON stays JSON.
    """
    while (shorter := _redacted(text)) != text:
        # What is left may be something private only now: a number that stood behind a key.
        text = shorter
    return text


def _redacted(text: str) -> str:
    parts: list[str] = []
    end = 0
    for one in find_private(text):
        if one.kind != "example-email":
            parts += [text[end : one.start], _REPLACEMENTS[one.kind]]
            end = one.end
    return "".join([*parts, text[end:]]) if parts else text


def _emails(text: str) -> Iterator[Private]:
    for match in _EMAIL.finditer(text):
        local, domain, top = match["local"], match["domain"], match["top"].lower()
        in_address = _ADDRESS_USER.search(text, max(0, match.start() - 200), match.start())
        if in_address or top in _FILE_ENDINGS or domain.startswith("self.") or local == "git":
            continue
        start, end = _without_neighbours(match)
        example = _EXAMPLE_DOMAIN.search(domain) is not None
        kind: PrivateKind = "example-email" if example else "email"
        yield Private(
            kind,
            start,
            end,
            f"{text[start]}…@….{text[match.start('top') : end].lower()}",
            "e-mail address",
        )


def _without_neighbours(match: re.Match[str]) -> tuple[int, int]:
    """Where an address of Latin letters stands between words that no space sets apart."""
    local, top = match["local"], match["top"]
    start, end = match.span()
    before = [one.end() for one in _UNSPACED.finditer(local)]
    if before and before[-1] < len(local) and local[before[-1]].isalnum():
        start += before[-1]
    after = _UNSPACED.search(top)
    if after and after.start() >= 2:
        end = match.start("top") + after.start()
    return start, end


def _phones(text: str) -> Iterator[Private]:
    if "+" in text or "\uff0b" in text:
        for match in _INTERNATIONAL.finditer(text):
            before = text[max(0, match.start() - 8) : match.start()].rstrip()
            # A sum (`3 +4912345`), not a country code.
            if not (before and (before[-1].isdigit() or before[-1] in ")]}")):
                yield from _valid_phones(match[0], match.start(), None)
    if any(ending.search(text) for ending in _NATIONAL_ENDS):
        for match in _NATIONAL.finditer(text):
            yield from _valid_phones(match[0], match.start(), "US")
    if "00" in text:
        for match in _DIALLED.finditer(text):
            # One character less, so the places are moved by it.
            yield from _valid_phones(f"+{match[0][2:]}", match.start(), None, left_out=1)
    for match in _ZERO_FIRST.finditer(text):
        before = text[max(0, match.start() - _LONGEST_NAME) : match.start()]
        if 9 <= sum(map(str.isdigit, match[0])) <= 12 and _NAME.search(before):
            yield Private("phone", *match.span(), _masked_phone(match[0]), "phone number")


def _valid_phones(
    candidate: str, at: int, region: str | None, *, left_out: int = 0
) -> Iterator[Private]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    grouped = region is None and _GROUPED.fullmatch(candidate)
    leniency = Leniency.VALID if grouped else Leniency.STRICT_GROUPING
    for match in PhoneNumberMatcher(candidate, region, leniency=leniency):
        if not _FICTION.search(match.raw_string):
            start = at + (match.start + left_out if match.start else 0)
            masked = _masked_phone(match.raw_string)
            yield Private("phone", start, at + match.end + left_out, masked, "phone number")


def _masked_phone(number: str) -> str:
    return re.sub(r"\d", "•", number[:-2]) + number[-2:]


def _masked_secret(mark: str, length: int) -> str:
    return f"{mark}… ({length} characters)"
