"""Reads a JSON list of objects row by row, in memory that does not grow with the list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BufferedReader

from orchestrator.dataset.reading.jsonl import parse_row
from orchestrator.dataset.reading.rows import MAX_ROW_BYTES, Row, unreadable
from orchestrator.dataset.reading.sources import BOM
from orchestrator.dataset.report import Finding
from orchestrator.errors import Place

_CHUNK_BYTES = 1 << 18
_SPACE = re.compile(r"[ \t\r\n]*")
#: The longest piece of JSON, but for strings, that may stand cut at the end of what was read.
_LONGEST_TOKEN = 16
_TOO_LONG = f"the row is longer than {MAX_ROW_BYTES >> 20} MiB, or a quote in it is never closed"
_MEND = "Correct it: no row after it was read."


def read_json_list(stream: BufferedReader, name: str) -> Iterator[Row | Finding]:
    """The rows of a list; after a broken one nothing more can be read, and a finding says so."""
    yield from _ListReader(stream, name).rows()


class _ListReader:
    """A window of text that moves over the file. Broken UTF-8 passes as surrogates, to be named."""

    def __init__(self, stream: BufferedReader, name: str) -> None:
        self._stream = stream
        self._name = name
        self._scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
        self._rest = stream.read(len(BOM)).removeprefix(BOM)
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False
        self._error: tuple[str, int] | None = None  # what, and how far into the row

    def rows(self) -> Iterator[Row | Finding]:
        if self._next_sign() != "[":
            yield self._lost("not-json", "a file of JSON holds a list of rows")
            return
        self._move(1)
        sign = self._next_sign()
        while sign != "]":
            end = self._end_of_row()
            if end is None:
                yield self._broken()
                return
            raw = self._text[self._at : end].encode("utf-8", "surrogateescape")
            yield parse_row(raw, self._line, self._name)
            self._move(end - self._at)
            sign = self._next_sign()
            if sign == ",":
                self._move(1)
                if self._next_sign() == "]":
                    yield self._lost("not-json", "there is a comma and no row after it")
                    return
            elif sign != "]":
                yield self._between(sign)
                return
        self._move(1)
        if self._next_sign():
            yield self._lost("trailing-text", "more text after the end of the list")

    def _next_sign(self) -> str:
        """The next character that is no space, where the window now starts; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._move((match.end() if match else self._at) - self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read(_CHUNK_BYTES):
                return ""

    def _end_of_row(self) -> int | None:
        """Where the value that starts here ends; None if it is broken."""
        wanted = _CHUNK_BYTES
        while True:
            try:
                _, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                self._error = (error.msg, error.pos - self._at)
                endless = error.msg.startswith("Unterminated string")
                cut = endless or error.pos >= len(self._text) - _LONGEST_TOKEN
            except RecursionError:
                self._error = None
                return None
            else:
                # A number at the end of the window may go on.
                if end < len(self._text) or self._ended:
                    return end
                cut = True
            if not cut:
                return None
            if len(self._text) - self._at > MAX_ROW_BYTES:
                self._error = (_TOO_LONG, 0)
                return None
            if not self._read(wanted):
                return None
            wanted *= 2

    def _broken(self) -> Finding:
        if self._error is None:
            return self._lost("nested", "the row is nested too deeply")
        reason, into = self._error
        if reason is _TOO_LONG:
            return self._lost("too-long-row", reason)
        at = self._at + into
        if reason.startswith("Unterminated string") or not self._text[at:].strip():
            return self._lost("cut", "the row is cut off: it has no end")
        line = self._line + self._text.count("\n", self._at, at)
        where = f" (line {line})" if line != self._line else ""
        return self._lost("not-json", f"not JSON: {reason.lower()}{where}")

    def _between(self, sign: str) -> Finding:
        if not sign:
            return self._lost("cut", "the list is cut off: it has no closing bracket")
        return self._lost("not-json", f"a comma or the list's end is missing before {sign!r}")

    def _lost(self, code: str, message: str) -> Finding:
        return unreadable(code, Place(self._name, self._line), message, _MEND)

    def _move(self, characters: int) -> None:
        """Go on, counting lines."""
        self._line += self._text.count("\n", self._at, self._at + characters)
        self._at += characters

    def _read(self, size_bytes: int) -> bool:
        """Add to the window, and forget what is behind; False at the end of the file."""
        if self._ended:
            return False
        data = self._stream.read1(size_bytes)
        self._ended = not data
        data = self._rest + data
        whole = len(data) if self._ended else _whole_characters(data)
        self._rest = data[whole:]
        text = data[:whole].decode("utf-8", "surrogateescape")
        self._text = self._text[self._at :] + text
        self._at = 0
        return bool(text) or not self._ended


def _whole_characters(data: bytes) -> int:
    """The length without a last character of which bytes are still missing."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < length else len(data)
        if byte < 0x80:
            break
    return len(data)
