"""Buckets and objects as the JSON API describes them."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request

from orchestrator.sandbox.edge.gate import public_base
from orchestrator.sandbox.objects.buckets import retained_until
from orchestrator.sandbox.objects.disk import StoredBucket, StoredVersion
from orchestrator.sandbox.storage import acl
from orchestrator.sandbox.storage.wire import etag

_MULTI_REGIONS = ("US", "EU", "ASIA")
#: How long uniform access may still be switched off again.
_UNIFORM_LOCK = timedelta(days=90)


def bucket_resource(request: Request, bucket: StoredBucket) -> dict[str, Any]:
    """A bucket; with its access lists if the request asks for the full projection."""
    root = public_base(request)
    location = str(bucket.config.get("location") or "US").upper()
    resource: dict[str, Any] = {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"{root}/storage/v1/b/{bucket.name}",
        "projectNumber": acl.PROJECT_NUMBER,
        "generation": "1",
        "rpo": "DEFAULT",
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        **bucket.config,
        "metageneration": str(bucket.metageneration),
        "location": location,
        "locationType": _location_type(location, bucket),
        "storageClass": bucket.storage_class,
        "iamConfiguration": _iam_configuration(bucket),
        "etag": bucket_etag(bucket),
        "timeCreated": instant(bucket.created),
        "updated": instant(bucket.updated),
    }
    resource.pop("acl", None)
    resource.pop("defaultObjectAcl", None)
    if request.query_params.get("projection") == "full" and not bucket.has_uniform_access:
        entries = acl.bucket_acl(bucket)
        resource["acl"] = [acl.bucket_entry(root, bucket.name, entry) for entry in entries]
        resource["defaultObjectAcl"] = [
            acl.object_entry(entry, bucket.name) for entry in acl.default_object_acl(bucket)
        ]
        resource["owner"] = {"entity": f"project-owners-{acl.PROJECT_NUMBER}"}
    return resource


def object_resource(
    request: Request, version: StoredVersion, bucket: StoredBucket
) -> dict[str, Any]:
    """An object; with its access list if the request asks for the full projection."""
    root = public_base(request)
    path = f"/storage/v1/b/{version.bucket}/o/{quote(version.name, safe='')}"
    media = urlencode({"generation": version.generation, "alt": "media"})
    resource: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{version.bucket}/{version.name}/{version.generation}",
        "selfLink": f"{root}{path}",
        "mediaLink": f"{root}/download{path}?{media}",
        "name": version.name,
        "bucket": version.bucket,
        "generation": str(version.generation),
        "metageneration": str(version.metageneration),
        "contentType": version.content_type,
        "storageClass": version.storage_class,
        "size": str(version.size_bytes),
        "md5Hash": version.md5,
        "crc32c": version.crc32c,
        "componentCount": version.component_count,
        "etag": etag(version),
        "timeCreated": instant(version.created),
        "updated": instant(version.updated),
        "timeDeleted": instant(version.deleted),
        "timeStorageClassUpdated": instant(version.created),
        "timeFinalized": instant(version.created),
        "retentionExpirationTime": instant(retained_until(bucket, version)),
        "metadata": dict(version.metadata),
        **{name: value for name, value in version.properties.items() if name != "acl"},
    }
    if request.query_params.get("projection") == "full" and not bucket.has_uniform_access:
        entries = acl.object_acl(version)
        resource["acl"] = [acl.object_entry(entry, bucket.name, version) for entry in entries]
        resource["owner"] = {"entity": f"user-{acl.CALLER}"}
    return {name: value for name, value in resource.items() if value not in (None, "", {})}


def bucket_etag(bucket: StoredBucket) -> str:
    """Changes with the bucket's settings."""
    return base64.b64encode(f"{bucket.name}/{bucket.metageneration}".encode()).decode()


def instant(moment: datetime | None) -> str | None:
    """An instant as the API writes it."""
    if moment is None:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _location_type(location: str, bucket: StoredBucket) -> str:
    if "customPlacementConfig" in bucket.config:
        return "dual-region"
    return "multi-region" if location in _MULTI_REGIONS else "region"


def _iam_configuration(bucket: StoredBucket) -> dict[str, Any]:
    given = dict(bucket.config.get("iamConfiguration", {}))
    uniform: dict[str, Any] = {"enabled": bucket.has_uniform_access}
    if uniform["enabled"]:
        uniform["lockedTime"] = instant(bucket.updated + _UNIFORM_LOCK)
    return {
        "publicAccessPrevention": "inherited",
        **given,
        "bucketPolicyOnly": uniform,
        "uniformBucketLevelAccess": uniform,
    }
