"""The patterns of `.gitignore` and `.gitattributes`, as git reads them. Pure functions.

Only the files at the top of a repository count; git's own would look in every folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_CLASS = re.compile(r"\[(?:[!^])?\]?(?:\[:[a-z]+:\]|\\.|[^\]])*\]")
_NAMED = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "lower": "a-z",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern names a path: one without a slash names it in every folder."""
    if "/" in pattern:
        return _regex(pattern.removeprefix("/")).fullmatch(path) is not None
    return _regex(pattern).fullmatch(path.rsplit("/", 1)[-1]) is not None


def ignored(path: str, gitignore: str) -> bool:
    """Whether `.gitignore` leaves a file out. What is below an ignored folder stays out."""
    rules = list(_rules(gitignore))
    parts = path.split("/")
    folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    return any(_last_word(folder, rules, folder=True) for folder in folders) or _last_word(
        path, rules, folder=False
    )


def _last_word(path: str, rules: list[tuple[str, bool, bool]], *, folder: bool) -> bool:
    for pattern, only_folders, leaves_out in reversed(rules):
        if (folder or not only_folders) and matches(pattern, path):
            return leaves_out
    return False


def _rules(text: str) -> Iterator[tuple[str, bool, bool]]:
    """Pattern, whether it names folders only, and whether it leaves out (or takes back in)."""
    for raw in text.splitlines():
        # Spaces at the end count only behind a backslash.
        line = re.sub(r"(?<!\\)\s+$", "", raw)
        if not line or line.startswith("#"):
            continue
        takes_back = line.startswith("!")
        line = line.removeprefix("!")
        only_folders = line.endswith("/")
        pattern = line.removesuffix("/")
        if pattern:
            yield pattern, only_folders, not takes_back


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> re.Pattern[str]:
    found, at = [], 0
    while at < len(pattern):
        text, at = _piece(pattern, at)
        found.append(text)
    try:
        return re.compile("".join(found), re.S)
    except re.error:  # a class that is none, such as `[z-a]`, matches nothing in git either
        return re.compile(r"(?!)")


def _piece(pattern: str, at: int) -> tuple[str, int]:
    """The regular expression for what stands at a place, and where the next piece starts."""
    rest = pattern[at:]
    stars = len(rest) - len(rest.lstrip("*"))
    if stars >= 2 and (at == 0 or pattern[at - 1] == "/"):
        if rest[stars:].startswith("/"):
            return "(?:.*/)?", at + stars + 1
        if stars == len(rest):
            return ".+", at + stars
    if rest[0] == "*":
        return "[^/]*", at + stars
    if rest[0] == "?":
        return "[^/]", at + 1
    if rest[0] == "\\" and len(rest) > 1:
        return re.escape(rest[1]), at + 2
    if rest[0] == "[" and (group := _CLASS.match(rest)):
        return _class(group.group()), at + group.end()
    return re.escape(rest[0]), at + 1


def _class(text: str) -> str:
    """A class such as `[a-z]`, `[!x]` or `[[:space:]]` as regular expressions write it."""
    inner = text[1:-1]
    negated = inner[0] in "!^" and len(inner) > 1
    inner = inner[1:] if negated else inner
    names = re.split(r"\[:([a-z]+):\]", inner)
    # Every second piece is the name of a class, the others are characters and ranges.
    written = "".join(
        _NAMED.get(piece, "") if number % 2 else re.sub(r"([\[\]&~|^])", r"\\\1", piece)
        for number, piece in enumerate(names)
    )
    return f"(?!/)[{'^' if negated else ''}{written}]"
