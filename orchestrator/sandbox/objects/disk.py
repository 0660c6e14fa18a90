"""An object store on disk: buckets, objects and their generations, below every face that serves it.

Names that clients chose are never file names: a name's SHA-256 is. The record of an object is
replaced in one step after its content is in place, so a crash leaves the old object or the new one.
"""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.sandbox.objects.draft import Draft, hashed_name, read_blocks, write_json
from orchestrator.sandbox.objects.versions import (
    ANY_VERSION,
    DEFAULT_CONTENT_TYPE,
    BucketMissing,
    ObjectMissing,
    PreconditionFailed,
    Preconditions,
    StoredVersion,
)

__all__ = [
    "DEFAULT_CONTENT_TYPE",
    "BucketMissing",
    "ObjectDisk",
    "ObjectMissing",
    "PreconditionFailed",
    "Preconditions",
    "StoredVersion",
]


class ObjectDisk:
    """Buckets and objects under one folder. Safe for threads; one process per folder."""

    def __init__(self, root: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self.root = root
        self.clock = clock
        self._lock = threading.RLock()
        self._drafts = root / "drafts"
        self._buckets = root / "buckets"
        self._created: dict[str, datetime] = {}
        self._objects: dict[str, dict[str, StoredVersion]] = {}
        self._last_generation = 0
        shutil.rmtree(self._drafts, ignore_errors=True)
        self._drafts.mkdir(parents=True)
        self._buckets.mkdir(exist_ok=True)
        self._load()

    def create_bucket(self, name: str) -> bool:
        """Make a bucket; False if it is there already."""
        with self._lock:
            if name in self._objects:
                return False
            created = self.clock.now()
            self._folder(name).mkdir(exist_ok=True)
            write_json(
                self._folder(name) / "bucket.json",
                {"name": name, "created": created.isoformat()},
            )
            self._created[name] = created
            self._objects[name] = {}
            return True

    def buckets(self) -> list[str]:
        """The names of the buckets, in order."""
        with self._lock:
            return sorted(self._objects)

    def bucket_created(self, name: str) -> datetime:
        """When the bucket was made; raises `BucketMissing`."""
        with self._lock:
            self._contents(name)
            return self._created[name]

    def delete_bucket(self, name: str) -> bool:
        """Remove an empty bucket; False if it has objects. Raises `BucketMissing`."""
        with self._lock:
            if self._contents(name):
                return False
            del self._objects[name], self._created[name]
            shutil.rmtree(self._folder(name))
            return True

    def draft(self) -> Draft:
        """A place to write content to before `commit`; use it in a `with` block."""
        return Draft(self._drafts / uuid.uuid4().hex)

    def commit(
        self,
        draft: Draft,
        bucket: str,
        name: str,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        metadata: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        preconditions: Preconditions = ANY_VERSION,
    ) -> StoredVersion:
        """Make a draft the object's new generation.

        Raises `BucketMissing` or `PreconditionFailed`; the store is then as it was.
        """
        draft.close()
        with self._lock:
            old = self._contents(bucket).get(name)
            preconditions.check(old)
            now = self.clock.now()
            generation = max(int(now.timestamp() * 1_000_000), self._last_generation + 1)
            version = StoredVersion(
                bucket=bucket,
                name=name,
                generation=generation,
                metageneration=1,
                size_bytes=draft.size_bytes,
                crc32c=draft.crc32c,
                md5=draft.md5,
                content_type=content_type,
                created=now,
                updated=now,
                path=self._content(bucket, name, generation),
                metadata=dict(metadata or {}),
                properties=dict(properties or {}),
            )
            draft.path.replace(version.path)
            self._record(version)
            self._last_generation = generation
            if old is not None:
                old.path.unlink(missing_ok=True)
            return version

    def insert(
        self,
        bucket: str,
        name: str,
        source: Path | bytes,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        metadata: Mapping[str, str] | None = None,
        if_generation_match: int | None = None,
    ) -> StoredVersion:
        """Store a copy of a file or of bytes; raises `BucketMissing` or `PreconditionFailed`."""
        with self.draft() as draft:
            for block in [source] if isinstance(source, bytes) else read_blocks(source):
                draft.write(block)
            return self.commit(
                draft,
                bucket,
                name,
                content_type=content_type,
                metadata=metadata,
                preconditions=Preconditions(generation_match=if_generation_match),
            )

    def get(self, bucket: str, name: str, generation: int | None = None) -> StoredVersion | None:
        """The object, or None if there is none in this generation, or no such bucket."""
        with self._lock:
            version = self._objects.get(bucket, {}).get(name)
            if version is None or generation not in (None, version.generation):
                return None
            return version

    def need(self, bucket: str, name: str, generation: int | None = None) -> StoredVersion:
        """The object; raises `ObjectMissing` or `BucketMissing`."""
        with self._lock:
            self._contents(bucket)
            version = self.get(bucket, name, generation)
        if version is None:
            raise ObjectMissing(f"{bucket}/{name}")
        return version

    def open(
        self, bucket: str, name: str, generation: int | None = None
    ) -> tuple[StoredVersion, BinaryIO]:
        """The object with its content open, which stays readable when the object is replaced.

        Raises `ObjectMissing` or `BucketMissing`.
        """
        with self._lock:
            version = self.need(bucket, name, generation)
            return version, version.path.open("rb")

    def update(
        self,
        bucket: str,
        name: str,
        change: Callable[[StoredVersion], StoredVersion],
        preconditions: Preconditions = ANY_VERSION,
        *,
        generation: int | None = None,
    ) -> StoredVersion:
        """Change an object's metadata: the same generation, the next metageneration.

        Raises `ObjectMissing`, `BucketMissing` or `PreconditionFailed`.
        """
        with self._lock:
            old = self.need(bucket, name, generation)
            preconditions.check(old)
            version = replace(
                change(old),
                metageneration=old.metageneration + 1,
                updated=self.clock.now(),
            )
            self._record(version)
            return version

    def delete(
        self,
        bucket: str,
        name: str,
        if_generation_match: int | None = None,
        *,
        generation: int | None = None,
        preconditions: Preconditions = ANY_VERSION,
    ) -> None:
        """Remove an object; raises `ObjectMissing`, `BucketMissing` or `PreconditionFailed`."""
        if if_generation_match is not None:
            preconditions = replace(preconditions, generation_match=if_generation_match)
        with self._lock:
            old = self.need(bucket, name, generation)
            preconditions.check(old)
            self._record_path(bucket, name).unlink()
            del self._objects[bucket][name]
            old.path.unlink(missing_ok=True)

    def list(self, bucket: str, prefix: str = "") -> list[StoredVersion]:
        """The objects whose names start with `prefix`, in order. Raises `BucketMissing`."""
        with self._lock:
            contents = self._contents(bucket)
            return [contents[name] for name in sorted(contents) if name.startswith(prefix)]

    def _contents(self, bucket: str) -> dict[str, StoredVersion]:
        if bucket not in self._objects:
            raise BucketMissing(bucket)
        return self._objects[bucket]

    def _folder(self, bucket: str) -> Path:
        return self._buckets / hashed_name(bucket)

    def _record_path(self, bucket: str, name: str) -> Path:
        return self._folder(bucket) / f"{hashed_name(name)}.json"

    def _content(self, bucket: str, name: str, generation: int) -> Path:
        return self._folder(bucket) / f"{hashed_name(name)}.{generation}.bin"

    def _record(self, version: StoredVersion) -> None:
        """Write the record, then remember it: what is on disk is never behind what was said."""
        record = {f.name: getattr(version, f.name) for f in fields(version) if f.name != "path"}
        record["created"] = version.created.isoformat()
        record["updated"] = version.updated.isoformat()
        write_json(self._record_path(version.bucket, version.name), record)
        self._objects[version.bucket][version.name] = version

    def _load(self) -> None:
        for folder in self._buckets.iterdir():
            try:
                about = json.loads((folder / "bucket.json").read_text(encoding="utf-8"))
            except FileNotFoundError:  # the process ended while it made or removed the bucket
                shutil.rmtree(folder)
                continue
            self._created[about["name"]] = datetime.fromisoformat(about["created"])
            self._objects[about["name"]] = {}
            self._load_objects(folder, about["name"])

    def _load_objects(self, folder: Path, bucket: str) -> None:
        contents = self._objects[bucket]
        for file in folder.glob("*.json"):
            if file.name == "bucket.json":
                continue
            record = json.loads(file.read_text(encoding="utf-8"))
            for key in ("created", "updated"):
                record[key] = datetime.fromisoformat(record[key])
            path = self._content(bucket, record["name"], record["generation"])
            contents[record["name"]] = StoredVersion(**record, path=path)
            self._last_generation = max(self._last_generation, record["generation"])
        known = {version.path for version in contents.values()}
        for file in folder.iterdir():
            # Left by a process that ended between placing content and recording it.
            if file.suffix != ".json" and file not in known:
                file.unlink()
