"""What is recorded of a repository and of a commit."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from orchestrator.sandbox.hub.git import Entry, pointer

MAIN = "main"
_PULL = re.compile(r"refs/pr/([1-9][0-9]{0,8})")


class Repo(BaseModel):
    """What may change of a repository. `hex_id` is the Hub's own id; `kind` model or dataset.

    `pull_requests` are the heads of pull requests by their number, `merged` the commits that
    merged them. `former_ids` are the names that lead here since the repository was moved.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    id: str
    hex_id: str
    private: bool
    creator: str
    created_at: datetime
    branches: dict[str, str]
    tags: dict[str, str] = {}
    tag_messages: dict[str, str] = {}
    pull_requests: dict[int, str] = {}
    merged: dict[int, str] = {}
    last_discussion: int = 0
    former_ids: tuple[str, ...] = ()
    gated: Literal["auto", "manual"] | None = None
    org_members_gated: bool = False
    gated_notifications_email: str | None = None
    gated_notifications_mode: Literal["bulk", "real-time"] | None = None
    discussions_disabled: bool = False
    discussions_sorting: Literal["recently-created", "trending", "reactions"] | None = None


class Commit(BaseModel):
    """One commit, with all files of its tree."""

    model_config = ConfigDict(frozen=True)

    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: datetime
    files: dict[str, Entry]


def pull_number(revision: str) -> int | None:
    """The number of the pull request whose reference this is, or None."""
    found = _PULL.fullmatch(revision)
    return int(found[1]) if found else None


def pointer_size(entry: Entry) -> int:
    """The size of the text that git keeps in place of an LFS file."""
    return len(pointer(entry.sha256 or "", entry.size_bytes))
