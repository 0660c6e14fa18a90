"""Folders with prepared rows: made beside their place, and put there whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.dataset.preparing.prepared import SUMMARY, damage, file_name, read_summary
from orchestrator.dataset.preparing.splits import SPLITS
from orchestrator.errors import InputError

#: How the names of folders begin that are in the making.
PARTIAL = ".partial-"


def refuse_foreign(folder: Path) -> None:
    """Raise unless the folder is absent, empty, or holds prepared rows and nothing else."""
    ours = {SUMMARY, *map(file_name, SPLITS)}
    if folder.exists() and folder.samefile(Path()):
        # It is put into its place as a whole: whoever stands in it would stand nowhere.
        raise InputError(
            f"{folder} is the folder that you are in",
            hint="Name a new folder inside it with --out DIR.",
        )
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(
            f"{folder} cannot be used: {error.strerror}", hint="Name a folder with --out DIR."
        ) from error
    if names - ours or (names and SUMMARY not in names):
        shown = ", ".join(sorted(names - ours or names)[:3])
        raise InputError(
            f"{folder} holds other things ({shown}): nothing is overwritten",
            hint="Name an empty or a new folder with --out DIR.",
        )
    if names and read_summary(folder) is None:
        raise InputError(
            f"{folder / SUMMARY} is no summary of prepared rows: nothing is overwritten",
            hint="Name an empty or a new folder with --out DIR.",
        )


@contextlib.contextmanager
def partial_folder(parent: Path, name: str) -> Iterator[Path]:
    """The path of a folder beside its future place; what is left of it at the end is removed.

    It is made by whoever needs it: rows that are refused leave no trace. Folders above it that did
    not exist are removed again if they stay empty.
    """
    above = list(itertools.takewhile(lambda path: not path.exists(), (parent, *parent.parents)))
    folder = parent / f"{PARTIAL}{name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        yield folder
    except OSError as error:
        raise InputError(
            f"cannot write {error.filename or folder}: {error.strerror}",
            hint="Make room, or name another folder with --out DIR or ORCHESTRATOR_HOME.",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in above:
            with contextlib.suppress(OSError):
                path.rmdir()


def put_in_place(partial: Path, folder: Path, stamp: str) -> None:
    """Put the finished folder into its place, in one step; what was prepared there before goes."""
    old: Path | None = None
    for _ in range(5):
        try:
            if folder.is_dir() and any(folder.iterdir()):
                old = Path(
                    tempfile.mkdtemp(prefix=f"{PARTIAL}{folder.name}-old-", dir=folder.parent)
                )
                with contextlib.suppress(FileNotFoundError):  # another process was first
                    folder.rename(old)
            partial.rename(folder)
        except OSError:
            # Another process may have put the same there a moment ago, or something else.
            summary = read_summary(folder)
            if summary is not None and summary.stamp == stamp and not damage(folder, summary):
                return
        else:
            return
        finally:
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
    raise InputError(
        f"{folder} cannot be replaced",
        hint="Name a new folder inside it with --out DIR, or wait for the other command to end.",
    )
