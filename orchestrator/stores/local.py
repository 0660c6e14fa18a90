"""A folder of this machine as a store of objects, for reading: `file:///folder/file`."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from orchestrator.errors import Corrupt, InputError, NotFound, Place
from orchestrator.stores.base import Progress, Put, StoredObject

SCHEME = "file://"


def file_uri(path: Path) -> str:
    """The URI of a file or folder."""
    return SCHEME + quote(str(path.resolve()), safe="/", errors="surrogateescape")


class LocalFiles:
    """Implements `ObjectStore` over whatever this machine holds; nothing is written."""

    def check_writable(self, uri: str) -> None:
        """Nothing is put here."""
        raise _only_for_reading(uri)

    def put(self, file: Path, uri: str, progress: Progress | None = None) -> Put:  # noqa: ARG002
        """Nothing is put here."""
        raise _only_for_reading(uri)

    def pin(self, uri: str) -> str:
        """Files change one by one: the place stays as it is."""
        return uri

    def stat(self, uri: str) -> StoredObject | None:
        """Describe a file; None if there is none."""
        path = _path(uri)
        return _stored(path) if path.is_file() else None

    def list(self, prefix: str) -> list[StoredObject]:
        """All files below the folder that `prefix` names, but for links that lead elsewhere."""
        folder = _path(prefix)
        if not folder.is_dir():
            return []
        try:
            files = sorted(one for one in folder.rglob("*") if one.is_file())
        except OSError as error:
            raise InputError(
                f"cannot read the folder: {error.strerror}", where=Place(str(folder))
            ) from error
        root = folder.resolve()
        # By the names under which they stand here, not those that links lead to.
        return [
            _stored(one, prefix.rstrip("/") + "/" + quote(one.relative_to(folder).as_posix()))
            for one in files
            if one.resolve().is_relative_to(root)
        ]

    def get(self, stored: StoredObject, file: Path, progress: Progress | None = None) -> None:
        """Copy a file; raises `Corrupt` if it is not as it was listed."""
        source = _path(stored.uri)
        draft = file.with_name(f".{file.name}.partial")
        try:
            shutil.copyfile(source, draft)
            size_bytes = draft.stat().st_size
            if size_bytes != stored.size_bytes:
                raise Corrupt(f"{source} changed while it was copied", hint="Run it again.")
            draft.replace(file)
        except OSError as error:
            raise InputError(
                f"cannot be read: {error.strerror}", where=Place(str(source))
            ) from error
        finally:
            draft.unlink(missing_ok=True)
        if progress is not None:
            progress(size_bytes)

    def read(self, uri: str, *, max_bytes: int) -> bytes:
        """The content of a small file."""
        stored = self.stat(uri)
        if stored is None:
            raise NotFound(f"there is no {_path(uri)}")
        if stored.size_bytes > max_bytes:
            raise Corrupt(f"{uri} has {stored.size_bytes} bytes, more than {max_bytes}")
        return _path(uri).read_bytes()

    def read_range(self, stored: StoredObject, start: int, size_bytes: int) -> bytes:
        """Bytes of a file from `start` on."""
        path = _path(stored.uri)
        if not path.is_file():
            raise NotFound(f"{path} is gone")
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(size_bytes)

    def delete(self, stored: StoredObject) -> bool:
        """Nothing is removed here."""
        raise _only_for_reading(stored.uri)


def _path(uri: str) -> Path:
    return Path(unquote(uri.removeprefix(SCHEME), errors="surrogateescape"))


def _stored(path: Path, uri: str | None = None) -> StoredObject:
    about = path.stat()
    return StoredObject(
        uri=uri or file_uri(path),
        size_bytes=about.st_size,
        crc32c="",
        generation=about.st_mtime_ns,
        created_at=datetime.fromtimestamp(about.st_mtime, UTC),
    )


def _only_for_reading(uri: str) -> InputError:
    return InputError(f"{uri} is only read from, never written to")
