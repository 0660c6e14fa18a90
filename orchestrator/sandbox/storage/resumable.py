"""Resumable uploads: sessions that keep what arrived, across lost answers and restarts."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from orchestrator.sandbox.edge.gate import public_base
from orchestrator.sandbox.objects.disk import ObjectDisk, Preconditions, StoredVersion
from orchestrator.sandbox.objects.draft import READ_BYTES, Draft, hashed_name, write_json
from orchestrator.sandbox.storage.resources import object_resource
from orchestrator.sandbox.storage.routing import raw_path, read_out
from orchestrator.sandbox.storage.uploads import Declared, commit, declared_by, sent_sums
from orchestrator.sandbox.storage.wire import (
    ApiError,
    integer,
    invalid,
    json_answer,
    json_body,
)

__all__ = ["ResumableUploads", "read_out"]

#: The service keeps bytes in units of this size until the last ones have come.
UNIT_BYTES = 256 * 1024
SESSION_LIFE = timedelta(days=7)

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)")


@dataclass(frozen=True)
class _Session:
    """An upload in progress; once it is complete, `answer` is the object's resource."""

    declared: Declared
    total_bytes: int | None
    created: datetime
    answer: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _ContentRange:
    """What a request says it carries: bytes from `first`, or none if `first` is None.

    `length` is None if the body's own length counts, `total_bytes` None if not known yet.
    """

    first: int | None
    length: int | None
    total_bytes: int | None
    is_last: bool


class ResumableUploads:
    """The sessions of one disk."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk
        self._folder = disk.root / "uploads"
        self._folder.mkdir(exist_ok=True)
        self._locks: dict[str, asyncio.Lock] = {}
        self._clean()

    async def start(self, request: Request) -> Response:
        """POST `uploadType=resumable`: open a session; its URL is in the Location header."""
        resource = await json_body(request)
        declared = declared_by(
            request, self._disk, resource, request.headers.get("x-upload-content-type")
        )
        declared.preconditions.check(self._disk.get(declared.bucket, declared.name))
        total_bytes = integer(request.headers, "x-upload-content-length")
        if total_bytes is not None and total_bytes < 0:
            raise invalid(f"Invalid value for X-Upload-Content-Length: {total_bytes}")
        upload_id = secrets.token_urlsafe(32)
        self._part(upload_id).touch()
        self._save(
            upload_id,
            _Session(declared, total_bytes, self._disk.clock.now()),
        )
        query = urlencode([*request.query_params.multi_items(), ("upload_id", upload_id)])
        url = f"{public_base(request)}{raw_path(request.scope)}?{query}"
        return Response(headers={"location": url, "x-guploader-uploadid": upload_id})

    async def resume(self, request: Request) -> Response:
        """PUT to a session's URL: more bytes, or a question about those that arrived."""
        upload_id = request.query_params["upload_id"]
        async with self._lock(upload_id):
            return await self._resume(request, upload_id)

    async def cancel(self, request: Request) -> Response:
        """DELETE a session's URL: what arrived is dropped."""
        upload_id = request.query_params["upload_id"]
        async with self._lock(upload_id):
            self._load(upload_id)
            self._session(upload_id).unlink()
            self._part(upload_id).unlink(missing_ok=True)
        self._locks.pop(hashed_name(upload_id), None)
        return Response(status_code=499)

    async def _resume(self, request: Request, upload_id: str) -> Response:
        session = self._load(upload_id)
        if session.answer is not None:
            # The client did not see the answer to its last bytes, and sends or asks again.
            await read_out(request)
            return json_answer(request, session.answer)
        part = self._part(upload_id)
        version = self._became(part, session)
        if version is not None:
            await read_out(request)
            return self._answered(request, upload_id, session, version)
        claim = _content_range(request.headers.get("content-range"))
        if None not in (claim.total_bytes, session.total_bytes) and (
            claim.total_bytes != session.total_bytes
        ):
            raise invalid("The Content-Range differs from the announced length.")
        kept_bytes = total_bytes = part.stat().st_size
        if claim.first is None:
            await read_out(request)
            if claim.total_bytes != kept_bytes:
                return _incomplete(kept_bytes)
        else:
            if claim.first > kept_bytes:
                message = f"Bytes from {kept_bytes} are missing; ask for the upload's status."
                raise ApiError(503, "backendError", message)
            received = await _append(request, part, kept_bytes, claim, session.total_bytes)
            if not claim.is_last:
                return _incomplete(_cut_to_units(part))
            total_bytes = received if claim.total_bytes is None else claim.total_bytes
        version = await run_in_threadpool(
            self._commit, part, session, total_bytes, sent_sums(request)
        )
        return self._answered(request, upload_id, session, version)

    def _commit(
        self, part: Path, session: _Session, total_bytes: int, sums: Mapping[str, str]
    ) -> StoredVersion:
        """Make what arrived an object. It stays here too, until the answer is recorded."""
        with self._disk.linked(part) as path, Draft(path, adopt=True) as draft:
            if {total_bytes, session.total_bytes or total_bytes} != {draft.size_bytes}:
                raise invalid("The upload does not have the length that was told.")
            return commit(self._disk, draft, session.declared, sums)

    def _became(self, part: Path, session: _Session) -> StoredVersion | None:
        """The object of an upload whose process ended before it recorded the answer."""
        if part.stat().st_nlink == 1:
            return None
        bucket, name = session.declared.bucket, session.declared.name
        for version in self._disk.list(bucket, name, versions=True):
            if version.name == name and version.path.samefile(part):
                return version
        # Copies of the object share these bytes: nothing may be appended to them.
        raise ApiError(404, "notFound", "There is no such upload.")

    def _answered(
        self, request: Request, upload_id: str, session: _Session, version: StoredVersion
    ) -> Response:
        resource = object_resource(request, version, self._disk.bucket(version.bucket))
        self._save(upload_id, replace(session, answer=resource))
        self._part(upload_id).unlink()
        self._locks.pop(hashed_name(upload_id), None)
        return json_answer(request, resource)

    def _lock(self, upload_id: str) -> asyncio.Lock:
        """One request of an upload at a time: a client that gave up on one may send the next."""
        return self._locks.setdefault(hashed_name(upload_id), asyncio.Lock())

    def _part(self, upload_id: str) -> Path:
        return self._folder / f"{hashed_name(upload_id)}.part"

    def _session(self, upload_id: str) -> Path:
        return self._folder / f"{hashed_name(upload_id)}.json"

    def _save(self, upload_id: str, session: _Session) -> None:
        record = asdict(session) | {"created": session.created.isoformat()}
        write_json(self._session(upload_id), record)

    def _load(self, upload_id: str) -> _Session:
        try:
            record = json.loads(self._session(upload_id).read_text(encoding="utf-8"))
        except FileNotFoundError:
            record = None
        if record is None or self._is_over(record["created"]):
            self._locks.pop(hashed_name(upload_id), None)
            raise ApiError(404, "notFound", "There is no such upload.")
        declared = record.pop("declared")
        declared["preconditions"] = Preconditions(**declared["preconditions"])
        record["created"] = datetime.fromisoformat(record["created"])
        return _Session(declared=Declared(**declared), **record)

    def _clean(self) -> None:
        """Remove sessions that are too old, and what a process left that ended in the middle."""
        for file in self._folder.glob("*.json"):
            record = json.loads(file.read_text(encoding="utf-8"))
            if record["answer"] is not None or self._is_over(record["created"]):
                file.with_suffix(".part").unlink(missing_ok=True)
            if self._is_over(record["created"]):
                file.unlink()
        for file in self._folder.iterdir():
            if file.suffix != ".json" and not file.with_suffix(".json").exists():
                file.unlink()

    def _is_over(self, created: str) -> bool:
        return datetime.fromisoformat(created) < self._disk.clock.now() - SESSION_LIFE


async def _append(
    request: Request, part: Path, kept_bytes: int, claim: _ContentRange, announced: int | None
) -> int:
    """Add what is new of the body; its length. Nothing of a body with the wrong length is kept."""
    skip = kept_bytes - (claim.first or 0)
    length = announced if claim.length is None else claim.length
    with part.open("r+b") as file:
        file.seek(kept_bytes)
        try:
            received = await _write_body(request, file, skip)
        except ClientDisconnect:
            file.flush()
            _cut_to_units(part)
            raise
        if length not in (None, received):
            file.truncate(kept_bytes)
            raise invalid("The body does not have the length that was told.")
    return received


async def _write_body(request: Request, file: BinaryIO, skip: int) -> int:
    """Write the body but for its first `skip` bytes; the length of the whole body."""
    received = 0
    waiting = bytearray()
    try:
        async for chunk in request.stream():
            waiting += chunk[max(0, skip - received) :]
            received += len(chunk)
            if len(waiting) >= READ_BYTES:
                await run_in_threadpool(file.write, bytes(waiting))
                waiting.clear()
    finally:
        # A client that went away may resume: what it managed to send is kept.
        file.write(waiting)
    return received


def _content_range(header: str | None) -> _ContentRange:
    if header is None:
        return _ContentRange(first=0, length=None, total_bytes=None, is_last=True)
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        raise invalid(f"Failed to parse Content-Range header: {header!r}")
    total = None if match[3] == "*" else int(match[3])
    if match[1] is None:
        return _ContentRange(first=None, length=0, total_bytes=total, is_last=True)
    first, last = int(match[1]), int(match[2])
    if last < first or (total is not None and last >= total):
        raise invalid(f"Invalid Content-Range header: {header!r}")
    return _ContentRange(first, last - first + 1, total, is_last=last + 1 == total)


def _cut_to_units(part: Path) -> int:
    """Keep whole units only; how many bytes that is."""
    with part.open("r+b") as file:
        kept_bytes = part.stat().st_size // UNIT_BYTES * UNIT_BYTES
        file.truncate(kept_bytes)
    return kept_bytes


def _incomplete(kept_bytes: int) -> Response:
    headers = {"range": f"bytes=0-{kept_bytes - 1}"} if kept_bytes else {}
    return Response(status_code=308, headers=headers)
