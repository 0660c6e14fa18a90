"""Buckets: made, listed, looked at, changed, removed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.objects.disk import ObjectDisk, StoredBucket
from orchestrator.sandbox.storage import acl
from orchestrator.sandbox.storage.description import merged, storage_class_of
from orchestrator.sandbox.storage.listing import page_of
from orchestrator.sandbox.storage.resources import bucket_resource, instant
from orchestrator.sandbox.storage.routing import Operation
from orchestrator.sandbox.storage.wire import (
    ApiError,
    bucket_preconditions_of,
    check_bucket_name,
    header_text,
    integer,
    invalid,
    json_answer,
    json_body,
    not_served,
)

#: Fields of a bucket that a client may set. All are kept and given back; those that do more are
#: versioning, storageClass, retentionPolicy, defaultEventBasedHold, iamConfiguration and the lists.
_SETTINGS = frozenset(
    {
        "acl",
        "autoclass",
        "billing",
        "cors",
        "customPlacementConfig",
        "defaultEventBasedHold",
        "defaultObjectAcl",
        "hierarchicalNamespace",
        "iamConfiguration",
        "labels",
        "lifecycle",
        "location",
        "logging",
        "retentionPolicy",
        "rpo",
        "softDeletePolicy",
        "storageClass",
        "versioning",
        "website",
    }
)
#: Those that are objects themselves.
_GROUPS = frozenset(
    {
        "autoclass",
        "billing",
        "customPlacementConfig",
        "hierarchicalNamespace",
        "iamConfiguration",
        "lifecycle",
        "logging",
        "retentionPolicy",
        "softDeletePolicy",
        "versioning",
        "website",
    }
)
_IAM_GROUPS = frozenset({"uniformBucketLevelAccess", "bucketPolicyOnly"})
#: A hundred years, the limit of the service.
_MOST_RETENTION_S = 3_155_760_000
_FOR_GOOD = ("location", "customPlacementConfig")
_LABEL_KEY = re.compile(r"[\w-]{1,63}")
_LABEL_VALUE = re.compile(r"[\w-]{0,63}")


class Buckets:
    """The operations on buckets."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk

    def operations(self) -> list[Operation]:
        """What is served of buckets."""
        all_, one = "/storage/v1/b", "/storage/v1/b/{bucket}"
        lock, layout = f"{one}/lockRetentionPolicy", f"{one}/storageLayout"
        seen, update = "storage.buckets.get", "storage.buckets.update"
        return [
            Operation("storage.buckets.list", "GET", all_, self._list, "storage.buckets.list"),
            Operation(
                "storage.buckets.insert", "POST", all_, self._insert, "storage.buckets.create"
            ),
            Operation("storage.buckets.get", "GET", one, self._get, seen),
            Operation("storage.buckets.patch", "PATCH", one, self._patch, update),
            Operation("storage.buckets.update", "PUT", one, self._update, update),
            Operation(
                "storage.buckets.delete", "DELETE", one, self._delete, "storage.buckets.delete"
            ),
            Operation("storage.buckets.lockRetentionPolicy", "POST", lock, self._lock, update),
            Operation("storage.buckets.getStorageLayout", "GET", layout, self._layout),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        prefix = query.get("prefix", "")
        names = [name for name in self._disk.buckets() if name.startswith(prefix)]
        shown, token = page_of(names, query)
        answer: dict[str, Any] = {"kind": "storage#buckets"}
        if shown:
            answer["items"] = [bucket_resource(request, self._disk.bucket(n)) for n in shown]
        if token:
            answer["nextPageToken"] = token
        return json_answer(request, answer)

    async def _insert(self, request: Request) -> Response:
        body = await json_body(request)
        name = check_bucket_name(body.get("name"))
        if request.query_params.get("enableObjectRetention", "").lower() == "true":
            raise not_served("object retention")
        _check_served(body)
        config = self._settled({}, body, body, request.query_params)
        if not self._disk.create_bucket(name, config):
            message = (
                "Your previous request to create the named bucket succeeded and you already own it."
            )
            raise ApiError(409, "conflict", message)
        return json_answer(request, bucket_resource(request, self._disk.bucket(name)))

    async def _get(self, request: Request) -> Response:
        bucket = self._disk.bucket(request.path_params["bucket"])
        bucket_preconditions_of(request.query_params).check(bucket)
        return json_answer(request, bucket_resource(request, bucket))

    async def _patch(self, request: Request) -> Response:
        body = await json_body(request)
        return self._change(request, lambda old: merged(old, _settings(body)), body)

    async def _update(self, request: Request) -> Response:
        body = await json_body(request)
        kept = (*_FOR_GOOD, "acl", "defaultObjectAcl")

        def change(old: Mapping[str, Any]) -> dict[str, Any]:
            given = {k: v for k, v in _settings(body).items() if v is not None}
            return {k: old[k] for k in kept if k in old} | given

        return self._change(request, change, body)

    def _change(self, request: Request, change: Any, body: Mapping[str, Any]) -> Response:
        _check_served(body)

        def changed(old: StoredBucket) -> StoredBucket:
            config = change(old.config)
            for name in _FOR_GOOD:
                if config.get(name) != old.config.get(name) and name in body:
                    config[name] = old.config.get(name)
            config = {name: value for name, value in config.items() if value is not None}
            _check_retention(old.config, config)
            settled = self._settled(old.config, config, body, request.query_params)
            return replace(old, config=settled)

        bucket = self._disk.update_bucket(
            request.path_params["bucket"], changed, bucket_preconditions_of(request.query_params)
        )
        return json_answer(request, bucket_resource(request, bucket))

    async def _delete(self, request: Request) -> Response:
        preconditions = bucket_preconditions_of(request.query_params)
        if not self._disk.delete_bucket(request.path_params["bucket"], preconditions):
            raise ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
        return Response(status_code=204)

    async def _lock(self, request: Request) -> Response:
        if integer(request.query_params, "ifMetagenerationMatch") is None:
            raise ApiError(400, "required", "Required parameter: ifMetagenerationMatch")

        def locked(old: StoredBucket) -> StoredBucket:
            policy = old.config.get("retentionPolicy")
            if not policy:
                raise invalid("The bucket has no retention policy to lock.")
            config = dict(old.config) | {"retentionPolicy": policy | {"isLocked": True}}
            return replace(old, config=config)

        bucket = self._disk.update_bucket(
            request.path_params["bucket"], locked, bucket_preconditions_of(request.query_params)
        )
        return json_answer(request, bucket_resource(request, bucket))

    async def _layout(self, request: Request) -> Response:
        bucket = bucket_resource(request, self._disk.bucket(request.path_params["bucket"]))
        return JSONResponse(
            {
                "kind": "storage#storageLayout",
                "bucket": bucket["name"],
                "location": bucket["location"],
                "locationType": bucket["locationType"],
                "hierarchicalNamespace": {"enabled": False},
            }
        )

    def _settled(
        self,
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        sent: Mapping[str, Any],
        query: Mapping[str, str],
    ) -> dict[str, Any]:
        """New settings, checked, with what the service adds to them; `sent` came right now."""
        config = merged({}, _settings(new))
        storage_class_of(config.get("storageClass"))
        header_text("location", config.get("location") or "")
        _check_labels(config.get("labels", {}))
        for field, parameter, kind in (
            ("acl", "predefinedAcl", "bucket"),
            ("defaultObjectAcl", "predefinedDefaultObjectAcl", "object"),
        ):
            if parameter in query:
                config[field] = acl.predefined(query[parameter], kind)
            elif field in config:
                config[field] = acl.acl_of(config[field], kind)
            if field in config and (parameter in query or field in sent):
                acl.check_allowed(config, config[field], "a bucket")
        _check_access(config.get("iamConfiguration", {}))
        if "autoclass" in config:
            config["autoclass"] = self._autoclass(old.get("autoclass", {}), config["autoclass"])
        policy = config.get("retentionPolicy")
        if policy is not None and policy != old.get("retentionPolicy"):
            period_s = policy.get("retentionPeriod")
            if not re.fullmatch(r"[0-9]{1,10}", str(period_s)) or not (
                0 < int(period_s) <= _MOST_RETENTION_S
            ):
                raise invalid(f"Invalid value for retentionPeriod: {period_s!r}")
            config["retentionPolicy"] = policy | {
                "retentionPeriod": str(period_s),
                "effectiveTime": instant(self._now()),
            }
        return dict(config)

    def _autoclass(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        """The setting with its times; objects are not moved to other classes by it."""
        if not new.get("enabled"):
            settled: dict[str, Any] = {"enabled": False}
        else:
            terminal = new.get("terminalStorageClass", "NEARLINE")
            settled = {"enabled": True, "terminalStorageClass": storage_class_of(terminal)}
        now = instant(self._now())
        for field, time in (
            ("enabled", "toggleTime"),
            ("terminalStorageClass", "terminalStorageClassUpdateTime"),
        ):
            if field in settled:
                settled[time] = now if settled[field] != old.get(field) else old.get(time)
        return settled

    def _now(self) -> datetime:
        return self._disk.clock.now()


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in _SETTINGS}


def _check_served(body: Mapping[str, Any]) -> None:
    """Refuse what would have no effect here although a client relies on it, or means nothing."""
    _check_groups(body, _GROUPS)
    _check_groups(body.get("iamConfiguration") or {}, _IAM_GROUPS)
    if (body.get("hierarchicalNamespace") or {}).get("enabled"):
        raise not_served("hierarchical namespaces")
    if str((body.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0) != "0":
        raise not_served("soft delete")
    if body.get("encryption"):
        raise not_served("encryption keys of the customer")
    if body.get("ipFilter"):
        raise not_served("IP filters")


def _check_groups(body: Mapping[str, Any], groups: frozenset[str]) -> None:
    for name in groups.intersection(body):
        if body[name] is not None and not isinstance(body[name], dict):
            raise invalid(f"Invalid value for {name}: {body[name]!r}")


def _check_access(configuration: Mapping[str, Any]) -> None:
    prevention = configuration.get("publicAccessPrevention", "inherited")
    if prevention not in ("inherited", "enforced", "unspecified"):
        raise invalid(f"Invalid value for publicAccessPrevention: {prevention!r}")


def _check_labels(labels: object) -> None:
    if not isinstance(labels, dict):
        raise invalid("Invalid value for labels: keys and values are strings.")
    for key, value in labels.items():
        if not (_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(str(value))):
            raise invalid(f"Invalid label: {key!r}: {value!r}")


def _check_retention(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    policy = old.get("retentionPolicy", {})
    if not policy.get("isLocked"):
        return
    period_s = (new.get("retentionPolicy") or {}).get("retentionPeriod", 0)
    if int(period_s) < int(policy["retentionPeriod"]):
        raise ApiError(403, "forbidden", "A locked retention policy cannot be removed or reduced.")
