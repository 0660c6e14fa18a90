"""Staging: put a plan's files where a service can read them, each content only once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from orchestrator.digests import sha256_file
from orchestrator.errors import InputError, Place
from orchestrator.job_scripts import scripts_digest
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


class RepoWriter(Protocol):
    """What can commit files to a private repo of its own."""

    def commit_files(
        self, repo: str, kind: Literal["model", "dataset"], files: Mapping[str, Path]
    ) -> str:
        """The commit that holds these files; a new one only if one of them was not there."""
        ...


def stage_in_repo(
    writer: RepoWriter,
    repo_uri: str,
    files: Mapping[str, Path],
    scripts: Mapping[str, Path],
    reporter: Reporter = SILENT,
) -> dict[str, StagedFile]:
    """Commit rows and scripts to `hf://datasets/owner/name`, all in one commit.

    Rows lie there as `staged/<sha256><suffix>` and scripts as `code/<digest of all>/<name>`, so
    that a job that names the commit can be repeated to the byte. The result has the keys of
    `files`, and `code/<name>` for each script.
    """
    repo = repo_uri.removeprefix("hf://datasets/")
    digests = {key: _sha256(file) for key, file in files.items()}
    paths = {key: f"staged/{digests[key]}{_suffix(file)}" for key, file in files.items()}
    code = f"code/{scripts_digest(scripts)}"
    for name, file in scripts.items():
        digests[f"code/{name}"], paths[f"code/{name}"] = _sha256(file), f"{code}/{name}"
    sources = {**files, **{f"code/{name}": file for name, file in scripts.items()}}
    before = {key: _identity(file) for key, file in files.items()}
    with reporter.unbroken("the staging commit"):
        revision = writer.commit_files(
            repo, "dataset", {paths[key]: source for key, source in sources.items()}
        )
    for key, file in files.items():
        if _identity(file) != before[key]:
            raise InputError(
                "the file changed while it was staged",
                where=Place(str(file)),
                hint="Run the same command again.",
            )
    return {
        key: StagedFile(
            f"{repo_uri}@{revision}/{paths[key]}", source.stat().st_size, digests[key], True
        )
        for key, source in sources.items()
    }


def copy_first_lines(file: Path, target: Path, count: int) -> None:
    """Write the first lines of a file of rows to another file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as rows, target.open("wb") as copy:
        copy.writelines(itertools.islice(rows, count))


def _suffix(file: Path) -> str:
    return file.suffix if _SUFFIX.fullmatch(file.suffix) else ""


def _stage_one(store: ObjectStore, file: Path, root_uri: str, moved: Moved) -> StagedFile:
    before = _identity(file)
    sha256 = _sha256(file)
    uri = f"{root_uri}/staged/{sha256}{_suffix(file)}"
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
