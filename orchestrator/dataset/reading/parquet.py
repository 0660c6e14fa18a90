"""Reads Parquet in batches; the line of a row is its number, from 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.dataset.reading.rows import Row, unreadable
from orchestrator.dataset.report import Finding
from orchestrator.errors import InputError, Place

_BATCH_ROWS = 256
_FETCH = "It is damaged: fetch it again."


def read_parquet(
    file: Path, name: str, on_bytes: Callable[[int], None] | None = None
) -> Iterator[Row | Finding]:
    """The rows of a file, with values as JSON has them.

    Instants become ISO 8601, decimals numbers, and bytes text. NaN becomes null, as writers of
    tables mean it, and bytes that are no text are left out: the row says so in `lost`. Raises
    `InputError` without pyarrow, and for a file that is none.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            f"{name} is a Parquet file, and the library for it is not installed",
            hint="Install it: pip install 'orchestrator[parquet]'",
        ) from None
    number = 0
    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as table:
            _refuse_equal_columns(table.schema_arrow.names, name)
            told = _Told(file.stat().st_size, table.metadata.num_rows, on_bytes)
            for batch in table.iter_batches(_BATCH_ROWS, use_threads=False):
                for value in batch.to_pylist():
                    number += 1
                    yield _row(number, value)
                told.rows(number)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0][:200]
        if not number:
            raise InputError(f"{name} is no sound Parquet file: {reason}", hint=_FETCH) from error
        message = f"the Parquet file cannot be read on: {reason}"
        yield unreadable("broken-archive", Place(name, number + 1), message, _FETCH)
    except OSError as error:
        if error.errno is not None:
            raise
        if not number:
            raise InputError(f"{name} is no sound Parquet file: {error}", hint=_FETCH) from error
        message = f"the Parquet file cannot be read on: {error}"
        yield unreadable("broken-archive", Place(name, number + 1), message, _FETCH)


def _refuse_equal_columns(names: list[str], name: str) -> None:
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{name} has two columns named {twice!r}", hint="Rename one of them.")


class _Told:
    """Progress in bytes, where only rows are known."""

    def __init__(self, size_bytes: int, rows: int, on_bytes: Callable[[int], None] | None) -> None:
        self._size_bytes = size_bytes
        self._rows = max(rows, 1)
        self._on_bytes = on_bytes
        self._told = 0

    def rows(self, number: int) -> None:
        """So many rows were read."""
        here = self._size_bytes * number // self._rows
        if self._on_bytes is not None and here > self._told:
            self._on_bytes(here - self._told)
            self._told = here


#: Stands for a value that JSON cannot hold.
_NO = object()
_NO_NUMBER = "NaN or infinity became null"
_NO_TEXT = "bytes that are no text were left out"


def _row(number: int, columns: dict[str, Any]) -> Row:
    value: dict[str, Any] = {}
    lost: list[str] = []
    for column, held in columns.items():
        problems: list[str] = []
        plain = _plain(held, problems)
        if plain is not _NO:
            value[column] = plain
        lost += [f"`{column}`: {problem}" for problem in dict.fromkeys(problems)]
    return Row(number, value, tuple(lost))


def _plain(value: Any, problems: list[str]) -> Any:
    """A value as JSON has it; what could not be kept is added to the problems."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        inside = {key: _plain(inner, problems) for key, inner in value.items()}
        return {key: plain for key, plain in inside.items() if plain is not _NO}
    if isinstance(value, list | tuple):
        items = (_plain(inner, problems) for inner in value)
        return [None if plain is _NO else plain for plain in items]
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        problems.append(_NO_NUMBER)
        return None
    return _of_table(value, problems)


def _of_table(value: Any, problems: list[str]) -> Any:
    """A value of a type that tables have and JSON has not."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else _plain(float(value), problems)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            problems.append(_NO_TEXT)
            return _NO
    problems.append(f"a value of the type {type(value).__name__} was left out")
    return _NO
