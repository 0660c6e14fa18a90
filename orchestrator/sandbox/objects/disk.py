"""An object store on disk: buckets, objects and their generations, below every face that serves it.

Names that clients chose are never file names: a name's SHA-256 is. The record of an object is
replaced in one step after its content is in place, so a crash leaves the old object or the new one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.sandbox.objects.bucket_store import BucketStore
from orchestrator.sandbox.objects.buckets import (
    BucketPreconditions,
    StoredBucket,
    check_removable,
    with_defaults,
)
from orchestrator.sandbox.objects.draft import Draft, Sums, blocks_of, read_blocks
from orchestrator.sandbox.objects.versions import (
    ANY_VERSION,
    DEFAULT_CONTENT_TYPE,
    BucketMissing,
    Component,
    Description,
    ObjectMissing,
    PreconditionFailed,
    Preconditions,
    Protected,
    StoredVersion,
)

__all__ = [
    "DEFAULT_CONTENT_TYPE",
    "BucketMissing",
    "BucketPreconditions",
    "Component",
    "Description",
    "ObjectDisk",
    "ObjectMissing",
    "PreconditionFailed",
    "Preconditions",
    "Protected",
    "StoredBucket",
    "StoredVersion",
]


class ObjectDisk(BucketStore):
    """Buckets and objects under one folder. Safe for threads; one process per folder."""

    def __init__(self, root: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(root, clock)
        self._drafts = root / "drafts"
        shutil.rmtree(self._drafts, ignore_errors=True)
        self._drafts.mkdir()

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
        properties: Mapping[str, Any] | None = None,
        preconditions: Preconditions = ANY_VERSION,
        storage_class: str | None = None,
        component_count: int | None = None,
    ) -> StoredVersion:
        """Make a draft the object's new generation; one of several components has no MD5.

        Raises `BucketMissing`, `PreconditionFailed` or `Protected`; the store is then as it was.
        """
        draft.close()
        about = Description(content_type, metadata or {}, properties or {}, storage_class)
        sums = draft.sums if component_count is None else replace(draft.sums, md5="")
        return self._place(draft.path, sums, bucket, name, about, preconditions, component_count)

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
        """Store a copy of a file or of bytes; raises what `commit` raises."""
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

    def copy(
        self,
        source: StoredVersion,
        bucket: str,
        name: str,
        about: Description,
        preconditions: Preconditions = ANY_VERSION,
    ) -> StoredVersion:
        """Make a version's content the new generation of another object, without reading it.

        Raises `ObjectMissing` if the source is gone, and what `commit` raises.
        """
        sums = Sums(source.size_bytes, source.crc32c, source.md5)
        with self._lock:
            present = self.need(source.bucket, source.name, source.generation)
            with self.linked(present.path) as path:
                return self._place(
                    path, sums, bucket, name, about, preconditions, source.component_count
                )

    def move(
        self,
        source: StoredVersion,
        name: str,
        preconditions: Preconditions = ANY_VERSION,
    ) -> StoredVersion:
        """Give an object another name in its bucket; raises what `copy` and `delete` raise."""
        about = Description(
            source.content_type, source.metadata, source.properties, source.storage_class
        )
        with self._lock:
            self._check_removable(source)
            moved = self.copy(source, source.bucket, name, about, preconditions)
            self.delete(
                source.bucket,
                source.name,
                preconditions=Preconditions(generation_match=source.generation),
            )
            return moved

    def compose(
        self,
        bucket: str,
        name: str,
        components: Sequence[Component],
        about: Description,
        preconditions: Preconditions = ANY_VERSION,
    ) -> StoredVersion:
        """Join objects of the bucket into a new generation, which has no MD5.

        Raises `ObjectMissing` for a source that is not there, and what `commit` raises.
        """
        with contextlib.ExitStack() as files, self.draft() as draft:
            count = 0
            with self._lock:
                preconditions.check(self._catalog.need(bucket).live.get(name))
                opened: list[BinaryIO] = []
                for part in components:
                    version = self.need(bucket, part.name, part.generation)
                    Preconditions(generation_match=part.generation_match).check(version)
                    count += version.component_count or 1
                    opened.append(files.enter_context(version.path.open("rb")))
            for file in opened:
                for block in blocks_of(file):
                    draft.write(block)
            draft.close()
            sums = replace(draft.sums, md5="")
            return self._place(draft.path, sums, bucket, name, about, preconditions, count)

    def get(self, bucket: str, name: str, generation: int | None = None) -> StoredVersion | None:
        """The live object or the generation asked for; None without one, or without bucket."""
        with self._lock:
            if not self._catalog.has(bucket):
                return None
            return self._catalog.need(bucket).find(name, generation)

    def need(self, bucket: str, name: str, generation: int | None = None) -> StoredVersion:
        """The object; raises `ObjectMissing` or `BucketMissing`."""
        with self._lock:
            version = self._catalog.need(bucket).find(name, generation)
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
            self._catalog.need(bucket).describe_version(version)
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
        """Remove an object; with `generation`, this version for good.

        In a versioned bucket the live version becomes noncurrent instead.
        Raises `ObjectMissing`, `BucketMissing`, `PreconditionFailed` or `Protected`.
        """
        if if_generation_match is not None:
            preconditions = replace(preconditions, generation_match=if_generation_match)
        with self._lock:
            contents = self._catalog.need(bucket)
            old = self.need(bucket, name, generation)
            preconditions.check(old)
            if generation is None and contents.bucket.is_versioned:
                contents.archive(old, self.clock.now())
            else:
                self._check_removable(old)
                contents.discard(old)

    def list(self, bucket: str, prefix: str = "", *, versions: bool = False) -> list[StoredVersion]:
        """The objects whose names start with `prefix`, in order; raises `BucketMissing`.

        With `versions` the noncurrent ones too, the older before the newer.
        """
        with self._lock:
            contents = self._catalog.need(bucket)
            found = [v for name, v in contents.live.items() if name.startswith(prefix)]
            if versions:
                found += [v for v in contents.noncurrent() if v.name.startswith(prefix)]
        return sorted(found, key=lambda version: (version.name, version.generation))

    def _place(
        self,
        path: Path,
        sums: Sums,
        bucket: str,
        name: str,
        about: Description,
        preconditions: Preconditions,
        component_count: int | None = None,
    ) -> StoredVersion:
        """Take content that lies in a file of our own as the object's new generation."""
        with self._lock:
            contents = self._catalog.need(bucket)
            old = contents.live.get(name)
            preconditions.check(old)
            if old is not None and not contents.bucket.is_versioned:
                self._check_removable(old)
            now = self.clock.now()
            generation = self._catalog.next_generation(now)
            version = StoredVersion(
                bucket=bucket,
                name=name,
                generation=generation,
                metageneration=1,
                size_bytes=sums.size_bytes,
                crc32c=sums.crc32c,
                md5=sums.md5,
                content_type=about.content_type,
                created=now,
                updated=now,
                path=contents.content_path(name, generation),
                metadata=dict(about.metadata),
                properties=with_defaults(about.properties, contents.bucket),
                storage_class=about.storage_class or contents.bucket.storage_class,
                component_count=component_count,
            )
            path.replace(version.path)
            contents.install(version, now)
            return version

    def _check_removable(self, version: StoredVersion) -> None:
        check_removable(self.bucket(version.bucket), version, self.clock.now())

    @contextlib.contextmanager
    def linked(self, source: Path) -> Iterator[Path]:
        """A draft with a file's content: the same inode, where the file system can."""
        path = self._drafts / uuid.uuid4().hex
        try:
            try:
                os.link(source, path)
            except OSError:
                shutil.copyfile(source, path)
            yield path
        finally:
            path.unlink(missing_ok=True)
