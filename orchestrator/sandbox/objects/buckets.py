"""What the object store says of a bucket, and what protects the objects in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orchestrator.sandbox.objects.versions import (
    DEFAULT_STORAGE_CLASS,
    PreconditionFailed,
    Protected,
    StoredVersion,
)


@dataclass(frozen=True)
class StoredBucket:
    """A bucket. `config` are the fields of the JSON API that clients set, such as `labels`.

    `policy` is the IAM policy as it was set (None: the default one), `notifications` the
    notification configurations by id.
    """

    name: str
    created: datetime
    updated: datetime
    metageneration: int = 1
    config: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] | None = None
    notifications: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def is_versioned(self) -> bool:
        """Whether replaced and deleted objects are kept as noncurrent versions."""
        return bool(self.config.get("versioning", {}).get("enabled"))

    @property
    def storage_class(self) -> str:
        """The storage class of objects that do not name their own."""
        return str(self.config.get("storageClass") or DEFAULT_STORAGE_CLASS)

    @property
    def has_uniform_access(self) -> bool:
        """Whether access lists of single objects are switched off."""
        uniform = self.config.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {})
        return bool(uniform.get("enabled"))

    @property
    def retention(self) -> timedelta | None:
        """How long an object must be kept after it was made."""
        period_s = self.config.get("retentionPolicy", {}).get("retentionPeriod")
        return timedelta(seconds=int(period_s)) if period_s else None


@dataclass(frozen=True)
class BucketPreconditions:
    """What must hold of the bucket's metageneration."""

    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, bucket: StoredBucket) -> None:
        """Raise `PreconditionFailed` unless they hold."""
        if self.metageneration_match not in (None, bucket.metageneration):
            raise PreconditionFailed(unchanged=False)
        if self.metageneration_not_match == bucket.metageneration:
            raise PreconditionFailed(unchanged=True)


ANY_BUCKET = BucketPreconditions()


def retained_until(bucket: StoredBucket, version: StoredVersion) -> datetime | None:
    """Until when the bucket's retention policy keeps a version; None without a policy."""
    if bucket.retention is None or version.properties.get("eventBasedHold"):
        return None
    return version.created + bucket.retention


def check_removable(bucket: StoredBucket, version: StoredVersion, now: datetime) -> None:
    """Raise `Protected` if a hold or the retention policy keeps this version."""
    where = f"{version.bucket}/{version.name}"
    for hold, words in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if version.properties.get(hold):
            raise Protected(
                f"Object '{where}' is under active {words} hold and cannot be deleted, "
                "overwritten or archived until hold is removed."
            )
    until = retained_until(bucket, version)
    if until is not None and now < until:
        raise Protected(
            f"Object '{where}' is subject to bucket's retention policy or object retention and "
            f"cannot be deleted or overwritten until {until.isoformat()}"
        )


def with_defaults(properties: Mapping[str, Any], bucket: StoredBucket) -> dict[str, Any]:
    """The properties of a new version, with those that its bucket gives to all of them."""
    defaults: dict[str, Any] = {}
    if bucket.config.get("defaultEventBasedHold"):
        defaults["eventBasedHold"] = True
    if "defaultObjectAcl" in bucket.config:
        defaults["acl"] = bucket.config["defaultObjectAcl"]
    return defaults | dict(properties)
