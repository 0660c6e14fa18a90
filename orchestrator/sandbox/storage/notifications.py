"""Notification configurations of buckets: kept and given back. Nothing is ever published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.edge.gate import public_base
from orchestrator.sandbox.objects.disk import ObjectDisk, StoredBucket
from orchestrator.sandbox.storage.routing import Operation
from orchestrator.sandbox.storage.wire import ApiError, json_answer, json_body

_FIELDS = ("topic", "payload_format", "event_types", "custom_attributes", "object_name_prefix")


class Notifications:
    """The operations on notification configurations."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk

    def operations(self) -> list[Operation]:
        """What is served."""
        all_ = "/storage/v1/b/{bucket}/notificationConfigs"
        one = all_ + "/{notification}"
        return [
            Operation("storage.notifications.insert", "POST", all_, self._insert),
            Operation("storage.notifications.list", "GET", all_, self._list),
            Operation("storage.notifications.get", "GET", one, self._get),
            Operation("storage.notifications.delete", "DELETE", one, self._delete),
        ]

    async def _insert(self, request: Request) -> Response:
        body = await json_body(request)
        for name in ("topic", "payload_format"):
            if not body.get(name):
                raise ApiError(400, "required", f"Required: {name}")
        given = {name: body[name] for name in _FIELDS if name in body}

        def added(old: StoredBucket) -> StoredBucket:
            number = max((int(key) for key in old.notifications), default=0) + 1
            return replace(old, notifications=dict(old.notifications) | {str(number): given})

        bucket = self._disk.update_bucket(request.path_params["bucket"], added, is_metadata=False)
        newest = max(bucket.notifications, key=int)
        return json_answer(request, _resource(request, bucket, newest))

    async def _list(self, request: Request) -> Response:
        bucket = self._disk.bucket(request.path_params["bucket"])
        answer: dict[str, Any] = {"kind": "storage#notifications"}
        if bucket.notifications:
            answer["items"] = [_resource(request, bucket, key) for key in bucket.notifications]
        return json_answer(request, answer)

    async def _get(self, request: Request) -> Response:
        bucket = self._disk.bucket(request.path_params["bucket"])
        key = _known(bucket.notifications, request)
        return json_answer(request, _resource(request, bucket, key))

    async def _delete(self, request: Request) -> Response:
        def removed(old: StoredBucket) -> StoredBucket:
            gone = _known(old.notifications, request)
            left = {key: value for key, value in old.notifications.items() if key != gone}
            return replace(old, notifications=left)

        self._disk.update_bucket(request.path_params["bucket"], removed, is_metadata=False)
        return Response(status_code=204)


def _known(notifications: Mapping[str, object], request: Request) -> str:
    key: str = request.path_params["notification"]
    if key not in notifications:
        raise ApiError(404, "notFound", f"notification {key} not found")
    return key


def _resource(request: Request, bucket: StoredBucket, key: str) -> dict[str, Any]:
    path = f"/storage/v1/b/{bucket.name}/notificationConfigs/{key}"
    return {
        "kind": "storage#notification",
        "id": key,
        "selfLink": public_base(request) + path,
        "etag": key,
        **bucket.notifications[key],
    }
