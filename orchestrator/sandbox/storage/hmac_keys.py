"""HMAC keys of service accounts: made, listed, switched off, removed. No face asks for them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from dataclasses import asdict, dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.edge.gate import public_base
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.objects.draft import write_json
from orchestrator.sandbox.storage.acl import PROJECT_NUMBER
from orchestrator.sandbox.storage.listing import page_of
from orchestrator.sandbox.storage.resources import instant
from orchestrator.sandbox.storage.routing import Operation
from orchestrator.sandbox.storage.wire import (
    ApiError,
    flag,
    invalid,
    json_answer,
    json_body,
)

_ID_LENGTH = 61


@dataclass(frozen=True)
class _Key:
    """A key without its secret, which is told once and kept nowhere."""

    access_id: str
    project: str
    email: str
    state: str
    created: str
    updated: str


class HmacKeys:
    """The operations on keys, and on the project's own service account."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._clock = disk.clock
        self._file = disk.root / "hmac-keys.json"
        self._lock = threading.Lock()
        self._keys: dict[str, _Key] = {}
        if self._file.exists():
            records = json.loads(self._file.read_text(encoding="utf-8"))
            self._keys = {record["access_id"]: _Key(**record) for record in records}

    def operations(self) -> list[Operation]:
        """What is served of a project."""
        all_ = "/storage/v1/projects/{project}/hmacKeys"
        one = all_ + "/{access_id}"
        account = "/storage/v1/projects/{project}/serviceAccount"
        return [
            Operation("storage.hmacKey.create", "POST", all_, self._create),
            Operation("storage.hmacKey.list", "GET", all_, self._list),
            Operation("storage.hmacKey.get", "GET", one, self._get),
            Operation("storage.hmacKey.update", "PUT", one, self._update),
            Operation("storage.hmacKey.delete", "DELETE", one, self._delete),
            Operation("storage.serviceaccount.get", "GET", account, self._account),
        ]

    async def _create(self, request: Request) -> Response:
        email = request.query_params.get("serviceAccountEmail")
        if not email:
            raise ApiError(400, "required", "Required parameter: serviceAccountEmail")
        now = instant(self._clock.now()) or ""
        access_id = ("GOOG1" + secrets.token_hex(_ID_LENGTH)).upper()[:_ID_LENGTH]
        key = _Key(access_id, request.path_params["project"], email, "ACTIVE", now, now)
        self._save(key)
        secret = base64.b64encode(secrets.token_bytes(30)).decode()
        answer = {"kind": "storage#hmacKey", "secret": secret, "metadata": _resource(request, key)}
        return json_answer(request, answer)

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        with self._lock:
            found = {
                key.access_id: key
                for key in self._keys.values()
                if key.project == request.path_params["project"]
                and query.get("serviceAccountEmail") in (None, key.email)
                and (key.state != "DELETED" or flag(query, "showDeletedKeys"))
            }
        shown, token = page_of(sorted(found), query)
        answer: dict[str, Any] = {"kind": "storage#hmacKeysMetadata"}
        if shown:
            answer["items"] = [_resource(request, found[access_id]) for access_id in shown]
        if token:
            answer["nextPageToken"] = token
        return json_answer(request, answer)

    async def _get(self, request: Request) -> Response:
        return json_answer(request, _resource(request, self._need(request)))

    async def _update(self, request: Request) -> Response:
        body = await json_body(request)
        key = self._usable(request)
        if body.get("etag") not in (None, "", _etag(key)):
            raise ApiError(412, "conditionNotMet", "The key has changed since it was read.")
        if body.get("state") not in ("ACTIVE", "INACTIVE"):
            raise invalid(f"Invalid value for state: {body.get('state')!r}")
        changed = replace(key, state=body["state"], updated=instant(self._clock.now()) or "")
        self._save(changed)
        return json_answer(request, _resource(request, changed))

    async def _delete(self, request: Request) -> Response:
        key = self._usable(request)
        if key.state != "INACTIVE":
            raise invalid("Cannot delete keys in 'ACTIVE' state.")
        self._save(replace(key, state="DELETED", updated=instant(self._clock.now()) or ""))
        return Response(status_code=204)

    async def _account(self, request: Request) -> Response:
        email = f"service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
        return json_answer(request, {"kind": "storage#serviceAccount", "email_address": email})

    def _need(self, request: Request) -> _Key:
        with self._lock:
            key = self._keys.get(request.path_params["access_id"])
        if key is None or key.project != request.path_params["project"]:
            raise ApiError(404, "notFound", "Access ID not found in project.")
        return key

    def _usable(self, request: Request) -> _Key:
        key = self._need(request)
        if key.state == "DELETED":
            raise ApiError(404, "notFound", "Access ID not found in project.")
        return key

    def _save(self, key: _Key) -> None:
        with self._lock:
            keys = self._keys | {key.access_id: key}
            write_json(self._file, [asdict(k) for k in keys.values()])
            self._keys = keys


def _resource(request: Request, key: _Key) -> dict[str, Any]:
    path = f"/storage/v1/projects/{key.project}/hmacKeys/{key.access_id}"
    return {
        "kind": "storage#hmacKeyMetadata",
        "id": f"{key.project}/{key.access_id}",
        "selfLink": public_base(request) + path,
        "accessId": key.access_id,
        "projectId": key.project,
        "serviceAccountEmail": key.email,
        "state": key.state,
        "timeCreated": key.created,
        "updated": key.updated,
        "etag": _etag(key),
    }


def _etag(key: _Key) -> str:
    return hashlib.sha256(f"{key.access_id}{key.state}{key.updated}".encode()).hexdigest()[:16]
