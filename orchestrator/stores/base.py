"""The contract between the steps and a store of objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

#: Called with the number of bytes moved since the last call.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class StoredObject:
    """An object as the store describes it. `crc32c` is base64 of the big-endian checksum.

    `created_at` is when this generation was written, where the store says so.
    """

    uri: str
    size_bytes: int
    crc32c: str
    generation: int
    created_at: datetime | None = field(default=None, compare=False)


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

    def put(self, file: Path, uri: str, progress: Progress | None = None) -> Put:
        """Store a file under a name that nothing else uses, at most once.

        The same bytes already there are success (`created=False`): a lost answer looks just so.
        Other bytes there raise `Conflict`.
        """
        ...

    def pin(self, uri: str) -> str:
        """The same place as it is at this moment, for a store whose places move as a whole.

        A branch becomes its commit; a bucket, whose objects change one by one, stays as it is.
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

    def read_range(self, stored: StoredObject, start: int, size_bytes: int) -> bytes:
        """Bytes of this generation from `start` on, fewer at its end. No checksum covers a part.

        Raises `NotFound` if this generation is gone.
        """
        ...

    def delete(self, stored: StoredObject) -> bool:
        """Remove this generation; False if the object is gone already.

        Raises `Conflict` if another generation has taken its name meanwhile: that one stays.
        """
        ...
