"""Opens a file of rows, whatever it is, and reads it as a stream."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from orchestrator.dataset.reading.compression import BrokenArchiveError, open_plain
from orchestrator.dataset.reading.jsonl import no_rows, read_lines
from orchestrator.dataset.reading.rows import Row, bounded_lines, unreadable
from orchestrator.dataset.reading.sources import (
    HEAD_BYTES,
    Compression,
    Source,
    compression_of,
    reading,
    source_of,
)
from orchestrator.dataset.report import Finding
from orchestrator.dataset.rules import RowsFile
from orchestrator.errors import Place

OnBytes = Callable[[int], None]


def read_rows(file: RowsFile, on_bytes: OnBytes | None = None) -> Iterator[Row | Finding]:
    """The rows of a file in order, with a finding in place of each that cannot be read.

    `on_bytes` is told how many more of the file's bytes were read. Raises `InputError` where the
    file cannot be read at all, is of a kind that holds no rows, or is empty.
    """
    seen = False
    last = 0
    try:
        for found in _rows(file, on_bytes):
            seen = True
            last = (found.place.line or last) if isinstance(found, Finding) else found.line
            yield found
    except BrokenArchiveError as error:
        # What came before is sound, so it is reported like a last line that is cut.
        message = f"{error.message}, after the row on line {last}" if last else error.message
        yield unreadable(error.code, Place(file.name, last + 1), message, error.hint)
        return
    if not seen:
        raise no_rows(file.name)


def kind_of(file: RowsFile) -> tuple[Source, Compression]:
    """What a file is, and what it is compressed with; raises `InputError` like `read_rows`."""
    with reading(file.name), file.path.open("rb") as stream:
        compression = compression_of(stream.read(4))
    with reading(file.name), open_plain(file.path, file.name) as plain:
        return source_of(_head(plain), file.path, file.name), compression


def _head(plain: BufferedReader) -> bytes:
    try:
        return plain.peek(HEAD_BYTES)[:HEAD_BYTES]
    except BrokenArchiveError:
        return b""


def _rows(file: RowsFile, on_bytes: OnBytes | None) -> Iterator[Row | Finding]:
    source, compression = kind_of(file)
    if source is Source.PARQUET and compression is Compression.NONE:
        yield from _parquet(file.path, file.name, on_bytes)
        return
    with reading(file.name), open_plain(file.path, file.name, on_bytes) as plain:
        if source is Source.JSONL:
            yield from read_lines(bounded_lines(plain), file.name)
        elif source is Source.JSON:
            from orchestrator.dataset.reading.json_list import read_json_list

            yield from read_json_list(plain, file.name)
        elif source is Source.CSV:
            from orchestrator.dataset.reading.csv_rows import read_csv

            yield from read_csv(bounded_lines(plain), file.path, file.name)
        else:
            # Parquet is read from its end, so it has to lie somewhere uncompressed.
            with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
                unpacked = Path(folder, "rows.parquet")
                with unpacked.open("wb") as target:
                    shutil.copyfileobj(plain, target, 1 << 20)
                yield from _parquet(unpacked, file.name, None)


def _parquet(path: Path, name: str, on_bytes: OnBytes | None) -> Iterator[Row | Finding]:
    from orchestrator.dataset.reading.parquet import read_parquet

    with reading(name):
        yield from read_parquet(path, name, on_bytes)
