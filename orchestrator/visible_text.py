"""Text of rows, files and services, made fit to be shown: nothing in it is obeyed."""

from __future__ import annotations

import re

#: What terminals obey instead of showing it: control characters, those that turn the direction of
#: text around, and separators of lines that are no line ends to anybody else.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with what a terminal would obey as escapes: rows may hold anything.

    Line ends and tabs stay.
    """
    return _OBEYED.sub(_escape, text)


def visible_line(text: str) -> str:
    """The same on one line: text of rows must not look like further lines of ours."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}"
