"""Reads CSV and TSV record by record; the line of a record is that of its first line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from orchestrator.dataset.reading.broken import not_utf8
from orchestrator.dataset.reading.rows import MAX_ROW_BYTES, Row, too_long, unreadable
from orchestrator.dataset.reading.sources import BOM, plain_suffix
from orchestrator.dataset.report import Finding
from orchestrator.errors import InputError, Place

_HEADER_HINT = "The first line names the columns, each of them once: prompt,completion"
#: What no column is named, and what the first row of a file without a header often holds.
_DATA = re.compile(r"\s*([\[{].*|[-+]?[0-9.,]+|.{101,}|.*\n.*)\s*", re.DOTALL)


def read_csv(stream: Iterable[bytes], file: Path, name: str) -> Iterator[Row | Finding]:
    """The records after the header, as texts by column.

    Raises `InputError` where the first record names no columns.
    """
    lines = _Lines(stream, name)
    records = _records(lines, ",\t"[plain_suffix(file) == ".tsv"])
    header = _header(next(records, None), name)
    if len(header) == 1 and (delimiter := _other_delimiter(header[0])):
        header = _header(header[0].split(delimiter), name)
        records = _records(lines, delimiter)
    for found in records:
        if isinstance(found, Finding):
            yield found
        elif len(found.fields) != len(header):
            yield _ragged(found, header, name)
        else:
            yield Row(found.line, dict(zip(header, found.fields, strict=True)))


class _Record:
    """A record's fields and the line on which it starts."""

    __slots__ = ("fields", "line")

    def __init__(self, line: int, fields: list[str]) -> None:
        self.line = line
        self.fields = fields


class _Lines:
    """Lines of text for the parser, numbered; what is wrong with the bytes is kept aside."""

    def __init__(self, stream: Iterable[bytes], name: str) -> None:
        self._stream = iter(stream)
        self.name = name
        self.number = 0
        self.problem: Finding | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = next(self._stream)
        self.number += 1
        if len(raw) > MAX_ROW_BYTES:
            self.problem = self.problem or too_long(self._place)
            return "\n"
        if self.number == 1:
            raw = raw.removeprefix(BOM)
        if b"\0" in raw and self.problem is None:
            message = "the line holds a NUL byte"
            hint = "Remove it, or save the file as UTF-8."
            self.problem = unreadable("nul-byte", self._place, message, hint)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.problem = self.problem or not_utf8(error.start + 1, self._place)
            return raw.decode("utf-8", "replace")

    @property
    def _place(self) -> Place:
        return Place(self.name, self.number)

    def take_problem(self) -> Finding | None:
        """What was wrong with the lines since the last call."""
        problem, self.problem = self.problem, None
        return problem


def _records(lines: _Lines, delimiter: str) -> Iterator[_Record | Finding]:
    """The records that are left, blank lines apart; one of bad bytes is a finding."""
    parser = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        first = lines.number + 1
        try:
            fields = _next_fields(parser)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.take_problem() or _broken(error, Place(lines.name, first), lines.number)
            continue
        problem = lines.take_problem()
        if problem is not None:
            yield problem
        elif fields:
            yield _Record(first, fields)


def _next_fields(parser: Iterator[list[str]]) -> list[str]:
    """The fields of the next record, of any length up to the longest row."""
    before = csv.field_size_limit(MAX_ROW_BYTES)  # the limit is that of the whole process
    try:
        return next(parser)
    finally:
        csv.field_size_limit(before)


def _header(found: _Record | Finding | list[str] | None, name: str) -> Sequence[str]:
    place = Place(name, found.line if isinstance(found, _Record) else 1)
    if found is None:
        raise InputError(f"{name} holds no rows", hint=_HEADER_HINT)
    if isinstance(found, Finding):
        raise InputError(found.message, where=found.place, hint=found.hint)
    header = [field.strip() for field in (found.fields if isinstance(found, _Record) else found)]
    wrong = next((field for field in header if not field or _DATA.fullmatch(field)), None)
    if wrong is not None:
        shown = wrong if len(wrong) <= 40 else f"{wrong[:40]}…"
        message = f"the first line is no header: {shown!r} is no name of a column"
        raise InputError(message, where=place, hint=_HEADER_HINT)
    twice = next((field for field in header if header.count(field) > 1), None)
    if twice is not None:
        message = f"two columns are named {twice!r}"
        raise InputError(message, where=place, hint="Rename one of them.")
    return header


def _other_delimiter(header: str) -> str | None:
    """The sign that separates columns where it is no comma, as some spreadsheets write it."""
    return next((sign for sign in ";\t,|" if sign in header), None)


def _ragged(record: _Record, header: Sequence[str], name: str) -> Finding:
    message = f"the row has {len(record.fields)} fields, and the header {len(header)}"
    hint = 'Put fields with commas, quotes or line breaks between quotes: "a, ""b"""'
    return unreadable("ragged-row", Place(name, record.line), message, hint)


def _broken(error: csv.Error, place: Place, last: int) -> Finding:
    reason = str(error)
    if "unexpected end of data" in reason or "field larger" in reason:
        message = f"a quote that is opened here is not closed up to line {last}"
        return unreadable("open-quote", place, message, 'Close it: "..."')
    if "new-line character" in reason:
        message = "a carriage return stands outside of quotes"
        return unreadable("not-csv", place, message, "Save the file with line feeds as line ends.")
    message = f"not CSV: {reason}"
    hint = 'Write a quote inside of a field twice: "say ""hello"""'
    return unreadable("not-csv", place, message, hint)
