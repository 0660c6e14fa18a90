"""Brings back from the branch what an earlier attempt of the run had kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
    """The predictions of the last of these attempts that has some; None if none has."""
    for prefix in reversed(prefixes):
        revision, files = branch.files(prefix)
        wanted = {
            path: files[path] for name in PREDICTIONS if (path := f"{prefix}/{name}") in files
        }
        if len(wanted) == len(PREDICTIONS):
            found = Found(prefix, PREDICTIONS[0], revision)
            _bring(branch, found, wanted, output)
            return found
    return None


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
