"""The files of one bucket: records as JSON, content beside them, all under hashed names.

`NAME.json` describes the live version of an object and `NAME.GENERATION.json` a noncurrent one;
`NAME.GENERATION.bin` is content. A record is replaced in one step after its content is in place.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.sandbox.objects.buckets import StoredBucket
from orchestrator.sandbox.objects.draft import hashed_name, write_json
from orchestrator.sandbox.objects.versions import StoredVersion

_BUCKET = "bucket.json"
_INSTANTS = ("created", "updated", "deleted")

R = TypeVar("R", StoredBucket, StoredVersion)


class BucketFolder:
    """Reads and writes the files of one bucket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def content(self, name: str, generation: int) -> Path:
        """Where the content of a version lies."""
        return self.path / f"{hashed_name(name)}.{generation}.bin"

    def write_bucket(self, bucket: StoredBucket) -> None:
        """Make or replace the bucket's record."""
        self.path.mkdir(exist_ok=True)
        write_json(self.path / _BUCKET, _record(bucket))

    def write_live(self, version: StoredVersion) -> None:
        """Make this the object's live version."""
        write_json(self._live(version.name), _record(version))

    def write_noncurrent(self, version: StoredVersion) -> None:
        """Keep this version beside the live one. Until that is replaced or gone, it counts."""
        write_json(self._noncurrent(version), _record(version))

    def remove_live(self, version: StoredVersion, *, content: bool) -> None:
        """The object has no live version any more."""
        self._live(version.name).unlink()
        if content:
            version.path.unlink(missing_ok=True)

    def remove_noncurrent(self, version: StoredVersion) -> None:
        """Forget a noncurrent version and its content."""
        self._noncurrent(version).unlink()
        version.path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the bucket."""
        shutil.rmtree(self.path)

    def load(self) -> tuple[StoredBucket, list[StoredVersion], list[StoredVersion]] | None:
        """The bucket, its live and its noncurrent versions, each in order of age.

        What a process left that ended in the middle is mended: None if that is a whole bucket.
        """
        try:
            bucket = _restored(StoredBucket, json.loads(self._text(_BUCKET)))
        except FileNotFoundError:  # the process ended while it made or removed the bucket
            self.remove()
            return None
        live: dict[str, StoredVersion] = {}
        noncurrent: list[StoredVersion] = []
        for file in self.path.glob("*.json"):
            if file.name != _BUCKET:
                version = self._version(file)
                if file == self._live(version.name):
                    live[version.name] = version
                else:
                    noncurrent.append(version)
        for version in list(noncurrent):
            current = live.get(version.name)
            if current is not None and current.generation == version.generation:
                # The process ended before it replaced or removed the live record.
                self._noncurrent(version).unlink()
                noncurrent.remove(version)
        self._remove_orphans({v.path for v in (*live.values(), *noncurrent)})
        return bucket, list(live.values()), sorted(noncurrent, key=lambda v: v.generation)

    def _version(self, file: Path) -> StoredVersion:
        record = json.loads(self._text(file.name))
        path = self.content(record["name"], record["generation"])
        return _restored(StoredVersion, record | {"path": path})

    def _remove_orphans(self, known: set[Path]) -> None:
        for file in self.path.iterdir():
            # Left by a process that ended between placing content and recording it.
            if file.suffix != ".json" and file not in known:
                file.unlink()

    def _live(self, name: str) -> Path:
        return self.path / f"{hashed_name(name)}.json"

    def _noncurrent(self, version: StoredVersion) -> Path:
        return self.path / f"{hashed_name(version.name)}.{version.generation}.json"

    def _text(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")


def _record(value: StoredBucket | StoredVersion) -> dict[str, Any]:
    record = {f.name: getattr(value, f.name) for f in fields(value) if f.name != "path"}
    for key in _INSTANTS:
        if isinstance(record.get(key), datetime):
            record[key] = record[key].isoformat()
    return record


def _restored(kind: type[R], record: dict[str, Any]) -> R:
    for key in _INSTANTS:
        if record.get(key) is not None:
            record[key] = datetime.fromisoformat(record[key])
    if "updated" not in record:  # written by 0.1.0, whose buckets never changed
        record["updated"] = record["created"]
    return kind(**record)
