"""IAM of buckets: the policy is kept and given back; what callers may do is set at the start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.sandbox.objects.disk import ObjectDisk, PreconditionFailed, StoredBucket
from orchestrator.sandbox.storage import acl
from orchestrator.sandbox.storage.acl import PROJECT_NUMBER
from orchestrator.sandbox.storage.resources import bucket_etag
from orchestrator.sandbox.storage.routing import Operation
from orchestrator.sandbox.storage.wire import (
    ApiError,
    integer,
    invalid,
    json_answer,
    json_body,
)

_WITH_CONDITIONS = 3
_DEFAULT_BINDINGS = (
    {
        "role": "roles/storage.legacyBucketOwner",
        "members": [f"projectEditor:{PROJECT_NUMBER}", f"projectOwner:{PROJECT_NUMBER}"],
    },
    {
        "role": "roles/storage.legacyBucketReader",
        "members": [f"projectViewer:{PROJECT_NUMBER}"],
    },
)


class Iam:
    """The operations. `permissions` is what every caller may do; None is everything."""

    def __init__(self, disk: ObjectDisk, permissions: frozenset[str] | None) -> None:
        self._disk = disk
        self._permissions = permissions

    def operations(self) -> list[Operation]:
        """What is served of IAM."""
        policy = "/storage/v1/b/{bucket}/iam"
        name = "storage.buckets"
        return [
            Operation(f"{name}.getIamPolicy", "GET", policy, self._get, f"{name}.getIamPolicy"),
            Operation(f"{name}.setIamPolicy", "PUT", policy, self._set, f"{name}.setIamPolicy"),
            Operation(f"{name}.testIamPermissions", "GET", f"{policy}/testPermissions", self._test),
        ]

    async def _get(self, request: Request) -> Response:
        bucket = self._disk.bucket(request.path_params["bucket"])
        wanted = integer(request.query_params, "optionsRequestedPolicyVersion") or 1
        answer = _policy(bucket)
        if answer["version"] == _WITH_CONDITIONS and wanted < _WITH_CONDITIONS:
            # An older client could not write the conditions back: they are not shown to it.
            bindings = [dict(b) for b in answer["bindings"] if "condition" not in b]
            answer |= {"version": 1, "bindings": bindings}
        return json_answer(request, answer)

    async def _set(self, request: Request) -> Response:
        body = await json_body(request)

        def changed(old: StoredBucket) -> StoredBucket:
            if body.get("etag") not in (None, "", bucket_etag(old)):
                raise PreconditionFailed(unchanged=False)
            return replace(old, policy=_checked(body, old))

        bucket = self._disk.update_bucket(request.path_params["bucket"], changed)
        return json_answer(request, _policy(bucket))

    async def _test(self, request: Request) -> Response:
        self._disk.bucket(request.path_params["bucket"])
        asked = request.query_params.getlist("permissions")
        if not asked:
            raise ApiError(400, "required", "Required parameter: permissions")
        granted = [p for p in asked if self._permissions is None or p in self._permissions]
        answer: dict[str, Any] = {"kind": "storage#testIamPermissionsResponse"}
        if granted:
            answer["permissions"] = granted
        return json_answer(request, answer)


def _policy(bucket: StoredBucket) -> dict[str, Any]:
    policy = bucket.policy or {"version": 1, "bindings": list(_DEFAULT_BINDINGS)}
    return {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{bucket.name}",
        "version": policy["version"],
        "etag": bucket_etag(bucket),
        "bindings": policy["bindings"],
    }


def _checked(body: dict[str, Any], bucket: StoredBucket) -> dict[str, Any]:
    bindings = body.get("bindings", [])
    if not isinstance(bindings, list) or not all(_is_binding(b) for b in bindings):
        raise invalid("Invalid value for bindings: a list of roles and members.")
    members = [member for binding in bindings for member in binding.get("members", [])]
    acl.check_public_allowed(bucket.config, members)
    version = body.get("version", 1)
    if any("condition" in binding for binding in bindings):
        if not bucket.has_uniform_access:
            raise ApiError(
                412,
                "conditionNotMet",
                "To set an IAM policy with conditions, please enable uniform bucket-level access "
                "on the bucket.",
            )
        if version != _WITH_CONDITIONS:
            raise invalid(
                "The specified policy version is invalid: it must be at least 3 for a policy "
                "with conditions."
            )
    return {"version": version or 1, "bindings": bindings}


def _is_binding(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("members", []), list)
    )
