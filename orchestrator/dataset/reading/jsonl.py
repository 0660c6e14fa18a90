"""Reads JSONL line by line; a line that is not one JSON object becomes a finding with its cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from orchestrator.dataset.reading.broken import (
    explain,
    key_twice,
    long_number,
    not_an_object,
    too_deep,
)
from orchestrator.dataset.reading.repeated_keys import RepeatedKey, TooDeep, read_json
from orchestrator.dataset.reading.rows import (
    MAX_ROW_BYTES,
    Row,
    bounded_lines,
    too_long,
    unreadable,
)
from orchestrator.dataset.reading.sources import BOM, reading, refuse_other_than_jsonl
from orchestrator.dataset.report import Finding
from orchestrator.errors import InputError, Place

#: Below its negative and from its double on, whole numbers need more than 64 bits.
_WORD = 1 << 63
__all__ = ["Row", "no_rows", "parse_row", "read_jsonl", "read_lines"]


def read_jsonl(
    file: Path, name: str, on_line: Callable[[bytes], None] | None = None
) -> Iterator[Row | Finding]:
    """The rows of a plain JSONL file, in order, with a finding in place of each line without one.

    `name` is how messages call the file; `on_line` is given every line as it was
    read. Raises `InputError` if the file cannot be read, is no JSONL, or is empty.
    """
    seen = False
    with reading(name), file.open("rb") as lines:
        for number, raw in enumerate(bounded_lines(lines), start=1):
            if not seen and raw.strip():
                refuse_other_than_jsonl(raw, file, name)
            if on_line is not None:
                on_line(raw)
            found = parse_line(raw, number, name)
            if found is not None:
                seen = True
                yield found
    if not seen:
        raise no_rows(name)


def no_rows(name: str) -> InputError:
    """The error for a file without rows."""
    return InputError(f"{name} holds no rows", hint="Write one JSON object on each line.")


def read_lines(
    lines: Iterable[bytes], name: str, first: int = 1, *, start_of_file: bool = True
) -> Iterator[Row | Finding]:
    """The rows of lines, numbered from `first`; line 1 may be that of a part, not of the file."""
    if first == 1 and not start_of_file:
        for number, raw in enumerate(lines, start=1):
            if raw and not raw.isspace():
                yield parse_row(raw, number, name)
        return
    for number, raw in enumerate(lines, start=first):
        found = parse_line(raw, number, name)
        if found is not None:
            yield found


def parse_line(raw: bytes, number: int, name: str) -> Row | Finding | None:
    """The row on a line of JSONL, or what is wrong with it; None for a blank line."""
    if number == 1 and raw.startswith(BOM):
        hint = "Save the file as UTF-8 without a byte order mark."
        return unreadable("bom", Place(name, 1), "the file starts with a byte order mark", hint)
    if raw.isspace() or not raw:
        return None
    return parse_row(raw, number, name)


def parse_row(raw: bytes, line: int, name: str) -> Row | Finding:
    """The row in a JSON text that starts on this line, or what is wrong with it."""
    if len(raw) > MAX_ROW_BYTES:
        return too_long(Place(name, line))
    try:
        value = read_json(raw)
        if not isinstance(value, dict):
            return not_an_object(value, Place(name, line))
        if not has_sound_numbers(value):
            orjson.loads(raw)  # it refuses what is out of range, and takes the digits of others
            return long_number(Place(name, line))
    except TooDeep as deep:
        return too_deep(str(deep), Place(name, line))
    except orjson.JSONDecodeError:
        return explain(raw, Place(name, line))
    except RepeatedKey as repeated:
        return key_twice(repeated.key, Place(name, line))
    return Row(line, value)


def has_sound_numbers(value: Any) -> bool:
    """Whether numbers are finite and whole ones have at most 64 bits: others lose their digits."""
    kind = type(value)
    if kind is dict:
        value = value.values()
    elif kind is not list:
        return kind is not int or -_WORD <= value < 2 * _WORD
    for inner in value:
        # Texts are most of what rows hold, and they are sound.
        kind = type(inner)
        if kind is str:
            continue
        if kind is int:
            if not -_WORD <= inner < 2 * _WORD:
                return False
        elif kind is float:
            if not math.isfinite(inner):
                return False
        elif not has_sound_numbers(inner):
            return False
    return True
