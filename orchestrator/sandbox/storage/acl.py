"""Access lists of buckets and objects: kept, given back and changed, but not enforced."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.sandbox.objects.disk import StoredBucket, StoredVersion
from orchestrator.sandbox.storage.wire import ApiError, invalid

PROJECT_NUMBER = "1"
#: Whom every request comes from.
CALLER = "sandbox@sandbox.iam.gserviceaccount.com"

#: An access list as it is stored: `entity` and `role` of each entry.
Acl = list[dict[str, str]]

_OWNERS = {"entity": f"project-owners-{PROJECT_NUMBER}", "role": "OWNER"}
_EDITORS = {"entity": f"project-editors-{PROJECT_NUMBER}", "role": "OWNER"}
_VIEWERS = {"entity": f"project-viewers-{PROJECT_NUMBER}", "role": "READER"}
_CALLER = {"entity": f"user-{CALLER}", "role": "OWNER"}
_ALL_READ = {"entity": "allUsers", "role": "READER"}
_ALL_WRITE = {"entity": "allUsers", "role": "WRITER"}
_AUTHENTICATED = {"entity": "allAuthenticatedUsers", "role": "READER"}

#: Entities that are everybody.
PUBLIC = ("allUsers", "allAuthenticatedUsers")

PROJECT_PRIVATE: Acl = [_OWNERS, _EDITORS, _VIEWERS]
_FOR_BUCKETS: dict[str, Acl] = {
    "private": [_OWNERS],
    "projectPrivate": PROJECT_PRIVATE,
    "publicRead": [_OWNERS, _ALL_READ],
    "publicReadWrite": [_OWNERS, _ALL_WRITE],
    "authenticatedRead": [_OWNERS, _AUTHENTICATED],
    # Only for objects at the real service, but its clients send it for buckets too.
    "bucketOwnerFullControl": [_OWNERS],
}
_FOR_OBJECTS: dict[str, Acl] = {
    "private": [],
    "projectPrivate": PROJECT_PRIVATE,
    "publicRead": [_ALL_READ],
    "authenticatedRead": [_AUTHENTICATED],
    "bucketOwnerRead": [_OWNERS | {"role": "READER"}],
    "bucketOwnerFullControl": [_OWNERS],
}
_ROLES = {
    "bucket": ("OWNER", "WRITER", "READER"),
    "object": ("OWNER", "READER"),
}


def bucket_acl(bucket: StoredBucket) -> Acl:
    """The access list of a bucket; its project's owners are always in it."""
    return _with(_OWNERS, bucket.config.get("acl", PROJECT_PRIVATE))


def default_object_acl(bucket: StoredBucket) -> Acl:
    """The access list that new objects of a bucket get."""
    return list(bucket.config.get("defaultObjectAcl", PROJECT_PRIVATE))


def object_acl(version: StoredVersion) -> Acl:
    """The access list of an object; its owner is always in it."""
    return _with(_CALLER, version.properties.get("acl", PROJECT_PRIVATE))


def check_allowed(
    config: Mapping[str, Any], entries: Sequence[Mapping[str, str]], what: str
) -> None:
    """Raise unless a bucket with these settings may have such an access list."""
    access = config.get("iamConfiguration", {})
    if access.get("uniformBucketLevelAccess", {}).get("enabled"):
        raise invalid(
            f"Cannot use legacy ACL for {what} when uniform bucket-level access is enabled. Read "
            "more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
        )
    check_public_allowed(config, [entry["entity"] for entry in entries])


def check_public_allowed(config: Mapping[str, Any], entities: Sequence[str]) -> None:
    """Raise if everybody is among them in a bucket that must not be public."""
    prevention = config.get("iamConfiguration", {}).get("publicAccessPrevention")
    if prevention == "enforced" and any(entity in PUBLIC for entity in entities):
        raise ApiError(
            412,
            "conditionNotMet",
            "The member bindings allUsers and allAuthenticatedUsers are not allowed since public "
            "access prevention is enforced.",
        )


def predefined(name: str, kind: str) -> Acl:
    """The access list that a predefined name stands for; `kind` is bucket or object."""
    table = _FOR_BUCKETS if kind == "bucket" else _FOR_OBJECTS
    if name not in table:
        raise invalid(f"Invalid value for predefined ACL: {name!r}")
    return table[name]


def acl_of(value: object, kind: str) -> Acl:
    """The access list of a resource that a client sent."""
    if not isinstance(value, list):
        raise invalid("Invalid value for acl: a list of entities and roles.")
    entries: dict[str, dict[str, str]] = {}
    for entry in value:
        checked = entry_of(entry, kind)
        entries[checked["entity"]] = checked
    return list(entries.values())


def entry_of(value: object, kind: str) -> dict[str, str]:
    """One entry that a client sent."""
    entity, role = (value.get("entity"), value.get("role")) if isinstance(value, dict) else (0, 0)
    if not isinstance(entity, str) or not entity:
        raise ApiError(400, "required", "Required: entity")
    if not isinstance(role, str) or role.upper() not in _ROLES[kind]:
        raise invalid(f"Invalid value for role: {role!r}")
    return {"entity": entity, "role": role.upper()}


def replaced(entries: Sequence[Mapping[str, str]], entry: Mapping[str, str]) -> Acl:
    """The list with this entry for its entity."""
    return [dict(e) for e in entries if e["entity"] != entry["entity"]] + [dict(entry)]


def bucket_entry(root: str, bucket: str, entry: Mapping[str, str]) -> dict[str, Any]:
    """An entry of a bucket's list as the API describes it."""
    return {
        "kind": "storage#bucketAccessControl",
        "id": f"{bucket}/{entry['entity']}",
        "selfLink": f"{root}/storage/v1/b/{bucket}/acl/{entry['entity']}",
        "bucket": bucket,
        **_who(entry),
    }


def object_entry(
    entry: Mapping[str, str], bucket: str, version: StoredVersion | None = None
) -> dict[str, Any]:
    """An entry of an object's list, or of the default for a bucket's objects."""
    resource: dict[str, Any] = {"kind": "storage#objectAccessControl", **_who(entry)}
    if version is not None:
        resource |= {
            "id": f"{bucket}/{version.name}/{version.generation}/{entry['entity']}",
            "bucket": bucket,
            "object": version.name,
            "generation": str(version.generation),
        }
    return resource


def _with(entry: dict[str, str], entries: Sequence[dict[str, str]]) -> Acl:
    if any(e["entity"] == entry["entity"] for e in entries):
        return list(entries)
    return [entry, *entries]


def _who(entry: Mapping[str, str]) -> dict[str, Any]:
    kind, _, rest = entry["entity"].partition("-")
    found: dict[str, Any] = {
        **entry,
        "etag": base64.b64encode(f"{entry['entity']}={entry['role']}".encode()).decode(),
    }
    if kind in ("user", "group") and "@" in rest:
        found["email"] = rest
    elif kind == "domain":
        found["domain"] = rest
    elif kind == "project":
        team, _, number = rest.rpartition("-")
        found["projectTeam"] = {"team": team, "projectNumber": number}
    return found
