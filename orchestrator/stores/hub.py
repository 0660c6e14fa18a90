"""The Hugging Face Hub as a store of published adapters: repositories, commits, tags.

Reads and the idempotent writes (create a repository, create a tag) are retried here, because the
client retries none of them. `commit` is sent once: whether a lost one took effect is found out with
`find_commit`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.digests import git_blob_hash, git_blob_oid, sha256_file
from orchestrator.errors import (
    Ambiguous,
    Conflict,
    Corrupt,
    InputError,
    NotFound,
    OrchestratorError,
    RefusalKind,
    Refused,
)
from orchestrator.hub_client import LOGIN_HINT, hub_error, prepare_client
from orchestrator.retry import retry_request
from orchestrator.stores.base import Progress
from orchestrator.stores.checked import CountedFile
from orchestrator.stores.hub_access import check_repo_name, write_problem

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
_COMMIT_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a revision. `sha256` is known for LFS files, `git_oid` names any other's content.

    For an LFS file `git_oid` is the id of its pointer, not of its content.
    """

    path: str
    size_bytes: int
    sha256: str | None
    git_oid: str | None

    def same_as(self, file: Path) -> bool:
        """Whether a local file has this very content."""
        if file.stat().st_size != self.size_bytes:
            return False
        if self.sha256 is not None:
            return sha256_file(file) == self.sha256
        return git_blob_oid(file) == self.git_oid


class HubStore:
    """Model repositories at one Hub, with one token (None: anonymous, whatever is logged in)."""

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        timeout_s: float = 60.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._clock = clock

    def check_write(self, repo: str, kind: Literal["model", "dataset"] = "model") -> str:
        """The full id of `name` or `namespace/name`, if this token may write there.

        A fine-grained token passes where its scopes do not decide: the Hub then decides.
        """
        check_repo_name(repo)
        name, who = self._who()
        repo_id = repo if "/" in repo else f"{name}/{repo}"
        problem = write_problem(who, repo_id, kind)
        if problem:
            raise Refused(
                f"{name} may not write to {repo_id}: {problem}",
                kind=RefusalKind.PERMISSION,
                hint=f"Choose a namespace that you may write to, or: {LOGIN_HINT}",
            )
        return repo_id

    def check_private(self, repo_id: str, kind: Literal["model", "dataset"] = "model") -> None:
        """Raise `InputError` for a repository that everybody may read; silent if there is none."""
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
            lambda: self._api().create_repo(repo_id, private=private, exist_ok=True),
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
            info = self._retried(
                f"read {repo_id}", lambda: self._api().model_info(repo_id, revision=revision)
            )
        except NotFound:
            return None
        return info.sha

    def files(self, repo_id: str, revision: str) -> dict[str, RemoteFile]:
        """The files of a revision, by path."""
        info = self._retried(
            f"list the files of {repo_id}",
            lambda: self._api().model_info(repo_id, revision=revision, files_metadata=True),
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
        if not _COMMIT_ID.fullmatch(parent_commit):
            raise InputError(f"{parent_commit!r} is not a commit id of 40 hex digits")
        for path, file in files.items():
            if not file.is_file():
                raise InputError(f"{file}, to be published as {path}, is not a file")
        # Asked before anything is uploaded. It is also the only check if no file has changed:
        # the client then sends no commit, and so no parent to compare.
        head = self.head(repo_id)
        if head is None:
            raise NotFound(f"{repo_id} has no main branch that this token can see")
        if head != parent_commit:
            raise Conflict(
                f"{repo_id} is at {head[:12]}, not at {parent_commit[:12]}: somebody committed",
                hint="Look at what changed there, then run the same command again.",
            )
        return self._asked(
            f"commit to {repo_id}",
            lambda: self._commit(
                repo_id, files, message, description, parent_commit, delete, progress
            ),
            once=True,
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
                revision="main",
            )
        return info.oid

    def find_commit(self, repo_id: str, marker: str, *, limit: int = 50) -> str | None:
        """The newest of the last `limit` commits on main whose text contains `marker`, or None."""
        # Not list_repo_commits: it fetches the whole history, and retries with sleeps of its own.
        url = f"{self._endpoint}/api/models/{repo_id}/commits/main"
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
                lambda: self._api().create_tag(repo_id, tag=name, revision=target),
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
            f"read the tags of {repo_id}", lambda: self._api().list_repo_refs(repo_id)
        )
        return {tag.name: tag.target_commit for tag in refs.tags}

    def digest_of(
        self, repo_id: str, revision: str, path: str, progress: Progress | None = None
    ) -> str:
        """The SHA-256 of a file's content as the Hub serves it."""
        furthest = 0

        def read() -> str:
            nonlocal furthest
            digest, size_bytes = hashlib.sha256(), 0
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

    def _blocks(self, repo_id: str, revision: str, path: str) -> Iterator[bytes]:
        prepare_client(self._timeout_s)
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status

        url = hf_hub_url(repo_id, path, revision=revision, endpoint=self._endpoint)
        with get_session().stream("GET", url, headers=self._headers()) as response:
            hf_raise_for_status(response)
            yield from response.iter_bytes()

    def _get_json(self, url: str, params: Mapping[str, Any]) -> Any:
        prepare_client(self._timeout_s)
        from huggingface_hub import get_session, hf_raise_for_status

        response = get_session().get(url, params=dict(params), headers=self._headers())
        hf_raise_for_status(response)
        return response.json()

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def _api(self) -> HfApi:
        prepare_client(self._timeout_s)
        from huggingface_hub import HfApi

        # False, not None: None would pick up whatever token this machine has stored.
        return HfApi(endpoint=self._endpoint, token=self._token or False)

    def _asked(self, doing: str, call: Callable[[], T], *, once: bool = False) -> T:
        try:
            return call()
        except OrchestratorError:
            raise
        except Exception as error:
            mapped = hub_error(error, f"cannot {doing} at {self._endpoint}", once=once)
            if mapped is None:
                raise
            raise mapped from error

    def _retried(self, doing: str, call: Callable[[], T]) -> T:
        return retry_request(lambda: self._asked(doing, call), clock=self._clock)
