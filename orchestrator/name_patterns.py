"""Patterns of names: `*` and `?` stand for anything but `/`, `**` for any folders, `[…]` for one.

Other than `fnmatch`, in which `*` crosses folders.
"""

from __future__ import annotations

import re

_WILD = re.compile(r"[*?[]")


def has_wildcard(pattern: str) -> bool:
    """Whether a name is a pattern."""
    return _WILD.search(pattern) is not None


def fixed_start(pattern: str) -> str:
    """What every name that matches begins with."""
    found = _WILD.search(pattern)
    return pattern if found is None else pattern[: found.start()]


def matches(pattern: str, name: str) -> bool:
    """Whether a whole name follows a pattern."""
    return re.fullmatch(_expression(pattern), name, re.DOTALL) is not None


def _expression(pattern: str) -> str:
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            parts.append("(?:[^/]+/)*")
            position += 3
        elif pattern.startswith("**", position):
            parts.append(".*")
            position += 2
        elif pattern[position] == "*":
            parts.append("[^/]*")
            position += 1
        elif pattern[position] == "?":
            parts.append("[^/]")
            position += 1
        else:
            length, text = _literal(pattern, position)
            parts.append(text)
            position += length
    return "".join(parts)


def _literal(pattern: str, position: int) -> tuple[int, str]:
    """How many characters of the pattern one character or class takes, and its expression."""
    if pattern[position] == "[":
        end = pattern.find("]", position + 2)
        if end > 0:
            inner = pattern[position + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            negated = inner[0] in "!^"
            inner = inner[1:] if negated else inner
            try:
                re.compile(f"[{inner}]")
            except re.error:  # a range that goes backwards stands for itself
                return 1, re.escape("[")
            return end - position + 1, f"[{'^/' if negated else ''}{inner}]"
    return 1, re.escape(pattern[position])
