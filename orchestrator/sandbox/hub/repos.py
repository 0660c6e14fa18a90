"""Repositories on disk: settings, branches, tags, commits and contents.

A folder for each repository, named by a hash. `repo.json` holds what changes and is replaced last,
in one step, so a crash leaves the repository as it was before the request or after it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestrator.clock import Clock
from orchestrator.sandbox.hub.git import (
    DEFAULT_ATTRIBUTES,
    Entry,
    commit_id,
    object_id,
    pointer,
    tree_ids,
)
from orchestrator.sandbox.hub.wire import HubError, revision_missing

MAIN = "main"
_OID = re.compile(r"[0-9a-f]{7,40}")


class Repo(BaseModel):
    """What may change of a repository. `hex_id` is the Hub's own id; `kind` model or dataset."""

    model_config = ConfigDict(frozen=True)

    kind: str
    id: str
    hex_id: str
    private: bool
    creator: str
    created_at: datetime
    branches: dict[str, str]
    tags: dict[str, str] = {}


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


class Repositories:
    """All repositories under one folder. Safe for threads; one process per folder."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root / "repos"
        self._drafts = root / "drafts"
        self._clock = clock
        #: Held for every change, and by callers that read and then change.
        self.lock = threading.RLock()
        self._commits: dict[tuple[str, str], Commit] = {}
        # What an earlier process left half-written belongs to nobody.
        shutil.rmtree(self._drafts, ignore_errors=True)
        for folder in (self._root, self._drafts):
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, kind: str, repo_id: str) -> Repo | None:
        """The repository, or None."""
        try:
            text = (self._folder(kind, repo_id) / "repo.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return Repo.model_validate_json(text)

    def all(self) -> list[Repo]:
        """Every repository, in order of its kind and name."""
        files = self._root.glob("*/repo.json")
        repos = [Repo.model_validate_json(file.read_text(encoding="utf-8")) for file in files]
        return sorted(repos, key=lambda repo: (repo.kind, repo.id))

    def create(self, kind: str, repo_id: str, *, private: bool, creator: str) -> Repo:
        """Make a repository whose first commit holds `.gitattributes`."""
        with self.lock:
            folder = self._folder(kind, repo_id)
            for part in ("blobs", "lfs", "commits"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            now = self._clock.now()
            repo = Repo(
                kind=kind,
                id=repo_id,
                hex_id=secrets.token_hex(12),
                private=private,
                creator=creator,
                created_at=now,
                branches={},
            )
            files = {".gitattributes": self._keep_blob(repo, DEFAULT_ATTRIBUTES.encode())}
            first = self._keep_commit(repo, None, files, "initial commit", "", creator)
            repo = repo.model_copy(update={"branches": {MAIN: first.oid}})
            self.save(repo)
            return repo

    def save(self, repo: Repo) -> None:
        """Record a repository's settings, branches and tags, in one step."""
        self._place(repo.model_dump_json().encode(), self._folder_of(repo) / "repo.json")

    def delete(self, repo: Repo) -> None:
        """Remove a repository and all that is in it."""
        with self.lock:
            doomed = self._drafts / secrets.token_hex(16)
            self._folder_of(repo).replace(doomed)
            shutil.rmtree(doomed)

    def resolve(self, repo: Repo, revision: str) -> Commit:
        """The commit of a branch, a tag or a (shortened) commit id; raises `RevisionNotFound`."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = repo.branches.get(name) or repo.tags.get(name)
        if oid is None and _OID.fullmatch(revision):
            found = list((self._folder_of(repo) / "commits").glob(f"{revision}*.json"))
            oid = found[0].stem if len(found) == 1 else None
        if oid is None:
            raise revision_missing(revision)
        return self.commit(repo, oid)

    def commit(self, repo: Repo, oid: str) -> Commit:
        """A commit that is known to exist. Commits never change, so they are kept in memory."""
        key = (repo.hex_id, oid)
        if key not in self._commits:
            file = self._folder_of(repo) / "commits" / f"{oid}.json"
            self._commits[key] = Commit.model_validate_json(file.read_text(encoding="utf-8"))
        return self._commits[key]

    def history(self, repo: Repo, commit: Commit) -> Iterator[Commit]:
        """A commit and its ancestors, the newest first."""
        yield commit
        while commit.parent is not None:
            commit = self.commit(repo, commit.parent)
            yield commit

    def content(self, repo: Repo, entry: Entry) -> Path:
        """The file with an entry's content; never write to it."""
        return (
            self.lfs_path(repo, entry.sha256)
            if entry.sha256
            else self._folder_of(repo) / "blobs" / entry.oid
        )

    def lfs_path(self, repo: Repo, sha256: str) -> Path:
        """Where an LFS object of this repository is, or would be. `sha256` is 64 hex digits."""
        return self._folder_of(repo) / "lfs" / sha256

    def draft(self) -> Path:
        """A new name for content on its way in; move it into its place."""
        return self._drafts / secrets.token_hex(16)

    def add_commit(
        self,
        repo: Repo,
        branch: str,
        files: Mapping[str, Entry | bytes],
        *,
        title: str,
        message: str,
        author: str,
    ) -> Commit:
        """Put a commit with exactly these files on a branch. The caller holds the lock.

        Bytes are stored; entries name content that is there already.
        """
        entries = {
            path: self._keep_blob(repo, value) if isinstance(value, bytes) else value
            for path, value in files.items()
        }
        parent = repo.branches[branch]
        commit = self._keep_commit(repo, parent, entries, title, message, author)
        self.save(repo.model_copy(update={"branches": {**repo.branches, branch: commit.oid}}))
        return commit

    def _keep_blob(self, repo: Repo, content: bytes) -> Entry:
        oid = object_id("blob", content)
        self._place(content, self._folder_of(repo) / "blobs" / oid)
        return Entry(oid=oid, size_bytes=len(content))

    def _keep_commit(
        self,
        repo: Repo,
        parent: str | None,
        files: Mapping[str, Entry],
        title: str,
        message: str,
        author: str,
    ) -> Commit:
        date = self._clock.now()
        text = f"{title}\n\n{message}".rstrip("\n") + "\n"
        oid = commit_id(tree_ids(files)[""], parent, author, date, text)
        commit = Commit(
            oid=oid,
            parent=parent,
            title=title,
            message=message,
            author=author,
            date=date,
            files=dict(sorted(files.items())),
        )
        target = self._folder_of(repo) / "commits" / f"{oid}.json"
        self._place(commit.model_dump_json().encode(), target)
        return commit

    def _place(self, content: bytes, target: Path) -> None:
        draft = self.draft()
        draft.write_bytes(content)
        draft.replace(target)

    def _folder_of(self, repo: Repo) -> Path:
        return self._folder(repo.kind, repo.id)

    def _folder(self, kind: str, repo_id: str) -> Path:
        return self._root / hashlib.sha256(f"{kind}/{repo_id}".encode()).hexdigest()


def pointer_size(entry: Entry) -> int:
    """The size of the text that git keeps in place of an LFS file."""
    return len(pointer(entry.sha256 or "", entry.size_bytes))


def check_ref_name(name: str) -> None:
    """Refuse what git refuses as the name of a branch or tag."""
    bad = re.search(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|@\{|//|/\.|\.lock(/|$)", name)
    if bad or not name or name[0] in "/.-" or name[-1] in "/.":
        raise HubError(400, f"Invalid reference name: {name!r}")
