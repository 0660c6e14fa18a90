"""The contract between the steps and a store of objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Called with the number of bytes moved since the last call.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class StoredObject:
    """An object as the store describes it. `crc32c` is base64 of the big-endian checksum."""

    uri: str
    size_bytes: int
    crc32c: str
    generation: int


@dataclass(frozen=True)
class Put:
    """The result of `put`: `created` is False if the same bytes were there already."""

    stored: StoredObject
    created: bool


class ObjectStore(Protocol):
    """Objects named by `scheme://bucket/name`.

    Raises `NotFound`, `Conflict`, other `Refused`, `Ambiguous` or `Corrupt`, and `InputError` for a
    local file that cannot be used; nothing else escapes.
    """

    def check_writable(self, uri: str) -> None:
        """Raise unless the bucket of `uri` exists and these credentials may create objects there.

        Leaves nothing behind.
        """
        ...

    def put(self, file: Path, uri: str) -> Put:
        """Store a file under a name that nothing else uses, at most once.

        The same bytes already there are success (`created=False`): a lost answer looks just so.
        Other bytes there raise `Conflict`.
        """
        ...

    def stat(self, uri: str) -> StoredObject | None:
        """Describe an object; None if there is none."""
        ...

    def list(self, prefix: str) -> list[StoredObject]:
        """All objects whose URI starts with `prefix`, in order of their names."""
        ...

    def get(self, stored: StoredObject, file: Path, progress: Progress | None = None) -> None:
        """Download this generation to `file`, checked; a partial file never stays behind."""
        ...

    def read(self, uri: str, *, max_bytes: int) -> bytes:
        """The content of a small object; raises `Corrupt` if it is larger than `max_bytes`."""
        ...
