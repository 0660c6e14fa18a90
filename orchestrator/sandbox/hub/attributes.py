"""How the Hub keeps `.gitattributes` true: it names every file that is kept by LFS."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.git import Entry, attributes_want_lfs
from orchestrator.sandbox.hub.repos import Repo

FILE = ".gitattributes"


def track(face: HubFace, repo: Repo, files: dict[str, Entry | bytes], paths: Iterable[str]) -> None:
    """Add a line to `.gitattributes` for each of these LFS files that no line covers yet."""
    kept = files.get(FILE)
    if isinstance(kept, Entry):
        kept = face.repos.content(repo, kept).read_bytes()
    before = (kept or b"").decode("utf-8", "surrogateescape")
    text = before
    for path in paths:
        entry = files.get(path)
        if isinstance(entry, Entry) and entry.sha256 and not attributes_want_lfs(path, text):
            start = "" if not text or text.endswith("\n") else "\n"
            text += f"{start}{_pattern(path)} filter=lfs diff=lfs merge=lfs -text\n"
    if text != before:
        files[FILE] = text.encode("utf-8", "surrogateescape")


def _pattern(path: str) -> str:
    """A pattern that names just this path; a space would end it."""
    escaped = re.sub(r"([\\*?\[\]])", r"\\\1", path)
    escaped = escaped.replace(" ", "[[:space:]]")
    # These have a meaning of their own where a line starts.
    return re.sub(r"^([#!\"])", r"[\1]", escaped)
