"""What the object store says of an object, and the conditions under which it changes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

DEFAULT_CONTENT_TYPE = "application/octet-stream"
DEFAULT_STORAGE_CLASS = "STANDARD"


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


class Protected(Exception):
    """A hold or a retention policy keeps the object from being replaced or deleted."""


@dataclass(frozen=True)
class StoredVersion:
    """An object in one of its generations. `path` holds the content; never write to it.

    `crc32c` and `md5` are base64, the first of the big-endian checksum; a composite object has a
    `component_count` and its `md5` is empty. `properties` are further fields of the JSON API that
    are kept and given back, such as `cacheControl`. `deleted` is when the version ceased to be
    the live one.
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
    properties: Mapping[str, Any] = field(default_factory=dict)
    storage_class: str = DEFAULT_STORAGE_CLASS
    component_count: int | None = None
    deleted: datetime | None = None


@dataclass(frozen=True)
class Description:
    """What a caller says of an object beside its content; None leaves the bucket's default."""

    content_type: str = DEFAULT_CONTENT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    storage_class: str | None = None


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


@dataclass(frozen=True)
class Component:
    """One source of a composition; None is the live generation, whichever it is."""

    name: str
    generation: int | None = None
    generation_match: int | None = None
