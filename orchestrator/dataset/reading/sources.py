"""What a file of rows is: by its content first, then by its suffix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from orchestrator.errors import InputError

BOM = b"\xef\xbb\xbf"
#: How much of a file is looked at to know what it is.
HEAD_BYTES = 64 * 1024


class Compression(StrEnum):
    """What is around the rows."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class Source(StrEnum):
    """How rows are written."""

    JSONL = "JSONL"
    JSON = "JSON"
    CSV = "CSV"
    PARQUET = "Parquet"


_COMPRESSIONS = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}
_COMPRESSION_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
#: Files of other kinds, by how they begin, and what each of them is.
_OTHERS = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "a database",
    b"%PDF": "a PDF document",
}
_OTHER_SUFFIXES = {
    ".yaml": "YAML",
    ".yml": "YAML",
    ".txt": "plain text",
    ".md": "plain text",
    ".toml": "TOML",
    ".xml": "XML",
    ".html": "HTML",
}
_TAKEN = "Rows are taken from JSONL, JSON, CSV and Parquet, also as .gz or .zst."
_CONVERT = "Convert it to JSONL, in UTF-8: one JSON object on each line."
_FOR_A_LIST = "Write one object on each line. For a list: jq -c '.[]' FILE > rows.jsonl"


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what the system says about a file into an error that names it."""
    try:
        yield
    except IsADirectoryError:
        hint = "Give the file with the rows."
        raise InputError(f"{name} is a folder, not a file", hint=hint) from None
    except FileNotFoundError:
        raise InputError(f"there is no file {name}", hint="Check the path.") from None
    except OSError as error:
        hint = "Check the path and the rights to read it."
        reason = error.strerror or str(error)
        raise InputError(f"cannot read {name}: {reason}", hint=hint) from error


def compression_of(head: bytes) -> Compression:
    """What a file is compressed with, by its first bytes."""
    return next((_COMPRESSIONS[magic] for magic in _COMPRESSIONS if head.startswith(magic)), _NONE)


_NONE = Compression.NONE


def plain_suffix(file: Path) -> str:
    """The suffix of a file without that of its compression, in lower case."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    while suffixes and suffixes[-1] in _COMPRESSION_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def source_of(head: bytes, file: Path, name: str) -> Source:
    """How the rows of a file are written; `head` is its (uncompressed) beginning.

    Raises `InputError` for what holds no rows that can be read.
    """
    if head.startswith(b"PAR1"):
        return Source.PARQUET
    other = next((_OTHERS[start] for start in _OTHERS if head.startswith(start)), None)
    if other is not None:
        raise InputError(f"{name} is {other}", hint=f"{_TAKEN} {_CONVERT}")
    suffix = plain_suffix(file)
    text = head.removeprefix(BOM).lstrip()
    if text.startswith(b"["):
        # A line of JSONL may hold a list, which is no row: only a list of objects is a file.
        listed = suffix == ".json" or re.match(rb"\[\s*(\{|$)|\[[ \t]*\r?\n", text)
        return Source.JSON if listed else Source.JSONL
    if text.startswith(b"{"):
        _refuse_spread_object(text, name)
        return Source.JSONL
    if suffix in (".csv", ".tsv"):
        return Source.CSV
    if suffix == ".parquet" and text:
        raise InputError(f"{name} is no Parquet file", hint="It is damaged: fetch it again.")
    if suffix in _OTHER_SUFFIXES and text:
        raise InputError(f"{name} is {_OTHER_SUFFIXES[suffix]}", hint=f"{_TAKEN} {_CONVERT}")
    if suffix == ".json" and text:
        raise InputError(f"{name} is not JSON", hint="A file of JSON holds a list: [{...}, {...}].")
    return Source.JSONL


def _refuse_spread_object(text: bytes, name: str) -> None:
    """Raise for one object over many lines, which is neither JSONL nor a list of rows."""
    # A brace alone begins a spread object, unless it is all that is left of a cut row.
    if re.match(rb"\{[ \t]*\r?\n", text):
        key = re.match(rb'\{\s*"([^"\\]{1,40})"\s*:\s*\[', text)
        inner = f".{key[1].decode('utf-8', 'replace')}" if key else ""
        raise InputError(
            f"{name} is one JSON object over several lines, not a list of rows",
            hint="Write one object on each line, or a list of them: "
            f"jq -c '.{inner.lstrip('.')}[]' FILE > rows.jsonl"
            if inner
            else "Write one object on each line: jq -c . FILE > rows.jsonl",
        )


def refuse_other_than_jsonl(first: bytes, file: Path, name: str) -> None:
    """Raise if the first line shows that this is no JSONL: one error instead of one a line."""
    if compression_of(first) is not Compression.NONE:
        raise InputError(f"{name} is compressed, not JSONL", hint=_CONVERT)
    source = source_of(first, file, name)
    if source is not Source.JSONL:
        form = "JSON of another form" if source is Source.JSON else source
        hint = _FOR_A_LIST if source is Source.JSON else _CONVERT
        raise InputError(f"{name} is {form}, not JSONL", hint=hint)
