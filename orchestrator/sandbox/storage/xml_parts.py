"""Unfinished multipart uploads on disk: what was announced, and the parts that arrived.

An upload exists as long as its description does; a part's record is replaced in one step after its
content is in place. Ids that clients send are never file names: their hashes are.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.objects.draft import Draft, hashed_name, write_json

_DESCRIPTION = "upload.json"


class UploadMissing(LookupError):
    """There is no such upload: it was never begun, is complete, or was aborted."""


@dataclass(frozen=True)
class PartedUpload:
    """An upload that was begun: the object that it will become."""

    upload_id: str
    bucket: str
    name: str
    content_type: str
    initiated: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None


@dataclass(frozen=True)
class UploadedPart:
    """A part that arrived; `md5` is base64, `file` the name of its content in the folder."""

    number: int
    size_bytes: int
    md5: str
    modified: datetime
    file: str


class PartStore:
    """The unfinished uploads of one disk. Safe for threads."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk
        self._root = disk.root / "multipart"
        self._root.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._finishing: set[str] = set()
        self._clean()

    def begin(
        self,
        bucket: str,
        name: str,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        properties: Mapping[str, str],
        storage_class: str | None,
    ) -> PartedUpload:
        """Open an upload; raises `BucketMissing`."""
        self._disk.bucket_created(bucket)
        upload = PartedUpload(
            upload_id=secrets.token_urlsafe(48),
            bucket=bucket,
            name=name,
            content_type=content_type,
            initiated=self._disk.clock.now(),
            metadata=dict(metadata),
            properties=dict(properties),
            storage_class=storage_class,
        )
        folder = self._folder(upload.upload_id)
        folder.mkdir()
        record = asdict(upload) | {"initiated": upload.initiated.isoformat()}
        write_json(folder / _DESCRIPTION, record)
        return upload

    def need(self, upload_id: str, bucket: str, name: str) -> PartedUpload:
        """The upload, if it is one of this object; raises `UploadMissing`."""
        upload = _read_upload(self._folder(upload_id))
        if upload is None or (upload.bucket, upload.name) != (bucket, name):
            raise UploadMissing(upload_id)
        return upload

    def uploads(self, bucket: str) -> list[PartedUpload]:
        """The unfinished uploads to a bucket by name, then by age. Raises `BucketMissing`."""
        self._disk.bucket_created(bucket)
        found = [_read_upload(folder) for folder in self._root.iterdir()]
        mine = [upload for upload in found if upload is not None and upload.bucket == bucket]
        return sorted(mine, key=lambda upload: (upload.name, upload.initiated, upload.upload_id))

    def add(self, upload: PartedUpload, number: int, draft: Draft) -> UploadedPart:
        """Keep a draft as a part, in place of one with the same number."""
        draft.close()
        folder = self._folder(upload.upload_id)
        part = UploadedPart(
            number=number,
            size_bytes=draft.size_bytes,
            md5=draft.md5,
            modified=self._disk.clock.now(),
            file=f"{uuid.uuid4().hex}.bin",
        )
        with self._lock:
            self._need_open(upload)
            old = _read_part(folder / _record_name(number))
            draft.path.replace(folder / part.file)
            record = asdict(part) | {"modified": part.modified.isoformat()}
            write_json(folder / _record_name(number), record)
            if old is not None:
                (folder / old.file).unlink()
        return part

    def parts(self, upload: PartedUpload) -> list[UploadedPart]:
        """The parts that arrived, by number."""
        with self._lock:
            files = sorted(self._folder(upload.upload_id).glob("part-*.json"))
            return [part for file in files if (part := _read_part(file)) is not None]

    def content(self, upload: PartedUpload, part: UploadedPart) -> Path:
        """Where the content of a part lies."""
        return self._folder(upload.upload_id) / part.file

    @contextmanager
    def finishing(self, upload: PartedUpload) -> Iterator[None]:
        """While one request ends an upload, others find it missing (`UploadMissing`)."""
        with self._lock:
            self._need_open(upload)
            self._finishing.add(upload.upload_id)
        try:
            yield
        finally:
            with self._lock:
                self._finishing.discard(upload.upload_id)

    def drop(self, upload: PartedUpload) -> None:
        """Forget an upload and its parts."""
        folder = self._folder(upload.upload_id)
        with self._lock:
            # First the description: without it the rest is rubbish that the next start removes.
            (folder / _DESCRIPTION).unlink(missing_ok=True)
            shutil.rmtree(folder)

    def _need_open(self, upload: PartedUpload) -> None:
        """Raise `UploadMissing` for an upload that is ended, or is being ended just now."""
        self.need(upload.upload_id, upload.bucket, upload.name)
        if upload.upload_id in self._finishing:
            raise UploadMissing(upload.upload_id)

    def _folder(self, upload_id: str) -> Path:
        return self._root / hashed_name(upload_id)

    def _clean(self) -> None:
        """Remove what a process left that ended in the middle of something."""
        for folder in self._root.iterdir():
            if _read_upload(folder) is None:
                shutil.rmtree(folder)
                continue
            records = [_read_part(file) for file in folder.glob("part-*.json")]
            kept = {part.file for part in records if part is not None}
            for file in folder.iterdir():
                if file.suffix != ".json" and file.name not in kept:
                    file.unlink()


def _record_name(number: int) -> str:
    return f"part-{number:05d}.json"


def _read_upload(folder: Path) -> PartedUpload | None:
    try:
        record = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return PartedUpload(**record | {"initiated": datetime.fromisoformat(record["initiated"])})


def _read_part(file: Path) -> UploadedPart | None:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return UploadedPart(**record | {"modified": datetime.fromisoformat(record["modified"])})
