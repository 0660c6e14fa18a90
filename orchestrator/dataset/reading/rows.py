"""A row as it was read, and the finding that stands in place of one that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from orchestrator.dataset.report import Finding, Level
from orchestrator.errors import Place

#: No row is longer. A file without line ends, or a quote that is never closed, would fill memory.
MAX_ROW_BYTES = 16 << 20
_SKIPPED_BYTES = 1 << 20


@dataclass(slots=True)  # not frozen: one is made for each row, and that takes thrice as long
class Row:
    """A JSON object and the line (from 1) on which it starts; in Parquet, the row's number.

    `lost` says of which columns JSON cannot hold the value, and what became of it.
    """

    line: int
    value: dict[str, Any]
    lost: tuple[str, ...] = ()


def bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a file with their ends; of one that is too long, `MAX_ROW_BYTES` and one."""
    for line in iter(partial(stream.readline, MAX_ROW_BYTES + 1), b""):
        if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            skip_line(stream)
        yield line


def skip_line(stream: BinaryIO) -> None:
    """Go to the start of the next line."""
    while (piece := stream.readline(_SKIPPED_BYTES)) and not piece.endswith(b"\n"):
        pass


def too_long(place: Place) -> Finding:
    """The finding for a row of more than `MAX_ROW_BYTES`."""
    message = f"the row is longer than {MAX_ROW_BYTES >> 20} MiB, and was not read"
    return unreadable("too-long-row", place, message, "Write one row on each line, or shorten it.")


def unreadable(code: str, place: Place, message: str, hint: str) -> Finding:
    """The finding in place of a row that cannot be read."""
    return Finding("form", Level.ERROR, code, place, message, hint)
