"""Reads safetensors files: their headers, strictly, and their values, for what spoils a model.

Standard library only, so that a check never waits for torch. Values are looked at as bytes: a
float is NaN or infinite exactly if all bits of its exponent are set, and these sit in its last
one or two bytes (the format is little-endian).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.errors import CheckFailed, Place

#: The format's own bound on the header.
MOST_HEADER_BYTES = 100_000_000
_LENGTH_BYTES = 8
#: A multiple of every size of a value.
_CHUNK_BYTES = 1 << 20

_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


@dataclass(frozen=True)
class TensorInfo:
    """Type, shape and place of a tensor. `start` and `end` are offsets in the file, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def value_count(self) -> int:
        """How many values the tensor holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class SafetensorsHeader:
    """What a file says of itself."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check a header; raises `CheckFailed` unless it describes every byte of the file."""
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes < _LENGTH_BYTES:
                _fail(path, f"is {size_bytes} bytes long, too short for a safetensors file")
            header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if header_bytes > MOST_HEADER_BYTES:
                _fail(path, f"claims a header of {header_bytes} bytes; it is no safetensors file")
            if header_bytes > size_bytes - _LENGTH_BYTES:
                _fail(path, f"ends inside its header of {header_bytes} bytes")
            text = file.read(header_bytes)
    except OSError as error:
        _fail(path, f"cannot be read: {error.strerror}", error)
    entries = _parse(path, text)
    metadata = _metadata(path, entries.pop("__metadata__", {}))
    data_start = _LENGTH_BYTES + header_bytes
    tensors = {name: _tensor(path, name, entry, data_start) for name, entry in entries.items()}
    _check_places(path, tensors, data_start, size_bytes)
    return SafetensorsHeader(tensors=tensors, metadata=metadata)


def non_finite(path: Path, tensor: TensorInfo) -> bool:
    """Whether the tensor holds a NaN or an infinity. Integers and booleans never do."""
    test = _NON_FINITE.get(tensor.dtype)
    return test is not None and any(test.found(chunk) for chunk in _chunks(path, tensor))


def is_zero(path: Path, tensor: TensorInfo) -> bool:
    """Whether every value is 0; for floats -0.0 counts as 0. An empty tensor is zero."""
    size = _SIZES[tensor.dtype]
    signed_zero = tensor.dtype in _NON_FINITE
    return all(_chunk_is_zero(chunk, size, signed_zero) for chunk in _chunks(path, tensor))


# --- The header --------------------------------------------------------------------------------


def _fail(path: Path, message: str, cause: Exception | None = None) -> NoReturn:
    raise CheckFailed(
        f"{path.name}: {message}",
        where=Place(str(path)),
        hint="Collect the file again; if it stays so, the service wrote a broken file.",
    ) from cause


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name is there twice")
        return found

    if not text.startswith(b"{"):
        _fail(path, "its header is not a JSON object")
    try:
        # RecursionError: nesting is bounded only by the size of the header.
        parsed: dict[str, Any] = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        _fail(path, f"its header is not valid JSON: {error}", error)
    return parsed


def _metadata(path: Path, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        _fail(path, "its __metadata__ is not a map of texts")
    return value


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tensor(path: Path, name: str, entry: Any, data_start: int) -> TensorInfo:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _fail(path, f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _SIZES:
        _fail(path, f"tensor {name!r} has the type {dtype!r}, which cannot be checked")
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        _fail(path, f"tensor {name!r} has the shape {shape!r}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        _fail(path, f"tensor {name!r} has the offsets {offsets!r}")
    begin, end = offsets
    if end - begin != math.prod(shape) * _SIZES[dtype]:
        _fail(path, f"tensor {name!r} of {dtype} {shape} cannot take {end - begin} bytes")
    return TensorInfo(dtype, tuple(shape), data_start + begin, data_start + end)


def _check_places(
    path: Path, tensors: dict[str, TensorInfo], data_start: int, size_bytes: int
) -> None:
    """The tensors must fill the file: no overlap, no hole, nothing behind the last one."""
    position = data_start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            fault = "overlaps another" if tensor.start < position else "leaves a hole before it"
            _fail(path, f"tensor {name!r} {fault}")
        position = tensor.end
    if position > size_bytes:
        _fail(path, f"is cut short: {size_bytes} bytes instead of {position}")
    if position < size_bytes:
        _fail(path, f"holds {size_bytes - position} bytes that belong to no tensor")


# --- The values --------------------------------------------------------------------------------


def _chunks(path: Path, tensor: TensorInfo) -> Iterator[bytes]:
    left = tensor.end - tensor.start
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(tensor.start)
            while left:
                chunk = _read_whole(file, min(_CHUNK_BYTES, left))
                if not chunk:
                    _fail(path, "became shorter while it was read")
                left -= len(chunk)
                yield chunk
    except OSError as error:
        _fail(path, f"cannot be read: {error.strerror}", error)


def _read_whole(file: Any, size_bytes: int) -> bytes:
    """Exactly `size_bytes`, or nothing at the end: an unbuffered read may stop in between."""
    data: bytes = file.read(size_bytes)
    while 0 < len(data) < size_bytes:
        more = file.read(size_bytes - len(data))
        if not more:
            return b""
        data += more
    return data


class _Exponent:
    """Finds values of one type whose exponent bits are all set.

    `high` and `low` are the bits of the exponent in the last byte and in the one before it. Most
    values are cleared by their last byte alone, in one pass of C code over all of them.
    """

    def __init__(self, size: int, high: int, low: int = 0) -> None:
        self._size = size
        self._ordinary = bytes(byte for byte in range(256) if byte & high != high)
        self._low = low
        self._high_marks = bytes(int(byte & high == high) for byte in range(256))
        self._low_marks = bytes(int(byte & low == low) for byte in range(256))

    def found(self, chunk: bytes) -> bool:
        last = chunk[self._size - 1 :: self._size]
        if not last.translate(None, self._ordinary):
            return False
        if not self._low:
            return True
        before = chunk[self._size - 2 :: self._size]
        # As one number each, so that the bytes meet without a loop in Python.
        marks = int.from_bytes(last.translate(self._high_marks), "little")
        return bool(marks & int.from_bytes(before.translate(self._low_marks), "little"))


class _Nan8:
    """8-bit E4M3 has no infinity, and NaN only where all other bits are set as well."""

    def found(self, chunk: bytes) -> bool:
        return b"\x7f" in chunk or b"\xff" in chunk


_NON_FINITE: dict[str, _Exponent | _Nan8] = {
    "F8_E4M3": _Nan8(),
    "F8_E5M2": _Exponent(1, 0x7C),
    "F16": _Exponent(2, 0x7C),
    "BF16": _Exponent(2, 0x7F, 0x80),
    "F32": _Exponent(4, 0x7F, 0x80),
    "F64": _Exponent(8, 0x7F, 0xF0),
}


def _chunk_is_zero(chunk: bytes, size: int, signed_zero: bool) -> bool:
    if chunk.count(0) == len(chunk):
        return True
    if not signed_zero or chunk.translate(None, b"\x00\x80"):
        return False
    # Only 0x00 and 0x80 are left: zero if every 0x80 is a sign, that is in a last byte.
    signs = chunk[size - 1 :: size].count(0x80)
    return signs == chunk.count(0x80)
