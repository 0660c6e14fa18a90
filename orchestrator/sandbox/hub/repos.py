"""Repositories on disk: settings, branches, tags, commits and contents.

A folder for each repository, named by the id that it gets here, so that moving a repository to
another name changes no path. `repo.json` holds what changes and is replaced last, in one step, so
a crash leaves the repository as it was before the request or after it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.clock import Clock
from orchestrator.sandbox.hub.git import (
    DEFAULT_ATTRIBUTES,
    Entry,
    commit_id,
    object_id,
    tree_ids,
)
from orchestrator.sandbox.hub.records import MAIN, Commit, Repo, pointer_size, pull_number
from orchestrator.sandbox.hub.wire import revision_missing

__all__ = ["MAIN", "Commit", "Repo", "Repositories", "pointer_size", "pull_number"]

_OID = re.compile(r"[0-9a-f]{7,40}")


class Repositories:
    """All repositories under one folder. Safe for threads; one process per folder."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root / "repos"
        self._drafts = root / "drafts"
        self._clock = clock
        #: Held for every change, and by callers that read and then change.
        self.lock = threading.RLock()
        self._commits: dict[tuple[str, str], Commit] = {}
        self._by_name: dict[tuple[str, str], Repo] = {}
        self._folders: dict[str, Path] = {}
        # What an earlier process left half-written belongs to nobody.
        shutil.rmtree(self._drafts, ignore_errors=True)
        for folder in (self._root, self._drafts):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in self._root.iterdir():
            self._load(folder)

    def get(self, kind: str, repo_id: str) -> Repo | None:
        """The repository, or None."""
        return self._by_name.get((kind, repo_id))

    def moved(self, kind: str, repo_id: str) -> Repo | None:
        """The repository that had this name before it was moved, or None."""
        found = (repo for repo in self.all() if repo.kind == kind and repo_id in repo.former_ids)
        return next(found, None)

    def all(self) -> list[Repo]:
        """Every repository, in order of its kind and name."""
        with self.lock:
            return sorted(self._by_name.values(), key=lambda repo: (repo.kind, repo.id))

    def create(self, kind: str, repo_id: str, *, private: bool, creator: str) -> Repo:
        """Make a repository whose first commit holds `.gitattributes`."""
        with self.lock:
            repo = Repo(
                kind=kind,
                id=repo_id,
                hex_id=secrets.token_hex(12),
                private=private,
                creator=creator,
                created_at=self._clock.now(),
                branches={},
            )
            folder = self._folders[repo.hex_id] = self._root / repo.hex_id
            for part in ("blobs", "lfs", "commits"):
                (folder / part).mkdir(parents=True)
            files = {".gitattributes": DEFAULT_ATTRIBUTES.encode()}
            first = self.make_commit(
                repo, None, files, title="initial commit", message="", author=creator
            )
            repo = repo.model_copy(update={"branches": {MAIN: first.oid}})
            self.save(repo)
            self._forget_former(repo)
            return repo

    def duplicate(self, source: Repo, repo_id: str, *, private: bool, creator: str) -> Repo:
        """Make a repository with the branches, tags and contents of another one."""
        with self.lock:
            repo = Repo(
                kind=source.kind,
                id=repo_id,
                hex_id=secrets.token_hex(12),
                private=private,
                creator=creator,
                created_at=self._clock.now(),
                branches=source.branches,
                tags=source.tags,
                tag_messages=source.tag_messages,
            )
            folder = self._folders[repo.hex_id] = self._root / repo.hex_id
            for part in ("blobs", "lfs", "commits"):
                # Contents never change, so two repositories can share the files.
                shutil.copytree(
                    self._folder_of(source) / part, folder / part, copy_function=os.link
                )
            self.save(repo)
            self._forget_former(repo)
            return repo

    def move(self, repo: Repo, repo_id: str) -> Repo:
        """Give a repository another name; the old one leads to it. The new one must be free."""
        with self.lock:
            former = (*(name for name in repo.former_ids if name != repo_id), repo.id)
            moved = repo.model_copy(update={"id": repo_id, "former_ids": former})
            self._record(moved)
            # Nobody sees the repository under both names, or under none.
            kept = {key: one for key, one in self._by_name.items() if one.hex_id != repo.hex_id}
            self._by_name = {**kept, (moved.kind, moved.id): moved}
            self._forget_former(moved)
            return moved

    def save(self, repo: Repo) -> None:
        """Record a repository's settings, branches and tags, in one step."""
        with self.lock:
            self._record(repo)
            self._by_name[repo.kind, repo.id] = repo

    def delete(self, repo: Repo) -> None:
        """Remove a repository and all that is in it."""
        with self.lock:
            doomed = self._drafts / secrets.token_hex(16)
            del self._by_name[repo.kind, repo.id]
            self._folders.pop(repo.hex_id).replace(doomed)
            shutil.rmtree(doomed)

    def read_document(self, repo: Repo, name: str) -> bytes | None:
        """What was written beside the repository under a name that the Hub chose, or None."""
        try:
            return (self._folder_of(repo) / f"{name}.json").read_bytes()
        except FileNotFoundError:
            return None

    def write_document(self, repo: Repo, name: str, content: bytes | None) -> None:
        """Replace, or with None remove, a JSON document beside the repository, in one step."""
        file = self._folder_of(repo) / f"{name}.json"
        if content is None:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(exist_ok=True)
        self._place(content, file)

    def resolve(self, repo: Repo, revision: str) -> Commit:
        """The commit of a branch, tag, pull request or (shortened) commit id.

        Raises `RevisionNotFound`.
        """
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = repo.branches.get(name) or repo.tags.get(name)
        number = pull_number(revision)
        if number is not None:
            oid = repo.pull_requests.get(number)
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

    def parts_path(self, repo: Repo, upload: str) -> Path:
        """Where the parts of an LFS upload are, or would be."""
        return self._folder_of(repo) / "parts" / upload

    def draft(self) -> Path:
        """A new name for content on its way in; move it into its place."""
        return self._drafts / secrets.token_hex(16)

    def make_commit(
        self,
        repo: Repo,
        parent: str | None,
        files: Mapping[str, Entry | bytes],
        *,
        title: str,
        message: str,
        author: str,
    ) -> Commit:
        """Store a commit that no reference names yet. Bytes are stored; entries are there."""
        entries = {
            path: self._keep_blob(repo, value) if isinstance(value, bytes) else value
            for path, value in sorted(files.items())
        }
        date = self._clock.now()
        text = f"{title}\n\n{message}".rstrip("\n") + "\n"
        commit = Commit(
            oid=commit_id(tree_ids(entries)[""], parent, author, date, text),
            parent=parent,
            title=title,
            message=message,
            author=author,
            date=date,
            files=entries,
        )
        target = self._folder_of(repo) / "commits" / f"{commit.oid}.json"
        self._place(commit.model_dump_json().encode(), target)
        return commit

    def _load(self, folder: Path) -> None:
        try:
            text = (folder / "repo.json").read_text(encoding="utf-8")
        except FileNotFoundError:  # the process ended while it made the repository
            shutil.rmtree(folder)
            return
        repo = Repo.model_validate_json(text)
        self._by_name[repo.kind, repo.id] = repo
        self._folders[repo.hex_id] = folder

    def _record(self, repo: Repo) -> None:
        self._place(repo.model_dump_json().encode(), self._folder_of(repo) / "repo.json")

    def _forget_former(self, repo: Repo) -> None:
        """Let a repository's name lead to nothing else, now that it is used again."""
        for other in self.all():
            is_other = other.kind == repo.kind and other.hex_id != repo.hex_id
            if is_other and repo.id in other.former_ids:
                names = tuple(name for name in other.former_ids if name != repo.id)
                self.save(other.model_copy(update={"former_ids": names}))

    def _keep_blob(self, repo: Repo, content: bytes) -> Entry:
        oid = object_id("blob", content)
        self._place(content, self._folder_of(repo) / "blobs" / oid)
        return Entry(oid=oid, size_bytes=len(content))

    def _place(self, content: bytes, target: Path) -> None:
        draft = self.draft()
        draft.write_bytes(content)
        draft.replace(target)

    def _folder_of(self, repo: Repo) -> Path:
        folder = self._folders.get(repo.hex_id)
        if folder is None:
            raise FileNotFoundError(f"{repo.kind} {repo.id} was deleted meanwhile")
        return folder
