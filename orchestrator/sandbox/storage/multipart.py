"""Takes apart the body of a multipart upload: `multipart/related`, metadata first, then content."""

from __future__ import annotations

import email.message
import email.parser
from dataclasses import dataclass
from typing import BinaryIO, Protocol

_WINDOW_BYTES = 1 << 20


class Body(Protocol):
    """What a body must be able to do: bytes can, and so can a `FileBody`."""

    def find(self, sub: bytes, start: int, /) -> int:
        """Where `sub` begins at or after `start`; -1 if nowhere."""
        ...

    def __getitem__(self, key: slice, /) -> bytes:
        """The bytes between two positions."""
        ...


class FileBody:
    """The content of a file as a body, of which only a window is in memory at a time."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes

    def find(self, sub: bytes, start: int, /) -> int:
        """Where `sub` begins at or after `start`; -1 if nowhere."""
        at = start
        while at + len(sub) <= self._size_bytes:
            # Windows overlap by what could be the beginning of a match.
            window = self[at : at + _WINDOW_BYTES + len(sub) - 1]
            found = window.find(sub)
            if found >= 0:
                return at + found
            at += _WINDOW_BYTES
        return -1

    def __getitem__(self, key: slice, /) -> bytes:
        """The bytes between two positions."""
        start = key.start or 0
        stop = self._size_bytes if key.stop is None else min(key.stop, self._size_bytes)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


class MultipartError(ValueError):
    """The body is not what its content type says."""


@dataclass(frozen=True)
class Part:
    """One part: its content type, and where its content lies in the body."""

    content_type: str | None
    start: int
    end: int


def boundary_of(content_type: str) -> bytes:
    """The boundary that a `multipart/related` content type names."""
    header = email.message.Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/related" or not boundary:
        raise MultipartError(f"{content_type!r} is not multipart/related with a boundary")
    return boundary.encode("latin-1", "replace")


def split_related(body: Body, boundary: bytes) -> tuple[Part, Part]:
    """The two parts of a body, by position: the content is not copied.

    Lines may end in CR LF, as they should, or in LF, as some clients send them.
    """
    opening = b"--" + boundary
    at = 0 if body[: len(opening)] == opening else body.find(b"\n" + opening, 0) + 1
    after = at + len(opening)
    if body[at:after] != opening:
        raise MultipartError("the body does not contain its boundary")
    line_end = b"\r\n" if body[after : after + 2] == b"\r\n" else b"\n"
    delimiter = line_end + opening
    parts: list[Part] = []
    while body[after : after + 2] != b"--":
        end = _next_delimiter(body, delimiter, line_end, after)
        parts.append(_part(body, after, end, line_end))
        after = end + len(delimiter)
    if len(parts) != 2:
        raise MultipartError(f"the body has {len(parts)} parts; metadata and content are two")
    return parts[0], parts[1]


def _next_delimiter(body: Body, delimiter: bytes, line_end: bytes, start: int) -> int:
    """Where the next delimiter begins: content may hold a longer line that starts like one."""
    at = body.find(delimiter, start)
    while at >= 0:
        after = at + len(delimiter)
        if body[after : after + 2] == b"--" or body[after : after + len(line_end)] == line_end:
            return at
        at = body.find(delimiter, at + 1)
    raise MultipartError("the body ends without its closing boundary")


def _part(body: Body, start: int, end: int, line_end: bytes) -> Part:
    """The part between two delimiters: headers, an empty line, content."""
    blank = body.find(line_end * 2, start)
    # An empty part may share the line end of its empty line with the delimiter.
    if blank < 0 or blank > end:
        raise MultipartError("a part has no empty line between its headers and its content")
    headers = email.parser.BytesHeaderParser().parsebytes(body[start + len(line_end) : blank])
    content = blank + 2 * len(line_end)
    return Part(headers["content-type"], content, max(content, end))
