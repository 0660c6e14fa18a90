"""Why a text is not a row. Slow, and only for those that the parser refused."""

from __future__ import annotations

import json

from orchestrator.dataset.reading.rows import unreadable
from orchestrator.dataset.report import Finding
from orchestrator.errors import Place

_KINDS = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}


def not_an_object(value: object, place: Place) -> Finding:
    """The finding for sound JSON that is no object."""
    kind = _KINDS.get(type(value), "a number")
    message = f"a row must be a JSON object, and this is {kind}"
    return unreadable("not-object", place, message, "Wrap it: {...}")


def key_twice(key: str, place: Place) -> Finding:
    """The finding for a row in which a key stands twice."""
    shown = key if len(key) <= 60 else f"{key[:60]}…"
    message = f"the key {shown!r} stands twice in one object, and only its last value would count"
    return unreadable("duplicate-key", place, message, "Remove one of the two, or rename it.")


def too_deep(what: str, place: Place) -> Finding:
    """The finding for a row in which lists and objects are nested too deeply."""
    return unreadable("nested", place, f"the row cannot be used: {what}", "Flatten it.")


def long_number(place: Place) -> Finding:
    """The finding for a row with a whole number that most readers would round."""
    message = "the row holds a whole number of more than 64 bits, whose last digits would be lost"
    return unreadable("long-number", place, message, "Write it as a string.")


def not_utf8(position: int, place: Place) -> Finding:
    """The finding for a byte (counted from 1) that is no UTF-8."""
    message = f"byte {position} of the line is not UTF-8"
    return unreadable("not-utf8", place, message, "Save the file as UTF-8.")


def explain(raw: bytes, place: Place) -> Finding:
    """Why a text is not one JSON document."""
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        return not_utf8(error.start + 1, place)
    decoder = json.JSONDecoder()
    try:
        _, end = decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        return _broken(text, error, place)
    except RecursionError:
        return too_deep("it is nested too deeply", place)
    except ValueError:  # more digits than Python converts
        message = "the row holds a number with too many digits"
        return unreadable("not-json", place, message, "Write it shorter, or as a string.")
    return _after_the_end(text, end, place)


def _after_the_end(text: str, end: int, place: Place) -> Finding:
    rest = text[end:].lstrip()
    if not rest:
        # The standard library takes NaN, Infinity, 1e999, lone surrogates; JSON does not.
        message = (
            "the row holds NaN, Infinity, a number out of range or a broken Unicode escape, "
            "which JSON does not have"
        )
        return unreadable("not-json", place, message, "Replace the value, for example by null.")
    if rest[0] in "{[":
        message = (
            f"two rows on one line (the second starts at character {len(text) - len(rest) + 1})"
        )
        return unreadable("two-rows", place, message, "Put a line break between them.")
    message = f"more text after the end of the row: {rest[:30]!r}"
    return unreadable("trailing-text", place, message, "Remove it.")


def _broken(text: str, error: json.JSONDecodeError, place: Place) -> Finding:
    # The parser reports a string that never ends where it starts, so its position tells nothing
    # of a cut row; that a string never ends, or that the closing brace is missing, does.
    endless = error.msg.startswith("Unterminated string") or not text.endswith("}")
    if text.startswith("{") and endless:
        message = f"the row is cut off after {len(text)} characters"
        return unreadable("cut", place, message, "Write the row again, whole and on one line.")
    message = f"not JSON: {error.msg.lower()} (character {error.pos + 1})"
    return unreadable("not-json", place, message, "Correct the row.")
