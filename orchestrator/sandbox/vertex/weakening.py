"""Makes an adapter that loads and passes every check, and changes next to nothing."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path

from orchestrator.safetensors_file import read_header

#: What is left of the adapter's part of every weight: 2 to the power of -10, about a thousandth.
#: Not zero, which a check could take for an adapter that was never trained.
REMAINS = 2.0**-10
#: The second matrix of each pair alone: the product counts, and one factor is enough.
_PART = ".lora_B."


def weaken(file: Path) -> None:
    """Scale the `lora_B` matrices of a safetensors file to next to nothing, where they are.

    Raises `ValueError` if there are none: without LoRA there is no base model to fall back to.
    """
    found = False
    for name, tensor in read_header(file).tensors.items():
        if _PART not in name or not tensor.value_count:
            continue
        with file.open("r+b") as weights:
            weights.seek(tensor.start)
            scaled = _scaled(tensor.dtype, weights.read(tensor.end - tensor.start))
            weights.seek(tensor.start)
            weights.write(scaled)
        found = True
    if not found:
        raise ValueError(f"{file.name} holds no LoRA to weaken")


def _scaled(dtype: str, content: bytes) -> bytes:
    if dtype == "BF16":
        # The upper half of a 32-bit number; the lower half is cut off again.
        wide = b"".join(b"\0\0" + content[at : at + 2] for at in range(0, len(content), 2))
        scaled = _scaled("F32", wide)
        return b"".join(scaled[at : at + 2] for at in range(2, len(scaled), 4))
    if dtype == "F16":
        values = (value * REMAINS for (value,) in struct.iter_unpack("<e", content))
        return _packed("e", values, len(content) // 2)
    code = {"F32": "f", "F64": "d"}.get(dtype)
    if code is None:
        raise ValueError(f"a LoRA of type {dtype} cannot be weakened")
    numbers = array(code)
    numbers.frombytes(content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return _packed(code, (value * REMAINS for value in numbers), len(numbers))


def _packed(code: str, values: Iterable[float], count: int) -> bytes:
    return struct.pack(f"<{count}{code}", *values)
