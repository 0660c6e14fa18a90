"""What a client may say of an object beside its content: read from resources, and changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.sandbox.objects.disk import (
    DEFAULT_CONTENT_TYPE,
    Description,
    StoredBucket,
    StoredVersion,
)
from orchestrator.sandbox.storage import acl
from orchestrator.sandbox.storage.wire import (
    FREE_PROPERTIES,
    check_instant,
    header_text,
    invalid,
    metadata_of,
    not_served,
)

_STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "NEARLINE",
        "COLDLINE",
        "ARCHIVE",
        "MULTI_REGIONAL",
        "REGIONAL",
        "DURABLE_REDUCED_AVAILABILITY",
    }
)
_HOLDS = ("temporaryHold", "eventBasedHold")
_NOT_SERVED = {"kmsKeyName": "encryption keys of the customer", "retention": "object retention"}


def storage_class_of(value: object) -> str | None:
    """A storage class by name; None is none."""
    if value is None:
        return None
    if not isinstance(value, str) or value not in _STORAGE_CLASSES:
        raise invalid(f"Invalid storage class: {value!r}")
    return value


def description_of(
    resource: Mapping[str, Any],
    query: Mapping[str, str],
    bucket: StoredBucket | None,
    content_type: str,
) -> Description:
    """The description in an object resource; `content_type` is for one without its own."""
    properties: dict[str, Any] = {}
    _change_properties(properties, resource)
    if "contentEncoding" in query:
        properties["contentEncoding"] = header_text("contentEncoding", query["contentEncoding"])
    _change_acl(properties, resource, query, bucket)
    return Description(
        content_type=header_text("contentType", resource.get("contentType") or content_type),
        metadata=metadata_of(resource.get("metadata")),
        properties=properties,
        storage_class=storage_class_of(resource.get("storageClass")),
    )


def changed(
    old: StoredVersion,
    body: Mapping[str, Any],
    query: Mapping[str, str],
    bucket: StoredBucket,
    *,
    replaces: bool,
) -> StoredVersion:
    """The version after a patch: null removes, and what is absent stays unless it `replaces`."""
    properties = {"acl": old.properties["acl"]} if "acl" in old.properties else {}
    if not replaces:
        properties = dict(old.properties)
    _change_properties(properties, body)
    _change_acl(properties, body, query, bucket)
    content_type = old.content_type
    if "contentType" in body or replaces:
        content_type = header_text("contentType", body.get("contentType") or DEFAULT_CONTENT_TYPE)
    metadata = {} if replaces else dict(old.metadata)
    if "metadata" in body:
        given = body["metadata"]
        if given is not None and not isinstance(given, dict):
            metadata_of(given)
        metadata = metadata_of(merged(metadata, given)) if given is not None else {}
    return replace(old, content_type=content_type, metadata=metadata, properties=properties)


def merged(old: Any, patch: Any) -> Any:
    """A value after a patch: null removes a field, lists are replaced whole."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _change_properties(properties: dict[str, Any], body: Mapping[str, Any]) -> None:
    for name, what in _NOT_SERVED.items():
        value = body.get(name)
        if any(value.values()) if isinstance(value, dict) else value:
            raise not_served(what)
    for name in (*FREE_PROPERTIES, *_HOLDS, "customTime", "contexts"):
        if name not in body:
            continue
        value = body[name]
        if name == "contexts":
            value = _contexts(merged(properties.get(name), value))
        elif value is not None:
            _check(name, value)
        if value is None or value == {}:
            properties.pop(name, None)
        else:
            properties[name] = value


def _contexts(value: Any) -> Any:
    """Contexts without those whose value was taken away."""
    custom = value.get("custom") if isinstance(value, dict) else None
    if not isinstance(custom, dict):
        return None
    kept = {key: one for key, one in custom.items() if isinstance(one, dict) and "value" in one}
    return {"custom": kept} if kept else None


def _check(name: str, value: object) -> None:
    if name in FREE_PROPERTIES:
        header_text(name, value)
    elif name in _HOLDS:
        if not isinstance(value, bool):
            raise invalid(f"Invalid value for {name}: {value!r}")
    else:
        check_instant(name, value)


def _change_acl(
    properties: dict[str, Any],
    body: Mapping[str, Any],
    query: Mapping[str, str],
    bucket: StoredBucket | None,
) -> None:
    name = query.get("predefinedAcl") or query.get("destinationPredefinedAcl")
    if not name and not body.get("acl") and not (body.get("acl") == [] and bucket):
        return
    entries = acl.predefined(name, "object") if name else acl.acl_of(body["acl"], "object")
    if bucket is not None:
        acl.check_allowed(bucket.config, entries, "an object")
    properties["acl"] = entries
