"""Objects made of other objects: compose, rewrite, copy, move."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.objects.disk import (
    DEFAULT_CONTENT_TYPE,
    Component,
    ObjectDisk,
    ObjectMissing,
    StoredVersion,
)
from orchestrator.sandbox.objects.draft import hashed_name, write_json
from orchestrator.sandbox.storage.description import description_of
from orchestrator.sandbox.storage.resources import object_resource
from orchestrator.sandbox.storage.routing import Operation
from orchestrator.sandbox.storage.wire import (
    ApiError,
    check_object_name,
    integer,
    invalid,
    json_answer,
    json_body,
    object_name_of,
    preconditions_of,
)

MOST_COMPONENTS = 32
_MIB = 1 << 20
_TOKEN_LIFE = timedelta(days=7)


@dataclass(frozen=True)
class _Rewrite:
    """A rewrite in progress: what was asked for, from which generation, and how far it is.

    `continued` is when the last call came, as ISO 8601.
    """

    target: str
    generation: int
    rewritten_bytes: int
    continued: str


class Copying:
    """The operations that make objects of objects."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk
        self._folder = disk.root / "rewrites"
        self._folder.mkdir(exist_ok=True)
        self._forget_old()

    def operations(self) -> list[Operation]:
        """What is served."""
        item = "/storage/v1/b/{bucket}/o/{object}"
        target = "b/{to_bucket}/o/{to_object}"
        create = "storage.objects.create"
        return [
            Operation("storage.objects.compose", "POST", f"{item}/compose", self._compose, create),
            Operation(
                "storage.objects.rewrite",
                "POST",
                f"{item}/rewriteTo/{target}",
                self._rewrite,
                create,
            ),
            Operation(
                "storage.objects.copy", "POST", f"{item}/copyTo/{target}", self._copy, create
            ),
            Operation(
                "storage.objects.move", "POST", f"{item}/moveTo/o/{{to_object}}", self._move, create
            ),
        ]

    async def _compose(self, request: Request) -> Response:
        body = await json_body(request)
        bucket = self._disk.bucket(request.path_params["bucket"])
        parts = _components(body.get("sourceObjects"))
        destination = body.get("destination") or {}
        if not isinstance(destination, dict):
            raise invalid("Invalid value for destination.")
        about = description_of(destination, request.query_params, bucket, "")
        version = await run_in_threadpool(
            self._disk.compose,
            bucket.name,
            object_name_of(request),
            parts,
            about,
            preconditions_of(request.query_params),
        )
        if body.get("deleteSourceObjects"):
            # A source may be named twice, and need not be there any more.
            for part in parts:
                if part.name != version.name:
                    with contextlib.suppress(ObjectMissing):
                        self._disk.delete(bucket.name, part.name, generation=part.generation)
        return self._answer(request, version)

    async def _rewrite(self, request: Request) -> Response:
        body = await json_body(request)
        most_bytes = _most_bytes(request.query_params)
        target = _target(request, body)
        token = request.query_params.get("rewriteToken")
        earlier = self._earlier(token, target) if token else None
        source = self._source(request, earlier.generation if earlier else None)
        self._check_target(request)
        done_bytes = source.size_bytes
        if most_bytes is not None:
            done_bytes = min(done_bytes, most_bytes + (earlier.rewritten_bytes if earlier else 0))
        answer: dict[str, Any] = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(done_bytes),
            "objectSize": str(source.size_bytes),
            "done": done_bytes == source.size_bytes,
        }
        if answer["done"]:
            version = self._copied(request, source, body)
            bucket = self._disk.bucket(version.bucket)
            answer["resource"] = object_resource(request, version, bucket)
            if token:
                self._state(token).unlink(missing_ok=True)
        else:
            token = token or secrets.token_urlsafe(32)
            write_json(
                self._state(token),
                asdict(_Rewrite(target, source.generation, done_bytes, self._now().isoformat())),
            )
            answer["rewriteToken"] = token
        return json_answer(request, answer)

    async def _copy(self, request: Request) -> Response:
        body = await json_body(request)
        return self._answer(request, self._copied(request, self._source(request), body))

    async def _move(self, request: Request) -> Response:
        source = self._source(request)
        name = check_object_name(request.path_params["to_object"])
        if name == source.name:
            raise invalid("An object cannot be moved to its own name.")
        version = self._disk.move(
            source,
            name,
            preconditions_of(request.query_params),
        )
        return self._answer(request, version)

    def _source(self, request: Request, generation: int | None = None) -> StoredVersion:
        query = request.query_params
        if generation is None:
            generation = integer(query, "sourceGeneration")
        source = self._disk.need(request.path_params["bucket"], object_name_of(request), generation)
        preconditions_of(query, source=True).check(source)
        return source

    def _check_target(self, request: Request) -> None:
        bucket = self._disk.bucket(request.path_params["to_bucket"]).name
        name = check_object_name(request.path_params["to_object"])
        preconditions_of(request.query_params).check(self._disk.get(bucket, name))

    def _copied(
        self, request: Request, source: StoredVersion, body: Mapping[str, Any]
    ) -> StoredVersion:
        bucket = self._disk.bucket(request.path_params["to_bucket"])
        if body:
            # A resource that is sent replaces the source's description, it is not merged.
            about = description_of(body, request.query_params, bucket, DEFAULT_CONTENT_TYPE)
        else:
            kept = {k: v for k, v in source.properties.items() if k != "acl"}
            about = description_of(
                kept | {"metadata": dict(source.metadata), "contentType": source.content_type},
                request.query_params,
                bucket,
                "",
            )
        return self._disk.copy(
            source,
            bucket.name,
            check_object_name(request.path_params["to_object"]),
            about,
            preconditions_of(request.query_params),
        )

    def _state(self, token: str) -> Any:
        return self._folder / f"{hashed_name(token)}.json"

    def _earlier(self, token: str, target: str) -> _Rewrite:
        try:
            earlier = _Rewrite(**json.loads(self._state(token).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise invalid("Invalid rewrite token.") from None
        if earlier.target != target:
            raise invalid("The rewrite token belongs to another request.")
        return earlier

    def _forget_old(self) -> None:
        for file in self._folder.iterdir():
            if file.suffix != ".json":  # left by a process that ended while it wrote
                file.unlink()
                continue
            continued = json.loads(file.read_text(encoding="utf-8"))["continued"]
            if datetime.fromisoformat(continued) < self._now() - _TOKEN_LIFE:
                file.unlink()

    def _now(self) -> datetime:
        return self._disk.clock.now()

    def _answer(self, request: Request, version: StoredVersion) -> Response:
        bucket = self._disk.bucket(version.bucket)
        return json_answer(request, object_resource(request, version, bucket))


def _components(value: object) -> list[Component]:
    if not isinstance(value, list) or not value:
        raise ApiError(400, "required", "You must provide at least one source component.")
    if len(value) > MOST_COMPONENTS:
        raise invalid(
            f"The number of source components provided ({len(value)}) exceeds the maximum "
            f"({MOST_COMPONENTS})."
        )
    return [_component(source) for source in value]


def _component(source: object) -> Component:
    if not isinstance(source, dict):
        raise invalid("Invalid value for sourceObjects.")
    conditions = source.get("objectPreconditions") or {}
    if not isinstance(conditions, dict):
        raise invalid("Invalid value for objectPreconditions.")
    given = {
        "generation": source.get("generation"),
        "ifGenerationMatch": conditions.get("ifGenerationMatch"),
    }
    numbers = {name: str(value) for name, value in given.items() if value is not None}
    return Component(
        name=check_object_name(str(source.get("name") or "")),
        generation=integer(numbers, "generation"),
        generation_match=integer(numbers, "ifGenerationMatch"),
    )


def _most_bytes(query: Mapping[str, str]) -> int | None:
    most_bytes = integer(query, "maxBytesRewrittenPerCall")
    if most_bytes is not None and (most_bytes <= 0 or most_bytes % _MIB):
        raise invalid("maxBytesRewrittenPerCall must be a positive multiple of 1 MiB.")
    return most_bytes


def _target(request: Request, body: Mapping[str, Any]) -> str:
    """What a rewrite asks for, so that a token continues no other one."""
    query = sorted(
        (name, value)
        for name, value in request.query_params.items()
        if name not in ("rewriteToken", "maxBytesRewrittenPerCall")
    )
    return hashed_name(
        json.dumps([sorted(request.path_params.items()), query, body], sort_keys=True)
    )
