"""Staging: put a plan's files where a service can read them, each content only once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.digests import sha256_file
from orchestrator.errors import InputError, Place
from orchestrator.progress import SILENT, Moved, Reporter
from orchestrator.stores.base import ObjectStore

_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,16})?")


@dataclass(frozen=True)
class StagedFile:
    """A file in a store. `uploaded` is False if its content was there already."""

    uri: str
    size_bytes: int
    sha256: str
    uploaded: bool


def stage(
    store: ObjectStore, files: Mapping[str, Path], root_uri: str, reporter: Reporter = SILENT
) -> dict[str, StagedFile]:
    """Store each file as `<root_uri>/staged/<sha256><suffix>`; the result has the same keys.

    `root_uri` is a bucket with an optional folder. The same content is never sent twice, in this
    run or another. Raises `InputError` for a file that cannot be read or that changes meanwhile,
    and what `ObjectStore.put` raises.
    """
    size_bytes = sum(file.stat().st_size for file in files.values() if file.is_file())
    with reporter.transfer("staging", size_bytes) as moved:
        return {
            key: _stage_one(store, file, root_uri.rstrip("/"), moved) for key, file in files.items()
        }


def _stage_one(store: ObjectStore, file: Path, root_uri: str, moved: Moved) -> StagedFile:
    before = _identity(file)
    sha256 = _sha256(file)
    suffix = file.suffix if _SUFFIX.fullmatch(file.suffix) else ""
    uri = f"{root_uri}/staged/{sha256}{suffix}"
    put = store.put(file, uri, moved)
    if _identity(file) != before:
        # Other bytes may now lie under this digest, and would be trained on by its name.
        raise InputError(
            "the file changed while it was staged",
            where=Place(str(file)),
            hint=f"Remove {uri}, which may not hold what its name says, and run again.",
        )
    return StagedFile(uri, put.stored.size_bytes, sha256, put.created)


def _sha256(file: Path) -> str:
    try:
        return sha256_file(file)
    except OSError as error:
        raise InputError(
            f"cannot read the file: {error.strerror}",
            where=Place(str(file)),
            hint="Check the path, and that the file may be read.",
        ) from error


def _identity(file: Path) -> tuple[int, ...]:
    """What tells whether a file is the same and unchanged; nothing if it is gone."""
    try:
        about = file.stat()
    except OSError:
        return ()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
