"""The buckets of an object store: made, looked at, changed, removed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.clock import Clock
from orchestrator.sandbox.objects.buckets import ANY_BUCKET, BucketPreconditions, StoredBucket
from orchestrator.sandbox.objects.catalog import Catalog


class BucketStore:
    """The buckets under one folder; `ObjectDisk` adds what is in them."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self.clock = clock
        self._lock = threading.RLock()
        root.mkdir(parents=True, exist_ok=True)
        self._catalog = Catalog(root / "buckets")

    def create_bucket(self, name: str, config: Mapping[str, Any] | None = None) -> bool:
        """Make a bucket; False if it is there already."""
        with self._lock:
            if self._catalog.has(name):
                return False
            now = self.clock.now()
            self._catalog.add(StoredBucket(name, now, now, config=dict(config or {})))
            return True

    def buckets(self) -> list[str]:
        """The names of the buckets, in order."""
        with self._lock:
            return self._catalog.names()

    def bucket(self, name: str) -> StoredBucket:
        """What is known of a bucket; raises `BucketMissing`."""
        with self._lock:
            return self._catalog.need(name).bucket

    def bucket_created(self, name: str) -> datetime:
        """When the bucket was made; raises `BucketMissing`."""
        return self.bucket(name).created

    def update_bucket(
        self,
        name: str,
        change: Callable[[StoredBucket], StoredBucket],
        preconditions: BucketPreconditions = ANY_BUCKET,
        *,
        is_metadata: bool = True,
    ) -> StoredBucket:
        """Change a bucket's settings: the next metageneration, if they are part of its metadata.

        Raises `BucketMissing` or `PreconditionFailed`.
        """
        with self._lock:
            contents = self._catalog.need(name)
            preconditions.check(contents.bucket)
            changed = change(contents.bucket)
            if is_metadata:
                changed = replace(
                    changed,
                    metageneration=contents.bucket.metageneration + 1,
                    updated=self.clock.now(),
                )
            contents.describe(changed)
            return changed

    def delete_bucket(self, name: str, preconditions: BucketPreconditions = ANY_BUCKET) -> bool:
        """Remove an empty bucket; False if it has objects, noncurrent ones too.

        Raises `BucketMissing` or `PreconditionFailed`.
        """
        with self._lock:
            contents = self._catalog.need(name)
            preconditions.check(contents.bucket)
            if not contents.is_empty:
                return False
            self._catalog.remove(name)
            return True
