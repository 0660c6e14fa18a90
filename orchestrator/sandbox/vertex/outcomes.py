"""What a rule makes of the output of a training, before it is stored."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from orchestrator.safetensors_file import read_header
from orchestrator.sandbox.edge.rules import JobRule, Outcome
from orchestrator.sandbox.standins.layout import CHECKPOINTS, STDOUT
from orchestrator.sandbox.vertex.weakening import weaken

#: Outcomes that leave nothing but the log.
WITHOUT_OUTPUT = frozenset({Outcome.FAILED, Outcome.EXPIRED, Outcome.STUCK})

#: Not-a-number, as the first value of a tensor, by its type in the safetensors format.
_NAN = {
    "F64": b"\x00\x00\x00\x00\x00\x00\xf8\x7f",
    "F32": b"\x00\x00\xc0\x7f",
    "F16": b"\x00\x7e",
    "BF16": b"\xc0\x7f",
}
_CUT_BYTES = 64


def spoil(output: Path, rule: JobRule) -> list[str]:
    """Change the files of an output as the rule says; returns what was done, a line each."""
    if rule.outcome in WITHOUT_OUTPUT:
        _remove_all_but_the_log(output)
        return [str(rule.outcome)]
    if rule.outcome is Outcome.PARTIAL:
        return [f"{rule.outcome}: {name}" for name in _remove_the_final_model(output)]
    change = _CHANGES[rule.outcome]
    done = []
    for file in _files(output):
        name = file.relative_to(output).as_posix()
        if any(fnmatchcase(name, pattern) for pattern in rule.files):
            change(file)
            done.append(f"{rule.outcome}: {name}")
    return done or [f"{rule.outcome}: no file matches {', '.join(rule.files)}"]


def _files(output: Path) -> list[Path]:
    return sorted(one for one in output.rglob("*") if one.is_file())


def _remove_all_but_the_log(output: Path) -> None:
    for file in _files(output):
        if file != output / STDOUT:
            file.unlink()


def _remove_the_final_model(output: Path) -> list[str]:
    removed = []
    for folder in sorted((output / CHECKPOINTS).glob("*")):
        if folder.is_dir() and not folder.name.startswith("checkpoint-"):
            shutil.rmtree(folder)
            removed.append(f"{folder.relative_to(output).as_posix()}/ is missing")
    return removed or ["there was no final model"]


def _not_a_number(file: Path) -> None:
    for tensor in read_header(file).tensors.values():
        if tensor.dtype in _NAN and tensor.value_count:
            with file.open("r+b") as weights:
                weights.seek(tensor.start)
                weights.write(_NAN[tensor.dtype])
            return
    raise ValueError(f"{file.name} holds no floating-point numbers")


def _cut(file: Path) -> None:
    size_bytes = file.stat().st_size
    with file.open("r+b") as cut:
        cut.truncate(size_bytes - min(_CUT_BYTES, (size_bytes + 1) // 2))


_CHANGES: dict[Outcome, Callable[[Path], None]] = {
    Outcome.NAN_WEIGHTS: _not_a_number,
    Outcome.MISSING_FILES: Path.unlink,
    Outcome.CUT_FILES: _cut,
    Outcome.WEAKEN: weaken,
}
