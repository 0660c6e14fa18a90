"""Notes of reviewers: they may repeat rows or name people, so they stay in the run's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def keep(folder: Path, condition: str, reviewer: str, notes: Mapping[str, str]) -> None:
    """Keep a reviewer's notes by the keys of rows, in the place of earlier ones."""
    file = _file(folder, condition, reviewer)
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"key": key, "note": note}) for key, note in notes.items()]
    draft = file.with_name(f".{file.name}")
    draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    draft.replace(file)


def read(folder: Path, condition: str, reviewer: str) -> dict[str, str]:
    """The notes that are on this machine, by key."""
    try:
        text = _file(folder, condition, reviewer).read_text(encoding="utf-8")
        return {str(one["key"]): str(one["note"]) for one in map(json.loads, text.splitlines())}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _file(folder: Path, condition: str, reviewer: str) -> Path:
    """Named by a digest: a reviewer's name may be no name of a file."""
    digest = hashlib.sha256(reviewer.encode()).hexdigest()[:16]
    return folder / "audits" / f"{condition}-{digest}.notes.jsonl"
