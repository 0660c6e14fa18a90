"""Prepares the rows of a spec into a folder, unless they lie there as they would be made."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.dataset.preparing.drawn_files import DrawnFiles
from orchestrator.dataset.preparing.machinery import machinery, need_columns, versions
from orchestrator.dataset.preparing.prepared import (
    InputFacts,
    PreparedData,
    Summary,
    damage,
    read_summary,
    write_summary,
)
from orchestrator.dataset.preparing.prepared_folder import (
    PARTIAL,
    partial_folder,
    put_in_place,
    refuse_foreign,
)
from orchestrator.dataset.preparing.rows import Written, prepare_rows
from orchestrator.dataset.preparing.stamps import preparation_stamp, tools_digest
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.progress import SILENT, Reporter

#: Prepared data without a folder of its own that is kept; what is older is removed.
KEPT = 8
#: What was used so recently may be in use.
_IN_USE = timedelta(hours=1)
#: A folder in the making that is older was left by a process that was killed.
_ABANDONED = timedelta(days=1)


def prepare(
    files: Iterable[RowsFile],
    rules: Rules,
    home: Path,
    *,
    limit: int | None = None,
    out: Path | None = None,
    reporter: Reporter = SILENT,
    clock: Clock = SYSTEM_CLOCK,
) -> PreparedData:
    """The prepared rows in `out`, or below `home` in a folder that their content names.

    They are written whole or not at all. Nothing is done if they are there, undamaged. `files` are
    drawn one by one: those that a `head` subset does not need are never asked for. Raises
    `DataError` for rows that are wrong, and `InputError`.
    """
    cache = home / "prepared"
    if out is not None:
        refuse_foreign(out)
    with contextlib.ExitStack() as stack:
        drawn = DrawnFiles(files, cache, stack)
        # Of the files of a `head` subset, those after the first may never be asked for.
        subset = rules.data.subset
        is_head = subset is not None and subset.by == "head"
        stamp = preparation_stamp(drawn.facts(1 if is_head else None), rules, limit)
        folder = out.resolve() if out is not None else cache / stamp[:32]
        with reporter.waiting("reading the rows"):
            known, why = _known(folder, stamp, drawn)
        if known is not None:
            with contextlib.suppress(OSError):
                os.utime(folder)  # removing old ones spares what was used a moment ago
            return PreparedData(folder, known, made=False)
        need_columns(itertools.islice(drawn, 1 if is_head else None), rules)
        parent = folder.parent
        with reporter.waiting("preparing the rows"), partial_folder(parent, folder.name) as partial:
            written = prepare_rows(drawn, rules, machinery(rules), partial, limit=limit)
            summary = _summary(written, drawn.unchanged(), stamp, rules, limit).sealed()
            write_summary(partial, summary)
            put_in_place(partial, folder, stamp)
    if out is None:
        _remove_old(cache, clock, spare=folder)
    _remove_abandoned(parent, f"{PARTIAL}{folder.name}-" if out is not None else PARTIAL, clock)
    return PreparedData(folder, summary, made=True, why=why)


def _known(folder: Path, stamp: str, drawn: DrawnFiles) -> tuple[Summary | None, str]:
    """The summary of what lies in the folder if it is what would be made; else why it is not."""
    summary = read_summary(folder)
    if summary is None:
        return None, ""
    if summary.stamp != stamp or list(summary.inputs) != drawn.facts(len(summary.inputs)):
        return None, "the rows, the spec or the program changed"
    found = damage(folder, summary)
    return (None, found) if found else (summary, "")


def _summary(
    written: Written, inputs: Iterable[InputFacts], stamp: str, rules: Rules, limit: int | None
) -> Summary:
    return Summary(
        stamp=stamp,
        seed=rules.seed,
        limit=limit if written.left_out.limit else None,
        inputs=tuple(inputs),
        tools_sha256=tools_digest(rules),
        rows=written.rows,
        left_out=written.left_out,
        kept_together=written.kept_together,
        redacted_rows=written.redacted_rows,
        too_long=written.too_long,
        splits=written.splits,
        versions=versions(rules),
    )


def _remove_old(cache: Path, clock: Clock, *, spare: Path) -> None:
    """Remove prepared data that was used least lately."""
    now_s = clock.now().timestamp()
    used: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError):
        used += [
            (now_s - path.stat().st_mtime, path)
            for path in cache.iterdir()
            if not path.name.startswith(PARTIAL) and path != spare
        ]
    for age_s, path in sorted(used)[KEPT - 1 :]:
        if age_s > _IN_USE.total_seconds():
            shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned(parent: Path, beginning: str, clock: Clock) -> None:
    """Remove what killed processes left in the making, by how its name begins."""
    now_s = clock.now().timestamp()
    with contextlib.suppress(OSError):
        for path in parent.iterdir():
            is_partial = path.name.startswith(beginning)
            if is_partial and now_s - path.stat().st_mtime > _ABANDONED.total_seconds():
                shutil.rmtree(path, ignore_errors=True)
