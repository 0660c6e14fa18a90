"""Copies a shipped spec into a folder of the user's, with all that it needs to work there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.shipped import MODELINE, SpecSource
from orchestrator.spec import load_spec
from orchestrator.spec_schema import SCHEMA_FILE, job_schema_text
from orchestrator.written_files import write_together

#: The schema lies beside the copy, so that the folder can be moved, shared and committed as it is.
_SCHEMA = Path(".orchestrator") / SCHEMA_FILE


@dataclass(frozen=True)
class CopiedSpec:
    """The files of a copy. `rows` and `tools` are None for a spec that names none."""

    spec: Path
    rows: Path | None
    schema: Path
    tools: Path | None = None


def copy_spec(source: SpecSource, destination: Path, *, overwrite: bool = False) -> CopiedSpec:
    """Write a spec, its rows and the schema for editors into a folder, which is made if need be.

    A destination that ends in `.yaml` is the name of the copy itself. Files that are there already
    with another content are left alone, and nothing is written, unless `overwrite`; the schema is
    generated and always renewed. Raises `InputError`.
    """
    named = destination.suffix in (".yaml", ".yml")
    folder = destination.parent if named else destination
    spec = folder / (destination.name if named else source.file.name)
    contents = {spec: with_schema(source.file.read_text(encoding="utf-8"), _SCHEMA).encode()}
    data = load_spec(source.file).spec.data
    rows, tools = (folder / name if name else None for name in (data.path, data.tools))
    for file in (rows, tools):
        if file is not None:
            contents[file] = (source.file.parent / file.relative_to(folder)).read_bytes()
    if not overwrite:
        _refuse_conflicts(contents)
    contents[folder / _SCHEMA] = job_schema_text().encode()
    write_together(contents)
    return CopiedSpec(spec, rows, folder / _SCHEMA, tools)


def with_schema(text: str, schema: Path) -> str:
    """A spec's text with the comment by which editors find its schema."""
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(MODELINE)]
    return "".join([f"{MODELINE}{schema.as_posix()}\n", *lines])


def _refuse_conflicts(contents: dict[Path, bytes]) -> None:
    for file, content in contents.items():
        if os.path.lexists(file) and _read(file) != content:
            raise InputError(
                f"{file} exists already, with another content",
                hint="Nothing was written. Name another folder, or replace the file with --force.",
            )


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
