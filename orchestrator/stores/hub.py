"""The Hugging Face Hub as a store of what is published: repositories, commits, tags.

Reads and the idempotent writes (create a repository, create a tag) are retried here, because the
client retries none of them. `commit` is sent once: whether a lost one took effect is found out with
`find_commit`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from orchestrator.digests import git_blob_hash
from orchestrator.errors import (
    Ambiguous,
    Conflict,
    Corrupt,
    InputError,
    NotFound,
    RefusalKind,
    Refused,
)
from orchestrator.hub_client import LOGIN_HINT
from orchestrator.stores.base import Progress
from orchestrator.stores.checked import CountedFile
from orchestrator.stores.hub_access import check_repo_name, write_problem
from orchestrator.stores.hub_remote import RemoteFile as RemoteFile
from orchestrator.stores.hub_requests import HubRequests, Kind

_COMMIT_ID = re.compile(r"[0-9a-f]{40}")


class HubStore(HubRequests):
    """Repositories of one kind at one Hub: heads, files, commits, tags."""

    def check_write(self, repo: str, kind: Kind | None = None) -> str:
        """The full id of `name` or `namespace/name`, if this token may write there.

        A fine-grained token passes where its scopes do not decide: the Hub then decides.
        """
        check_repo_name(repo)
        name, who = self._who()
        repo_id = repo if "/" in repo else f"{name}/{repo}"
        problem = write_problem(who, repo_id, kind or self._kind)
        if problem:
            raise Refused(
                f"{name} may not write to {repo_id}: {problem}",
                kind=RefusalKind.PERMISSION,
                hint=f"Choose a namespace that you may write to, or: {LOGIN_HINT}",
            )
        return repo_id

    def check_private(self, repo_id: str, kind: Kind | None = None) -> None:
        """Raise `InputError` for a repository that everybody may read; silent if there is none."""
        kind = kind or self._kind
        try:
            info = self._retried(
                f"read {repo_id}", lambda: self._api().repo_info(repo_id, repo_type=kind)
            )
        except NotFound:
            return
        if not info.private:
            raise InputError(
                f"the {kind} {repo_id} is public: everybody would see what a run keeps there",
                hint="Make it private in its settings on the Hub, or publish under another name.",
            )

    def owner(self) -> str:
        """The user that the token belongs to."""
        return self._who()[0]

    def _who(self) -> tuple[str, dict[str, Any]]:
        if self._token is None:
            raise Refused(
                "there is no token for the Hugging Face Hub",
                kind=RefusalKind.CREDENTIALS,
                hint=LOGIN_HINT,
            )
        who = self._retried("ask who the token belongs to", lambda: self._api().whoami())
        name = who.get("name")
        if not isinstance(name, str) or not name:
            raise Ambiguous("the Hub did not say who the token belongs to")
        return name, who

    def ensure_repo(self, repo_id: str, *, private: bool) -> str:
        """The head of main; the repository is created if absent, and otherwise left as it is."""
        head = self.head(repo_id)
        if head is not None:
            return head
        self._retried(
            f"create {repo_id}",
            lambda: self._api().create_repo(
                repo_id, private=private, exist_ok=True, repo_type=self._kind
            ),
        )
        head = self.head(repo_id)
        if head is None:
            raise Ambiguous(
                f"{repo_id} was created, but the Hub does not show it yet",
                hint="Run the same command again.",
            )
        return head

    def head(self, repo_id: str, revision: str = "main") -> str | None:
        """The commit id of a branch, tag or commit; None if there is no such repo or revision."""
        try:
            info = self._retried(f"read {repo_id}", lambda: self._info(repo_id, revision))
        except NotFound:
            return None
        commit: str | None = info.sha
        return commit

    def _info(self, repo_id: str, revision: str, *, files: bool = False) -> Any:
        return self._api().repo_info(
            repo_id, revision=revision, repo_type=self._kind, files_metadata=files
        )

    def files(self, repo_id: str, revision: str) -> dict[str, RemoteFile]:
        """The files of a revision, by path."""
        info = self._retried(
            f"list the files of {repo_id}",
            lambda: self._info(repo_id, revision, files=True),
        )
        return {
            one.rfilename: RemoteFile(
                path=one.rfilename,
                size_bytes=one.size or 0,
                sha256=one.lfs.sha256 if one.lfs else None,
                git_oid=one.blob_id,
            )
            for one in info.siblings or []
        }

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, Path],
        *,
        message: str,
        description: str = "",
        parent_commit: str,
        delete: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> str:
        """Make one commit on main, on top of `parent_commit`; returns its id. Sent once.

        `Conflict` if main has moved, `Ambiguous` if the commit may exist. Files that are there
        already are not sent again, and if all are, `parent_commit` itself is returned.
        """
        for path, file in files.items():
            if not file.is_file():
                raise InputError(f"{file}, to be published as {path}, is not a file")
        # Asked before anything is uploaded. It is also the only check if no file has changed:
        # the client then sends no commit, and so no parent to compare.
        self._check_head(repo_id, parent_commit)
        return self._asked(
            f"commit to {repo_id}",
            lambda: self._commit(
                repo_id, files, message, description, parent_commit, delete, progress
            ),
            once=True,
        )

    def _check_head(self, repo_id: str, parent_commit: str) -> None:
        """Raise `Conflict` unless main is at this commit."""
        if not _COMMIT_ID.fullmatch(parent_commit):
            raise InputError(f"{parent_commit!r} is not a commit id of 40 hex digits")
        head = self.head(repo_id)
        if head is None:
            raise NotFound(f"{repo_id} has no main branch that this token can see")
        if head != parent_commit:
            raise Conflict(
                f"{repo_id} is at {head[:12]}, not at {parent_commit[:12]}: somebody committed",
                hint="Look at what changed there, then run the same command again.",
            )

    def _commit(
        self,
        repo_id: str,
        files: Mapping[str, Path],
        message: str,
        description: str,
        parent_commit: str,
        delete: Sequence[str],
        progress: Progress | None,
    ) -> str:
        api = self._api()
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with ExitStack() as opened:
            sources = {path: opened.enter_context(CountedFile(f)) for path, f in files.items()}
            added = [CommitOperationAdd(path, source) for path, source in sources.items()]
            # Only now: making the operations has read every file for its digest.
            for source in sources.values():
                source.progress = progress
            info = api.create_commit(
                repo_id,
                [*(CommitOperationDelete(path) for path in delete), *added],
                commit_message=message,
                commit_description=description,
                parent_commit=parent_commit,
                repo_type=self._kind,
                revision="main",
            )
        return info.oid

    def find_commit(self, repo_id: str, marker: str, *, limit: int = 50) -> str | None:
        """The newest of the last `limit` commits on main whose text contains `marker`, or None."""
        # Not list_repo_commits: it fetches the whole history, and retries with sleeps of its own.
        url = f"{self._endpoint}/api/{self._kind}s/{repo_id}/commits/main"
        commits = self._retried(
            f"read the history of {repo_id}", lambda: self._get_json(url, {"limit": limit})
        )
        for commit in commits if isinstance(commits, list) else []:
            if marker in f"{commit['title']}\n{commit['message']}":
                return str(commit["id"])
        return None

    def tag(self, repo_id: str, name: str, revision: str) -> None:
        """Tag a revision. The same tag there already is fine; elsewhere it is a `Conflict`."""
        target = self.head(repo_id, revision)
        if target is None:
            raise NotFound(f"{repo_id} has no revision {revision}")
        if self.tags(repo_id).get(name) == target:
            return
        try:
            self._retried(
                f"tag {repo_id} as {name}",
                lambda: self._api().create_tag(
                    repo_id, tag=name, revision=target, repo_type=self._kind
                ),
            )
        except Conflict as error:
            # Ours, if an earlier answer was lost.
            found = self.tags(repo_id).get(name)
            if found != target:
                raise Conflict(
                    f"{repo_id} has a tag {name} at {found}, which is not {target}",
                    hint="Choose another tag: published tags are not moved.",
                ) from error

    def tags(self, repo_id: str) -> dict[str, str]:
        """The commit id of each tag."""
        refs = self._retried(
            f"read the tags of {repo_id}",
            lambda: self._api().list_repo_refs(repo_id, repo_type=self._kind),
        )
        return {tag.name: tag.target_commit for tag in refs.tags}

    def digest_of(
        self, repo_id: str, revision: str, path: str, progress: Progress | None = None
    ) -> str:
        """The SHA-256 of a file's content as the Hub serves it."""
        return self._read_digest(repo_id, revision, path, hashlib.sha256, progress)

    def _read_digest(
        self,
        repo_id: str,
        revision: str,
        path: str,
        new_hash: Callable[[], hashlib._Hash],
        progress: Progress | None,
    ) -> str:
        furthest = 0

        def read() -> str:
            nonlocal furthest
            digest, size_bytes = new_hash(), 0
            for block in self._blocks(repo_id, revision, path):
                digest.update(block)
                size_bytes += len(block)
                if progress is not None and size_bytes > furthest:
                    progress(size_bytes - furthest)
                    furthest = size_bytes
            return digest.hexdigest()

        return self._retried(f"read {path} of {repo_id}", read)

    def download(self, repo_id: str, revision: str, path: str, file: Path) -> None:
        """Fetch a file, checked; raises `Corrupt`, and a partial file never stays behind."""
        expected = self.files(repo_id, revision).get(path)
        if expected is None:
            raise NotFound(f"{repo_id} has no {path} at {revision}")
        self._retried(
            f"download {path} of {repo_id}",
            lambda: self._download(repo_id, revision, expected, file),
        )

    def _download(self, repo_id: str, revision: str, expected: RemoteFile, file: Path) -> None:
        digest = (
            hashlib.sha256() if expected.sha256 is not None else git_blob_hash(expected.size_bytes)
        )
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".hub-")
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                for block in self._blocks(repo_id, revision, expected.path):
                    digest.update(block)
                    stream.write(block)
            if digest.hexdigest() != (expected.sha256 or expected.git_oid):
                raise Corrupt(
                    f"{expected.path} of {repo_id} arrived with another checksum than it has there",
                    hint="Run the same command again; if it fails again, the copy there is bad.",
                )
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
