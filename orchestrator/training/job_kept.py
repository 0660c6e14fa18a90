"""What of a job's output is kept on the branch, and what goes when something newer comes. Pure."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

MOST_CHECKPOINTS = 2
#: What only going on with a training needs.
OPTIMIZER_STATE = ("optimizer*", "scheduler.pt", "scaler.pt", "rng_state*.pth", "global_step*")
#: What grows while a script runs and is worth keeping before its end.
GROWING = ("metrics.jsonl", "predictions.jsonl", "run.json")
#: Those of them that each condition of `generate.py` has in a folder of its own.
GROWING_INSIDE = ("predictions.jsonl", "run.json")
#: A pickle nobody needs, and a card that trainers write, with paths of their machine in it.
LEFT_OUT = ("training_args.bin", "README.md")
_CHECKPOINT = re.compile(r"checkpoint-([0-9]{1,12})")


def checkpoint_step(name: str) -> int | None:
    """The step of a folder called `checkpoint-N`; None for any other name."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None


def steps_of(paths: Iterable[str], folder: str) -> dict[int, list[str]]:
    """The paths of the checkpoints directly below a folder of the branch, by step."""
    found: dict[int, list[str]] = {}
    for path in paths:
        parts = PurePosixPath(path).parts
        below = parts[len(PurePosixPath(folder).parts) :]
        step = checkpoint_step(below[0]) if len(below) > 1 else None
        if step is not None:
            found.setdefault(step, []).append(path)
    return found


def obsolete(paths: Collection[str], folder: str) -> set[str]:
    """What may go: all but two checkpoints, and the optimizer state of all but the newest."""
    steps = steps_of(paths, folder)
    newest_first = sorted(steps, reverse=True)
    gone = {path for step in newest_first[MOST_CHECKPOINTS:] for path in steps[step]}
    depth = len(PurePosixPath(folder).parts) + 1
    for step in newest_first[1:MOST_CHECKPOINTS]:
        gone |= {path for path in steps[step] if _is_state(PurePosixPath(path).parts[depth])}
    return gone


def _is_state(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in OPTIMIZER_STATE)


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files to keep below a folder: their paths in it and on disk, in order; no links."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(root) / name
            kept = not name.startswith(".") and name not in LEFT_OUT
            if kept and file.is_file() and not file.is_symlink():
                yield file.relative_to(folder).as_posix(), file


def finished_files(output: Path) -> dict[str, Path]:
    """All that a script left, but for checkpoints, which are kept as they are reported."""
    return {
        path: file
        for path, file in files_below(output)
        if checkpoint_step(PurePosixPath(path).parts[0]) is None
    }


def shows_something(output: Path) -> bool:
    """Whether an output holds what a job is started for: a model, predictions or an export."""
    for path, file in finished_files(output).items():
        parts = PurePosixPath(path).parts
        made = len(parts) > 1 and parts[0] in ("final", "merged")
        made = made or (parts[-1] == "predictions.jsonl" and len(parts) <= 2)
        if (made or file.suffix in (".gguf", ".litertlm")) and file.stat().st_size > 0:
            return True
    return False


def conditions_of(output: Path) -> list[str]:
    """Under which conditions rows were answered: folders of the output that hold predictions."""
    files = output.glob("*/predictions.jsonl")
    return sorted(one.parent.name for one in files if one.stat().st_size > 0)


def hold(source: Path, target: Path) -> None:
    """Have the files of a folder under another name too, so that they outlive the first.

    Trainers delete their older checkpoints, perhaps while those are still being uploaded.
    """
    for path, file in files_below(source):
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            copy.hardlink_to(file)
        except OSError:  # a file system without links
            shutil.copyfile(file, copy)


def hold_growing(output: Path, target: Path) -> None:
    """Copy what grows, as far as it is whole lines."""
    target.mkdir(parents=True, exist_ok=True)
    inside = [f"{folder}/{name}" for folder in conditions_of(output) for name in GROWING_INSIDE]
    for name in (*GROWING, *inside):
        file, copy = output / name, target / name
        if file.is_file():
            content = file.read_bytes()
            whole = content[: content.rfind(b"\n") + 1] if name.endswith(".jsonl") else content
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(whole)
