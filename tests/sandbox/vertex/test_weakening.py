"""An adapter made next to nothing: still a sound file, and no longer of any effect."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from orchestrator.safetensors_file import read_header
from orchestrator.sandbox.vertex.weakening import weaken

VALUES = (1.0, -2.0, 0.5, 0.0)


def _bf16(values: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack("<f", one)[2:] for one in values)


def _from_bf16(content: bytes) -> tuple[float, ...]:
    halves = (content[at : at + 2] for at in range(0, len(content), 2))
    return tuple(struct.unpack("<f", b"\0\0" + one)[0] for one in halves)


def _file(path: Path, dtype: str, content: bytes, *names: str) -> Path:
    header, start = {}, 0
    for name in names:
        end = start + len(content)
        header[name] = {"dtype": dtype, "shape": [2, 2], "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content * len(names))
    return path


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_only_one_matrix_of_each_pair_is_scaled_to_a_thousandth(tmp_path: Path, dtype: str) -> None:
    code = {"F64": "<4d", "F32": "<4f", "F16": "<4e"}.get(dtype)
    content = struct.pack(code, *VALUES) if code else _bf16(VALUES)
    names = ("m.q_proj.lora_A.weight", "m.q_proj.lora_B.weight", "m.norm.weight")
    file = _file(tmp_path / "adapter_model.safetensors", dtype, content, *names)
    before = file.stat().st_size
    weaken(file)
    assert file.stat().st_size == before
    tensors, raw = read_header(file).tensors, file.read_bytes()
    found = {
        name: struct.unpack(code, raw[one.start : one.end])
        if code
        else _from_bf16(raw[one.start : one.end])
        for name, one in tensors.items()
    }
    weak = tuple(value / 1024 for value in VALUES)
    assert found == {names[0]: VALUES, names[1]: weak, names[2]: VALUES}


def test_what_holds_no_lora_cannot_be_weakened(tmp_path: Path) -> None:
    file = _file(tmp_path / "model.safetensors", "F32", struct.pack("<4f", *VALUES), "m.weight")
    with pytest.raises(ValueError, match=r"model\.safetensors holds no LoRA"):
        weaken(file)
