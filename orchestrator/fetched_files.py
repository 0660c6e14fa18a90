"""The cache of files that were fetched: each in a folder of its own, named by what it holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.data_addresses import RemoteAddress, RemoteRows
from orchestrator.digests import git_blob_oid, sha256_file
from orchestrator.errors import Corrupt, InputError
from orchestrator.written_files import write_whole

_RECORD = "source.json"
#: A part of a file that nothing was written to for so long was left by a killed process.
_ABANDONED = timedelta(hours=6)


class FetchedFiles:
    """Files by (bucket, object, generation) or by the digest that the Hub gives of a content."""

    def __init__(self, folder: Path) -> None:
        self._files = folder / "files"
        self._found = folder / "found"

    def get(self, rows: RemoteRows) -> Path | None:
        """The file if it is here, whole and unchanged."""
        file = self._place(rows)
        record = _read_json(file.with_name(_RECORD))
        try:
            stat = file.stat()
        except OSError:
            return None
        if not isinstance(record, dict) or stat.st_size != rows.size_bytes:
            return None
        if record.get("mtime_ns") == stat.st_mtime_ns:
            return file
        # Touched since it was fetched: only its content can tell.
        if not _is_whole(file, rows):
            return None
        _record(file, rows)
        return file

    def add(self, rows: RemoteRows, fetch: Callable[[Path], None]) -> Path:
        """Fetch a file to its place. `fetch` puts it there checked, or not at all."""
        from orchestrator.stores.checked import local_errors

        file = self._place(rows)
        with local_errors(file):
            _remove_abandoned(file.parent)
            _need_room(file, rows.size_bytes)
        try:
            fetch(file)
        except Corrupt:
            fetch(file)  # once more: a copy that is bad over there is bad again
        _record(file, rows)
        return file

    def known(self, address: RemoteAddress) -> tuple[RemoteRows, ...] | None:
        """What an address meant when it was last asked about; None if it never was."""
        read = _read_json(self._answer(address))
        try:
            return tuple(RemoteRows(address, **one) for one in read)
        except TypeError:  # none, or damaged
            return None

    def learn(self, address: RemoteAddress, found: tuple[RemoteRows, ...]) -> None:
        """Remember what an address means."""
        listed = [{k: v for k, v in asdict(rows).items() if k != "address"} for rows in found]
        with contextlib.suppress(InputError):  # only --offline misses it
            write_whole(self._answer(address), json.dumps(listed, indent=1).encode())

    def _place(self, rows: RemoteRows) -> Path:
        # The name stays, because its suffix says what the file is.
        return self._files / _key(rows.identity) / rows.path.rpartition("/")[2]

    def _answer(self, address: RemoteAddress) -> Path:
        return self._found / f"{_key(str(address))}.json"


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _record(file: Path, rows: RemoteRows) -> None:
    known = {"source": rows.name, "mtime_ns": file.stat().st_mtime_ns}
    with contextlib.suppress(InputError):  # without it, the content is looked at each time
        write_whole(file.with_name(_RECORD), json.dumps(known).encode())


def _need_room(file: Path, size_bytes: int) -> None:
    """Better at once than after an hour of fetching."""
    folder = next(one for one in file.parents if one.exists())
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes:
        raise InputError(
            f"{folder} has {free_bytes} bytes free, and {file.name} takes {size_bytes}",
            hint="Make room, or set ORCHESTRATOR_HOME to a folder on a larger disk.",
        )


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes left here that were killed long ago."""
    now_s = SYSTEM_CLOCK.now().timestamp()
    for part in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if now_s - part.stat().st_mtime > _ABANDONED.total_seconds():
                part.unlink()


def _is_whole(file: Path, rows: RemoteRows) -> bool:
    if rows.checksum_kind == "sha256":
        return sha256_file(file) == rows.checksum
    if rows.checksum_kind == "git":
        return git_blob_oid(file) == rows.checksum
    from orchestrator.stores.checked import sums_of

    return sums_of(file).crc32c == rows.checksum


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
