"""Git's naming of content, and what the Hub takes from `.gitattributes`. Pure functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from orchestrator.sandbox.hub.patterns import matches

#: A file of this size or more goes to LFS whatever its name.
REGULAR_LIMIT_BYTES = 10 * 1024 * 1024
#: What a new repository sends to LFS: the names that model and dataset files go by.
_LFS_PATTERNS = """
*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model
*.msgpack *.npy *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors
saved_model/**/* *.tar.* *.tar *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents*
"""
DEFAULT_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LFS_PATTERNS.split()
)


class Entry(BaseModel):
    """A file in a commit. `oid` is git's id of the blob; for LFS, that of the pointer.

    `sha256` is the digest of the content of an LFS file, and None for any other.
    """

    model_config = ConfigDict(frozen=True)

    oid: str
    size_bytes: int
    sha256: str | None = None


def object_id(kind: str, content: bytes) -> str:
    """Git's id of an object: blob, tree or commit."""
    header = f"{kind} {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size_bytes: int) -> bytes:
    """The text that git keeps in place of an LFS file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n"
    ).encode()


def lfs_entry(sha256: str, size_bytes: int) -> Entry:
    """The entry of an LFS file."""
    return Entry(
        oid=object_id("blob", pointer(sha256, size_bytes)), size_bytes=size_bytes, sha256=sha256
    )


def tree_ids(files: Mapping[str, Entry]) -> dict[str, str]:
    """Git's ids of the folders that hold these files; the root is `""`."""
    children: dict[str, dict[str, str | None]] = {"": {}}
    for path, entry in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            children.setdefault("/".join(parts[: depth - 1]), {}).setdefault(parts[depth - 1], None)
            children.setdefault(folder, {})
        children["/".join(parts[:-1])][parts[-1]] = entry.oid
    ids: dict[str, str] = {}
    for folder in sorted(children, key=lambda name: (-name.count("/"), name == "")):
        ids[folder] = _tree_id(folder, children[folder], ids)
    return ids


def _tree_id(folder: str, children: Mapping[str, str | None], ids: Mapping[str, str]) -> str:
    rows: list[tuple[bytes, bytes]] = []
    for name, blob in children.items():
        # Git sorts a folder as if its name ended in a slash.
        raw = name.encode()
        oid = blob or ids[f"{folder}/{name}".lstrip("/")]
        mode, key = (b"100644", raw) if blob else (b"40000", raw + b"/")
        rows.append((key, mode + b" " + raw + b"\0" + bytes.fromhex(oid)))
    return object_id("tree", b"".join(row for _, row in sorted(rows)))


def commit_id(tree: str, parent: str | None, author: str, date: datetime, message: str) -> str:
    """Git's id of a commit by one author, who is its committer too."""
    who = f"{author} <{author}@users.noreply.huggingface.co> {int(date.timestamp())} +0000"
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else [])]
    lines += [f"author {who}", f"committer {who}", "", message]
    return object_id("commit", "\n".join(lines).encode())


def goes_to_lfs(path: str, size_bytes: int, sample: bytes, attributes: str) -> bool:
    """Whether the Hub wants a file through LFS: by its name, its size or its first bytes."""
    if size_bytes == 0:
        return False
    named = attributes_want_lfs(path, attributes)
    return named or size_bytes >= REGULAR_LIMIT_BYTES or _looks_binary(sample)


def attributes_want_lfs(path: str, attributes: str) -> bool:
    """What `.gitattributes` says of a path; the last line that matches wins."""
    wanted = False
    for line in attributes.split("\n"):
        # Other spaces, such as U+3000, belong to the name.
        pattern, *words = re.findall(r"[^ \t\r\f\v]+", line) or ["#"]
        if pattern.startswith("#") or not matches(pattern, path):
            continue
        if "filter=lfs" in words:
            wanted = True
        elif "-filter" in words or "!filter" in words:
            wanted = False
    return wanted


def _looks_binary(sample: bytes) -> bool:
    if b"\0" in sample:
        return True
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        # The sample may end inside a character, which takes four bytes at most.
        return error.start < len(sample) - 3
    return False
