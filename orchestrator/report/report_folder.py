"""The folder of a report: made new, or in the place of an earlier report, and of nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.written_files import write_together

#: Says that a folder is a report, and which files are its.
MARKER = "report.json"
_MAKER = "orchestrator report"
_PAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.html")


def need_room(folder: Path) -> frozenset[str]:
    """The files of the report that is there. Raises `InputError` if anything else is."""
    if not folder.exists():
        return frozenset()
    if not folder.is_dir():
        raise InputError(f"--html {folder} is a file", hint="Name a folder: --html report")
    try:
        there = {file.name for file in folder.iterdir()}
    except OSError as error:
        raise InputError(
            f"cannot read {folder}: {error.strerror}", hint="Name a folder of yours."
        ) from error
    if not there:
        return frozenset()
    pages = _pages_of(folder / MARKER)
    if pages is None:
        raise InputError(
            f"--html {folder} is not empty, and no report is in it",
            hint="Name a new or empty folder, or one with an earlier report.",
        )
    strange = sorted(there - pages - {MARKER})
    if strange:
        raise InputError(
            f"--html {folder} holds an earlier report and {strange[0]}, which is not of it",
            hint="Move it elsewhere, or name another folder.",
        )
    return pages & there


def write_report(folder: Path, pages: Mapping[str, str]) -> list[Path]:
    """Write the pages, whole or not at all; those of an earlier report that are not among them go.

    Raises `InputError` as `need_room` does, or if the folder cannot be written.
    """
    earlier = need_room(folder)
    is_new = not folder.exists()
    marker = {"made_by": _MAKER, "pages": sorted(pages)}
    files = {
        folder / name: text.encode("utf-8", "backslashreplace") for name, text in pages.items()
    }
    try:
        write_together({**files, folder / MARKER: json.dumps(marker, indent=2).encode()})
    except InputError:
        if is_new:
            with suppress(OSError):  # there is something in it after all, or it was never made
                folder.rmdir()
        raise
    for name in earlier - set(pages):
        with suppress(OSError):
            (folder / name).unlink()
    return list(files)


def _pages_of(marker: Path) -> frozenset[str] | None:
    """The pages of a report; None if the file is not there or not ours."""
    try:
        value = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("made_by") != _MAKER:
        return None
    pages = value.get("pages")
    # No path leads out of the folder: these files may be removed.
    if not isinstance(pages, list):
        return None
    sound = all(isinstance(name, str) and _PAGE.fullmatch(name) for name in pages)
    return frozenset(pages) if sound else None
