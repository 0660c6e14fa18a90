"""What the object store says of an object, and the conditions under which it changes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

DEFAULT_CONTENT_TYPE = "application/octet-stream"


class BucketMissing(LookupError):
    """There is no bucket of this name."""


class ObjectMissing(LookupError):
    """There is no such object, or not in this generation."""


class PreconditionFailed(Exception):
    """The object is not in the generation or metageneration that the caller asked for.

    `unchanged` is True if a "not match" condition failed: the caller has this version already.
    """

    def __init__(self, *, unchanged: bool) -> None:
        super().__init__("At least one of the pre-conditions you specified did not hold.")
        self.unchanged = unchanged


@dataclass(frozen=True)
class StoredVersion:
    """An object in its current generation. `path` holds the content; never write to it.

    `crc32c` and `md5` are base64, the first of the big-endian checksum. `properties` are further
    fields of the JSON API that are kept and given back, such as `cacheControl`.
    """

    bucket: str
    name: str
    generation: int
    metageneration: int
    size_bytes: int
    crc32c: str
    md5: str
    content_type: str
    created: datetime
    updated: datetime
    path: Path
    metadata: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preconditions:
    """What must hold of the current version; a missing object has generation 0."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, current: StoredVersion | None) -> None:
        """Raise `PreconditionFailed` unless they hold."""
        generation = current.generation if current else 0
        metageneration = current.metageneration if current else None
        if self.generation_match not in (None, generation):
            raise PreconditionFailed(unchanged=False)
        if self.metageneration_match not in (None, metageneration):
            raise PreconditionFailed(unchanged=False)
        if self.generation_not_match == generation:
            raise PreconditionFailed(unchanged=True)
        if metageneration is not None and self.metageneration_not_match == metageneration:
            raise PreconditionFailed(unchanged=True)


ANY_VERSION = Preconditions()
