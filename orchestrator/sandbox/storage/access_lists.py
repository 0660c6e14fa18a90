"""The operations on access lists: of a bucket, of an object, and the default for new objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.edge.gate import public_base
from orchestrator.sandbox.objects.disk import ObjectDisk, StoredBucket, StoredVersion
from orchestrator.sandbox.storage import acl
from orchestrator.sandbox.storage.routing import Operation
from orchestrator.sandbox.storage.wire import (
    ApiError,
    integer,
    json_answer,
    json_body,
    object_name_of,
    preconditions_of,
)

_Change = Callable[[acl.Acl], acl.Acl]


class _Lists(ABC):
    """One kind of list; `path` is where it is found, `item_kind` what the API calls an entry."""

    name: str
    path: str
    item_kind: str
    roles = "object"

    def __init__(self, disk: ObjectDisk) -> None:
        self.disk = disk

    @abstractmethod
    def entries(self, request: Request) -> acl.Acl:
        """The list that a request is about."""

    @abstractmethod
    def change(self, request: Request, change: _Change) -> None:
        """Replace the list that a request is about."""

    @abstractmethod
    def resource(self, request: Request, entry: Mapping[str, str]) -> dict[str, Any]:
        """An entry as the API describes it."""

    def operations(self) -> list[Operation]:
        """What is served of this kind of list."""
        one = self.path + "/{entity}"
        table = [
            ("list", "GET", self.path, self._list),
            ("insert", "POST", self.path, self._insert),
            ("get", "GET", one, self._get),
            ("patch", "PATCH", one, self._change),
            ("update", "PUT", one, self._change),
            ("delete", "DELETE", one, self._delete),
        ]
        return [
            Operation(f"storage.{self.name}.{verb}", method, path, handler)
            for verb, method, path, handler in table
        ]

    def checked(self, bucket: StoredBucket, entries: acl.Acl | None = None) -> StoredBucket:
        """The bucket, if it may have access lists, and these entries in them."""
        what = "a bucket" if self.roles == "bucket" else "an object"
        acl.check_allowed(bucket.config, entries or [], what)
        return bucket

    async def _list(self, request: Request) -> Response:
        items = [self.resource(request, entry) for entry in self.entries(request)]
        return json_answer(request, {"kind": self.item_kind + "s", "items": items})

    async def _get(self, request: Request) -> Response:
        entry = _entry(self.entries(request), request.path_params["entity"])
        return json_answer(request, self.resource(request, entry))

    async def _insert(self, request: Request) -> Response:
        entry = acl.entry_of(await json_body(request), self.roles)
        self.change(request, lambda entries: acl.replaced(entries, entry))
        return json_answer(request, self.resource(request, entry))

    async def _change(self, request: Request) -> Response:
        body = await json_body(request)
        old = _entry(self.entries(request), request.path_params["entity"])
        entry = acl.entry_of(old | {k: body[k] for k in ("role",) if k in body}, self.roles)
        self.change(request, lambda entries: acl.replaced(entries, entry))
        return json_answer(request, self.resource(request, entry))

    async def _delete(self, request: Request) -> Response:
        gone = _entry(self.entries(request), request.path_params["entity"])
        self.change(request, lambda entries: [e for e in entries if e != gone])
        return Response(status_code=204)


class _OfBucket(_Lists):
    name, path = "bucket_acl", "/storage/v1/b/{bucket}/acl"
    item_kind, roles = "storage#bucketAccessControl", "bucket"
    field = "acl"

    def entries(self, request: Request) -> acl.Acl:
        return acl.bucket_acl(self.checked(self.disk.bucket(request.path_params["bucket"])))

    def change(self, request: Request, change: _Change) -> None:
        changed = change(self.entries(request))
        self.checked(self.disk.bucket(request.path_params["bucket"]), changed)
        self.disk.update_bucket(
            request.path_params["bucket"],
            lambda old: replace(old, config=dict(old.config) | {self.field: changed}),
        )

    def resource(self, request: Request, entry: Mapping[str, str]) -> dict[str, Any]:
        return acl.bucket_entry(public_base(request), request.path_params["bucket"], entry)


class _OfNewObjects(_OfBucket):
    name, path = "default_object_acl", "/storage/v1/b/{bucket}/defaultObjectAcl"
    item_kind, roles = "storage#objectAccessControl", "object"
    field = "defaultObjectAcl"

    def entries(self, request: Request) -> acl.Acl:
        return acl.default_object_acl(self.checked(self.disk.bucket(request.path_params["bucket"])))

    def resource(self, request: Request, entry: Mapping[str, str]) -> dict[str, Any]:
        return acl.object_entry(entry, request.path_params["bucket"])


class _OfObject(_Lists):
    name, path = "object_acl", "/storage/v1/b/{bucket}/o/{object}/acl"
    item_kind = "storage#objectAccessControl"

    def entries(self, request: Request) -> acl.Acl:
        self.checked(self.disk.bucket(request.path_params["bucket"]))
        return acl.object_acl(self._version(request))

    def change(self, request: Request, change: _Change) -> None:
        changed = change(self.entries(request))
        self.checked(self.disk.bucket(request.path_params["bucket"]), changed)
        self.disk.update(
            request.path_params["bucket"],
            object_name_of(request),
            lambda old: replace(old, properties=dict(old.properties) | {"acl": changed}),
            preconditions_of(request.query_params),
            generation=integer(request.query_params, "generation"),
        )

    def resource(self, request: Request, entry: Mapping[str, str]) -> dict[str, Any]:
        return acl.object_entry(entry, request.path_params["bucket"], self._version(request))

    def _version(self, request: Request) -> StoredVersion:
        generation = integer(request.query_params, "generation")
        return self.disk.need(request.path_params["bucket"], object_name_of(request), generation)


def access_list_operations(disk: ObjectDisk) -> list[Operation]:
    """The operations on every kind of access list."""
    kinds = (_OfBucket(disk), _OfNewObjects(disk), _OfObject(disk))
    return [operation for kind in kinds for operation in kind.operations()]


def _entry(entries: acl.Acl, entity: str) -> dict[str, str]:
    for entry in entries:
        if entry["entity"] == entity:
            return entry
    raise ApiError(404, "notFound", f"The specified access control entry does not exist: {entity}")
