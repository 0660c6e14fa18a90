"""What the store holds, remembered while it runs; every change is on disk before it is here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from orchestrator.sandbox.objects.buckets import StoredBucket
from orchestrator.sandbox.objects.draft import hashed_name
from orchestrator.sandbox.objects.records import BucketFolder
from orchestrator.sandbox.objects.versions import BucketMissing, StoredVersion


class BucketContents:
    """One bucket: its live versions by name, and the noncurrent ones behind them."""

    def __init__(self, folder: BucketFolder, bucket: StoredBucket) -> None:
        self.bucket = bucket
        self.live: dict[str, StoredVersion] = {}
        self._older: dict[str, list[StoredVersion]] = {}
        self._folder = folder

    @property
    def is_empty(self) -> bool:
        """Whether there is no version of any object."""
        return not self.live and not self._older

    def noncurrent(self) -> Iterator[StoredVersion]:
        """All noncurrent versions; those of one object in order of age."""
        for versions in self._older.values():
            yield from versions

    def find(self, name: str, generation: int | None) -> StoredVersion | None:
        """The live version, or the one of a generation."""
        live = self.live.get(name)
        if generation is None or (live is not None and live.generation == generation):
            return live
        for version in self._older.get(name, ()):
            if version.generation == generation:
                return version
        return None

    def content_path(self, name: str, generation: int) -> Path:
        """Where the content of a version belongs."""
        return self._folder.content(name, generation)

    def describe(self, bucket: StoredBucket) -> None:
        """Replace the bucket's settings."""
        self._folder.write_bucket(bucket)
        self.bucket = bucket

    def install(self, version: StoredVersion, now: datetime) -> None:
        """Make this the live version; the one before it is kept if the bucket is versioned."""
        old = self.live.get(version.name)
        kept = None
        if old is not None and self.bucket.is_versioned:
            kept = replace(old, deleted=now)
            self._folder.write_noncurrent(kept)
        self._folder.write_live(version)
        self.live[version.name] = version
        if kept is not None:
            self._older.setdefault(version.name, []).append(kept)
        elif old is not None:
            old.path.unlink(missing_ok=True)

    def archive(self, version: StoredVersion, now: datetime) -> None:
        """Make the live version a noncurrent one."""
        kept = replace(version, deleted=now)
        self._folder.write_noncurrent(kept)
        self._folder.remove_live(version, content=False)
        del self.live[version.name]
        self._older.setdefault(version.name, []).append(kept)

    def discard(self, version: StoredVersion) -> None:
        """Remove a version, live or noncurrent, for good."""
        if self.live.get(version.name) == version:
            self._folder.remove_live(version, content=True)
            del self.live[version.name]
            return
        self._folder.remove_noncurrent(version)
        left = [v for v in self._older[version.name] if v.generation != version.generation]
        if left:
            self._older[version.name] = left
        else:
            del self._older[version.name]

    def describe_version(self, version: StoredVersion) -> None:
        """Replace what is known of a version, live or noncurrent."""
        live = self.live.get(version.name)
        if live is not None and live.generation == version.generation:
            self._folder.write_live(version)
            self.live[version.name] = version
            return
        self._folder.write_noncurrent(version)
        older = self._older[version.name]
        self._older[version.name] = [
            version if v.generation == version.generation else v for v in older
        ]

    def load(self, live: list[StoredVersion], noncurrent: list[StoredVersion]) -> None:
        """Take over what was read from disk."""
        self.live = {version.name: version for version in live}
        for version in noncurrent:
            self._older.setdefault(version.name, []).append(version)


class Catalog:
    """All buckets under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._buckets: dict[str, BucketContents] = {}
        self._last_generation = 0
        root.mkdir(exist_ok=True)
        for path in root.iterdir():
            self._load(BucketFolder(path))

    def has(self, name: str) -> bool:
        """Whether there is such a bucket."""
        return name in self._buckets

    def names(self) -> list[str]:
        """The names of the buckets, in order."""
        return sorted(self._buckets)

    def need(self, name: str) -> BucketContents:
        """A bucket; raises `BucketMissing`."""
        if name not in self._buckets:
            raise BucketMissing(name)
        return self._buckets[name]

    def add(self, bucket: StoredBucket) -> None:
        """Make a bucket."""
        folder = BucketFolder(self._root / hashed_name(bucket.name))
        folder.write_bucket(bucket)
        self._buckets[bucket.name] = BucketContents(folder, bucket)

    def remove(self, name: str) -> None:
        """Remove a bucket and all that is in it."""
        del self._buckets[name]
        BucketFolder(self._root / hashed_name(name)).remove()

    def next_generation(self, now: datetime) -> int:
        """Microseconds since 1970, or one more than the last one if the clock went back."""
        self._last_generation = max(int(now.timestamp() * 1_000_000), self._last_generation + 1)
        return self._last_generation

    def _load(self, folder: BucketFolder) -> None:
        loaded = folder.load()
        if loaded is None:
            return
        bucket, live, noncurrent = loaded
        contents = BucketContents(folder, bucket)
        contents.load(live, noncurrent)
        self._buckets[bucket.name] = contents
        generations = [version.generation for version in (*live, *noncurrent)]
        self._last_generation = max(self._last_generation, *generations, 0)
