"""Digests of files, read as a stream."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_file(file: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_blob_oid(file: Path) -> str:
    """The id that git gives to a file's content: what the Hub reports for files outside LFS."""
    with file.open("rb") as stream:
        size_bytes = file.stat().st_size
        return hashlib.file_digest(stream, lambda: git_blob_hash(size_bytes)).hexdigest()


def git_blob_hash(size_bytes: int) -> hashlib._Hash:
    """A hash to feed with a content of this size; its digest is the content's git blob id."""
    return hashlib.sha1(f"blob {size_bytes}\0".encode(), usedforsecurity=False)
