"""The reader of safetensors files: what it refuses, and what it sees in the values."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import CheckFailed
from orchestrator.safetensors_file import TensorInfo, is_zero, non_finite, read_header

_F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def _write(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _one(path: Path, dtype: str, size: int, data: bytes) -> TensorInfo:
    """A file with one tensor of these bytes."""
    entry = {"dtype": dtype, "shape": [len(data) // size], "data_offsets": [0, len(data)]}
    return read_header(_write(path, {"x": entry}, data)).tensors["x"]


def _bf16(values: list[float]) -> bytes:
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def test_a_header_gives_types_shapes_and_places_in_the_file(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [8, 20]},
        "a": _F32,
    }
    path = _write(tmp_path / "x.safetensors", header, bytes(20))
    found = read_header(path)
    start = path.stat().st_size - 20
    assert found.metadata == {"format": "pt"}
    assert found.tensors["b"] == TensorInfo("BF16", (2, 3), start + 8, start + 20)
    assert found.tensors["b"].value_count == 6
    assert found.tensors["a"].start == start


def test_padding_behind_the_header_and_empty_tensors_are_fine(tmp_path: Path) -> None:
    empty = {"dtype": "F32", "shape": [0, 4], "data_offsets": [8, 8]}
    text = json.dumps({"a": _F32, "none": empty}).encode() + b"   "
    found = read_header(_write(tmp_path / "x.safetensors", text, bytes(8)))
    assert found.tensors["none"].value_count == 0


@pytest.mark.parametrize(
    ("header", "data", "said"),
    [
        ({"a": _F32}, bytes(7), "cut short"),
        ({"a": _F32}, bytes(9), "belong to no tensor"),
        ({"a": {**_F32, "data_offsets": [4, 12]}}, bytes(12), "hole"),
        ({"a": _F32, "b": {**_F32, "data_offsets": [4, 12]}}, bytes(12), "overlaps"),
        ({"a": {**_F32, "shape": [3]}}, bytes(8), "cannot take 8 bytes"),
        ({"a": {**_F32, "shape": [-2]}}, bytes(8), "shape"),
        ({"a": {**_F32, "shape": [True, 2]}}, bytes(8), "shape"),
        ({"a": {**_F32, "data_offsets": [8, 0]}}, bytes(8), "cannot take -8 bytes"),
        ({"a": {**_F32, "data_offsets": [0]}}, bytes(8), "offsets"),
        ({"a": {**_F32, "dtype": "F99"}}, bytes(8), "'F99'"),
        ({"a": {**_F32, "extra": 1}}, bytes(8), "not described"),
        ({"a": _F32, "__metadata__": {"n": 1}}, bytes(8), "__metadata__"),
        (b'{"a": 1, "a": 2}', b"", "twice"),
        (b"[]", b"", "not a JSON object"),
        (b'{"a": ', b"", "not valid JSON"),
        (b'{"\xff": 1}', b"", "not valid JSON"),
        (b'{"a":' + b"[" * 100_000, b"", "not valid JSON"),
    ],
)
def test_a_file_whose_header_does_not_describe_it_is_refused(
    tmp_path: Path, header: Any, data: bytes, said: str
) -> None:
    path = _write(tmp_path / "broken.safetensors", header, data)
    with pytest.raises(CheckFailed) as caught:
        read_header(path)
    assert said in caught.value.message
    assert "broken.safetensors" in caught.value.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"abc", "too short"),
        ((200_000_000).to_bytes(8, "little") + b"{}", "claims a header of 200000000"),
        ((50).to_bytes(8, "little") + b"{}", "ends inside its header"),
    ],
)
def test_a_file_that_is_no_safetensors_file_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckFailed) as caught:
        read_header(path)
    assert said in caught.value.message


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"gone\.safetensors"):
        read_header(tmp_path / "gone.safetensors")


_FLOATS = {"F16": ("e", 2), "F32": ("f", 4), "F64": ("d", 8)}


@pytest.mark.parametrize("dtype", _FLOATS)
@given(data=st.binary(max_size=64))
def test_non_finite_agrees_with_the_numbers_themselves(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, data: bytes
) -> None:
    code, size = _FLOATS[dtype]
    data = data[: len(data) // size * size]
    values = struct.unpack(f"<{len(data) // size}{code}", data)
    path = tmp_path_factory.getbasetemp() / "values.safetensors"
    tensor = _one(path, dtype, size, data)
    assert non_finite(path, tensor) == any(not math.isfinite(value) for value in values)
    assert is_zero(path, tensor) == all(value == 0 for value in values)


@given(data=st.binary(max_size=64))
def test_bf16_is_read_as_the_upper_half_of_a_float(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    data = data[: len(data) // 2 * 2]
    halves = [data[start : start + 2] for start in range(0, len(data), 2)]
    values = [struct.unpack("<f", b"\0\0" + half)[0] for half in halves]
    path = tmp_path_factory.getbasetemp() / "values.safetensors"
    tensor = _one(path, "BF16", 2, data)
    assert non_finite(path, tensor) == any(not math.isfinite(value) for value in values)
    assert is_zero(path, tensor) == all(value == 0 for value in values)


@pytest.mark.parametrize(
    ("dtype", "byte", "spoilt"),
    [
        ("F8_E4M3", 0x7F, True),
        ("F8_E4M3", 0xFF, True),
        ("F8_E4M3", 0x7E, False),
        ("F8_E5M2", 0x7C, True),
        ("F8_E5M2", 0xFD, True),
        ("F8_E5M2", 0x7B, False),
        ("U8", 0xFF, False),
        ("I8", 0x7F, False),
    ],
)
def test_eight_bit_types_have_their_own_non_numbers(
    tmp_path: Path, dtype: str, byte: int, spoilt: bool
) -> None:
    path = tmp_path / "x.safetensors"
    assert non_finite(path, _one(path, dtype, 1, bytes([0, byte, 1]))) is spoilt


def test_large_values_next_to_small_mantissas_are_not_mistaken_for_infinity(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.safetensors"
    # The suspicious last byte of one value must not meet the exponent bit of another.
    tensor = _one(path, "BF16", 2, _bf16([1.7e38, 1.0, -1.7e38, 0.75]))
    assert not non_finite(path, tensor)


def test_the_last_value_behind_many_chunks_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    many = bytes(5_000_000)
    tensor = _one(path, "BF16", 2, many + _bf16([math.nan]))
    assert non_finite(path, tensor)
    assert not is_zero(path, tensor)
    assert is_zero(path, _one(path, "BF16", 2, many + _bf16([-0.0])))


def test_only_this_tensor_is_looked_at(tmp_path: Path) -> None:
    header = {"a": _F32, "b": {**_F32, "data_offsets": [8, 16]}}
    data = struct.pack("<4f", 0, 0, math.inf, 1)
    path = _write(tmp_path / "x.safetensors", header, data)
    tensors = read_header(path).tensors
    assert is_zero(path, tensors["a"])
    assert not non_finite(path, tensors["a"])
    assert non_finite(path, tensors["b"])


def test_minus_zero_is_no_zero_for_integers(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    assert not is_zero(path, _one(path, "I16", 2, b"\x00\x80"))
    assert is_zero(path, _one(path, "F16", 2, b"\x00\x80"))
    assert not is_zero(path, _one(path, "F16", 2, b"\x80\x00"))


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensor = _one(path, "F32", 4, struct.pack("<4f", 1, 2, 3, 4))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckFailed, match="became shorter"):
        non_finite(path, tensor)
