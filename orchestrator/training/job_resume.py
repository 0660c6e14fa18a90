"""Brings back from the branch what an earlier attempt of the run had kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.training.job_branch import Branch, StoredFile
    from orchestrator.training.job_kept import steps_of
else:
    from job_branch import Branch, StoredFile
    from job_kept import steps_of

#: What `generate.py` needs to go on: its answers, and what they were made of.
PREDICTIONS = ("predictions.jsonl", "run.json")


@dataclass(frozen=True)
class Found:
    """What was brought back: from which attempt, what it is called, of which revision."""

    prefix: str
    name: str
    revision: str


def fetch_checkpoint(branch: Branch, prefixes: Sequence[str], output: Path) -> Found | None:
    """The newest checkpoint of these attempts, as a folder of `output`; None if there is none."""
    newest: tuple[int, int] | None = None
    found: tuple[Found, dict[str, StoredFile]] | None = None
    for number, prefix in enumerate(prefixes):
        revision, files = branch.files(prefix)
        for step, paths in steps_of(files, prefix).items():
            if newest is None or (step, number) > newest:
                newest = (step, number)
                one = Found(prefix, f"checkpoint-{step}", revision)
                found = (one, {path: files[path] for path in paths})
    if found is None:
        return None
    _bring(branch, found[0], found[1], output)
    return found[0]


def fetch_predictions(branch: Branch, prefixes: Sequence[str], output: Path) -> Found | None:
    """The predictions of the last of these attempts that has some; None if none has.

    Those of a condition are in a folder of their own: each comes from the last attempt that has it.
    """
    last: Found | None = None
    brought: set[str] = set()
    for prefix in reversed(prefixes):
        revision, files = branch.files(prefix)
        wanted: dict[str, StoredFile] = {}
        for folder in _answered(files, prefix) - brought:
            brought.add(folder)
            paths = [f"{prefix}/{folder}{name}" for name in PREDICTIONS]
            wanted |= {path: files[path] for path in paths}
        if wanted:
            found = Found(prefix, PREDICTIONS[0], revision)
            _bring(branch, found, wanted, output)
            last = last or found
    return last


def _answered(files: Mapping[str, StoredFile], prefix: str) -> set[str]:
    """The folders of an attempt with predictions and what they were made of: `` or `tuned/`."""
    start, name = f"{prefix}/", PREDICTIONS[0]
    paths = [path.removeprefix(start) for path in files if path.startswith(start)]
    folders = {path.removesuffix(name) for path in paths if PurePosixPath(path).name == name}
    shallow = {one for one in folders if one.count("/") <= 1}
    return {one for one in shallow if all(f"{start}{one}{name}" in files for name in PREDICTIONS)}


def _bring(branch: Branch, found: Found, files: Mapping[str, StoredFile], output: Path) -> None:
    """Download beside the output first: what lies there is whole."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as draft:
        branch.fetch(files, found.revision, Path(draft))
        for one in (Path(draft) / found.prefix).iterdir():
            target = output / one.name
            if target.is_dir():
                shutil.rmtree(target)
            one.replace(target)
