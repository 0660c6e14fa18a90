"""Writes files that the user asked for, at once or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import InputError


def write_whole(file: Path, content: bytes) -> None:
    """Write a file and the folders above it; raises `InputError` if that cannot be done."""
    try:
        target = file.resolve()  # through a link, as any editor would
        if target.exists() and not target.is_file():
            target.write_bytes(content)  # a pipe or a terminal: nothing to replace
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {file}: {error.strerror}",
            hint="Name a place that you may write to.",
        ) from error
