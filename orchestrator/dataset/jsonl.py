"""Reads JSONL line by line; a line that is not one JSON object becomes a finding with its cause."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orchestrator.dataset.report import Finding, Level
from orchestrator.errors import InputError, Place

_BOM = b"\xef\xbb\xbf"
#: Files of other kinds, by how they begin, and what each of them is.
_BEGINNINGS = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x1f\x8b": "compressed",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"PAR1": "a Parquet file",
}
_SUFFIXES = {".csv": "CSV", ".tsv": "CSV", ".yaml": "YAML", ".yml": "YAML", ".txt": "plain text"}
_KINDS = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Row:
    """A JSON object and the line (from 1) on which it stands."""

    line: int
    value: dict[str, Any]


def read_jsonl(
    file: Path, name: str, on_line: Callable[[bytes], None] | None = None
) -> Iterator[Row | Finding]:
    """The rows of a file, in order, with a finding in place of each line that holds none.

    `name` is how messages call the file; `on_line` is given every line as it was
    read. Raises `InputError` if the file cannot be read or is empty.
    """
    seen = False
    try:
        with file.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                if not seen and raw.strip():
                    _refuse_other_kinds(raw, file, name)
                if on_line is not None:
                    on_line(raw)
                found = _line(raw, number, name)
                if found is not None:
                    seen = True
                    yield found
    except IsADirectoryError:
        hint = "Give the file with the rows."
        raise InputError(f"{name} is a folder, not a file", hint=hint) from None
    except FileNotFoundError:
        raise InputError(f"there is no file {name}", hint="Check the path.") from None
    except OSError as error:
        hint = "Check the path and the rights to read it."
        raise InputError(f"cannot read {name}: {error.strerror}", hint=hint) from error
    if not seen:
        raise InputError(f"{name} holds no rows", hint="Write one JSON object on each line.")


def _refuse_other_kinds(first: bytes, file: Path, name: str) -> None:
    """Raise if the first line shows that this is no JSONL: one error instead of one a line."""
    text = first.strip()
    kind = next((_BEGINNINGS[start] for start in _BEGINNINGS if first.startswith(start)), None)
    if kind is None and not text.removeprefix(_BOM).startswith((b"{", b"[")):
        kind = _SUFFIXES.get(file.suffix.lower())
    hint = "Convert it to JSONL, in UTF-8: one JSON object on each line."
    # A brace alone begins a spread object, unless it is all that is left of a cut row.
    if text == b"[" or text.startswith(b"[{") or (text == b"{" and first.endswith(b"\n")):
        kind = "JSON of another form"
        hint = "Write one object on each line. For a list: jq -c '.[]' FILE > rows.jsonl"
    if kind is not None:
        raise InputError(f"{name} is {kind}, not JSONL", hint=hint)


def _line(raw: bytes, number: int, name: str) -> Row | Finding | None:
    if number == 1 and raw.startswith(_BOM):
        hint = "Save the file as UTF-8 without a byte order mark."
        return _finding("bom", Place(name, 1), "the file starts with a byte order mark", hint)
    if not raw.strip():
        return None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _explain(raw, Place(name, number))
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "a number")
        message = f"a row must be a JSON object, and this is {kind}"
        return _finding("not-object", Place(name, number), message, "Wrap it: {...}")
    return Row(number, value)


def _explain(raw: bytes, place: Place) -> Finding:
    """Why a line is not JSON. Slow, and only for lines that the parser refused."""
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        message = f"byte {error.start + 1} of the line is not UTF-8"
        return _finding("not-utf8", place, message, "Save the file as UTF-8.")
    decoder = json.JSONDecoder()
    try:
        _, end = decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        return _broken(text, error, place)
    except RecursionError:
        return _finding("nested", place, "the row is nested too deeply", "Flatten it.")
    except ValueError:  # more digits than Python converts
        message = "the row holds a number with too many digits"
        return _finding("not-json", place, message, "Write it shorter, or as a string.")
    rest = text[end:].lstrip()
    if not rest:
        # The standard library takes NaN, Infinity, 1e999, lone surrogates; JSON does not.
        message = (
            "the row holds NaN, Infinity, a number out of range or a broken Unicode escape, "
            "which JSON does not have"
        )
        return _finding("not-json", place, message, "Replace the value, for example by null.")
    if rest[0] in "{[":
        message = (
            f"two rows on one line (the second starts at character {len(text) - len(rest) + 1})"
        )
        return _finding("two-rows", place, message, "Put a line break between them.")
    message = f"more text after the end of the row: {rest[:30]!r}"
    return _finding("trailing-text", place, message, "Remove it.")


def _broken(text: str, error: json.JSONDecodeError, place: Place) -> Finding:
    # The parser reports a string that never ends where it starts, so its position tells nothing
    # of a cut row; that a string never ends, or that the closing brace is missing, does.
    endless = error.msg.startswith("Unterminated string") or not text.endswith("}")
    if text.startswith("{") and endless:
        message = f"the row is cut off after {len(text)} characters"
        return _finding("cut", place, message, "Write the row again, whole and on one line.")
    message = f"not JSON: {error.msg.lower()} (character {error.pos + 1})"
    return _finding("not-json", place, message, "Correct the row.")


def _finding(code: str, place: Place, message: str, hint: str) -> Finding:
    return Finding("form", Level.ERROR, code, place, message, hint)
