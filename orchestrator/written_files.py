"""Writes files that the user asked for, at once or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.errors import InputError


def write_whole(file: Path, content: bytes) -> None:
    """Write a file and the folders above it; raises `InputError` if that cannot be done."""
    write_together({file: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that are of no use without each other: all of them, or none."""
    parts: dict[Path, tuple[Path, Path]] = {}
    try:
        for file, content in contents.items():
            with _worded(file):
                target = file.resolve()  # through a link, as any editor would
                if target.exists() and not target.is_file():
                    target.write_bytes(content)  # a pipe or a terminal: nothing to replace
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.{os.getpid()}.part")
                parts[file] = (part, target)
                part.write_bytes(content)
        for file, (part, target) in parts.items():
            with _worded(file):
                part.replace(target)
    finally:
        for part, _ in parts.values():
            with suppress(OSError):  # where it could not be written
                part.unlink(missing_ok=True)


@contextmanager
def _worded(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {file}: {error.strerror}",
            hint="Name a place that you may write to, and that has room.",
        ) from error
