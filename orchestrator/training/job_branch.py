"""A branch of a private repo on the Hub, and one folder of it: what a job leaves behind.

Every change is one commit on top of a known parent, so the branch is never half-written, and an
answer that was lost neither loses nor doubles anything: the next try looks at what is there first.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
#: Waits so many seconds; whether it is no use to go on trying.
Wait = Callable[[float], bool]
REQUEST_TIMEOUT_S = 120.0
LONGEST_WAIT_S = 60.0
_CHUNK_BYTES = 1 << 20
#: 409 and 412: somebody else has committed in between; the next try begins from there.
_PASSING = {408, 409, 412, 425, 429}


class BranchProblem(Exception):
    """The Hub does not do what is needed, and another try would not change that."""


@dataclass(frozen=True)
class StoredFile:
    """A file of the branch. An LFS file is known by its SHA-256, any other by its id in git."""

    size_bytes: int
    sha256: str | None
    git_oid: str

    def same_as(self, file: Path) -> bool:
        """Whether a local file has this very content."""
        size = file.stat().st_size
        if size != self.size_bytes:
            return False
        if self.sha256 is not None:
            return _digest(file, hashlib.sha256()) == self.sha256
        # The id is git's own, which is SHA-1: a name here, not a protection.
        git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        return _digest(file, git) == self.git_oid


def _digest(file: Path, digest: Any) -> str:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return str(digest.hexdigest())


def prepare_client() -> None:
    """Import the Hub's client as a job needs it; before anything else imports it."""
    # Xet may split one upload into several commits; debugging prints requests with their tokens.
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ.pop("HF_DEBUG", None)
    import httpx2
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def limit(request: httpx2.Request) -> None:
        # Some calls of the client pass an explicit None, which would undo a timeout of its own.
        given = request.extensions.get("timeout", {})
        default = httpx2.Timeout(REQUEST_TIMEOUT_S).as_dict()
        request.extensions["timeout"] = {k: given.get(k) or v for k, v in default.items()}

    def client() -> httpx2.Client:
        made = default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = {**hooks, "request": [*hooks["request"], limit]}
        return made

    set_client_factory(client)


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed a little later."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return is_passing(error.__cause__)  # the client wraps what went wrong with an upload
    if isinstance(error, HfHubHTTPError) and getattr(error, "response", None) is not None:
        status = error.response.status_code
        return status in _PASSING or status >= 500
    lost = (httpx2.HTTPError, httpx2.StreamError, ConnectionError, TimeoutError)
    # An answer that is not JSON came from something in between.
    return isinstance(error, (*lost, json.JSONDecodeError))


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class Branch:
    """One branch of a model repo. Calls are tried again for `retry_for_s` seconds altogether."""

    def __init__(
        self,
        repo: str,
        name: str,
        token: str,
        *,
        retry_for_s: float,
        first_wait_s: float = 1.0,
        endpoint: str | None = None,
    ) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(endpoint=endpoint, token=token)
        self._token = token
        self._retry_for_s = retry_for_s
        self._first_wait_s = first_wait_s
        self.repo = repo
        self.name = name

    def prepare(self) -> None:
        """Create the private repo and the branch if absent; a public repo is a `BranchProblem`."""
        from huggingface_hub.errors import RepositoryNotFoundError

        def once() -> bool:
            try:
                info = self._api.repo_info(self.repo)
            except RepositoryNotFoundError:
                self._api.create_repo(self.repo, private=True, exist_ok=True)
                info = self._api.repo_info(self.repo)
            if info.private:
                self._api.create_branch(self.repo, branch=self.name, exist_ok=True)
            return bool(info.private)

        if not self._tried(f"prepare the branch {self.name} of {self.repo}", once):
            raise BranchProblem(
                f"{self.repo} is public: candidates are kept in a private repo only;"
                " make it private, or name another one"
            )

    def files(self, folder: str) -> tuple[str, dict[str, StoredFile]]:
        """The head of the branch, and the files of a folder in it by their whole paths."""
        return self._tried(f"read {self.repo}", lambda: self._files(folder))

    def put(
        self,
        folder: str,
        files: Mapping[str, Path],
        obsolete: Callable[[Collection[str]], Collection[str]],
        *,
        title: str,
        wait: Wait = _pause,
    ) -> str:
        """Have these files in the folder, in one commit; the revision in which they are.

        `obsolete` names what is to go, given the whole paths that the folder then has.
        `wait` may end the tries early. Raises `BranchProblem`.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        wanted = {f"{folder}/{name}": file for name, file in files.items()}

        def once() -> str:
            head, present = self._files(folder)
            gone = set(obsolete(present.keys() | wanted.keys()))
            new = {
                path: file
                for path, file in wanted.items()
                if path not in gone and not (path in present and present[path].same_as(file))
            }
            old = sorted(gone & present.keys())
            if not new and not old:
                return head  # an earlier try had its effect, and its answer was lost
            commit = self._api.create_commit(
                self.repo,
                [
                    *(CommitOperationDelete(path) for path in old),
                    *(CommitOperationAdd(path, str(file)) for path, file in sorted(new.items())),
                ],
                commit_message=title,
                revision=self.name,
                parent_commit=head,
            )
            return str(commit.oid)

        return self._tried(f"commit {title} to {self.repo}", once, wait)

    def fetch(self, files: Mapping[str, StoredFile], revision: str, target: Path) -> None:
        """Download files to their whole paths under `target`; each is compared with its digest."""
        for path, stored in files.items():

            def once(path: str = path, stored: StoredFile = stored) -> bool:
                file = self._api.hf_hub_download(
                    self.repo, path, revision=revision, local_dir=target, force_download=True
                )
                return stored.same_as(Path(str(file)))

            # A second time, because what spoils bytes on their way seldom does so twice.
            doing = f"download {path} from {self.repo}"
            if not self._tried(doing, once) and not self._tried(doing, once):
                raise BranchProblem(f"{doing}: other bytes came than the Hub says it holds")

    def _files(self, folder: str) -> tuple[str, dict[str, StoredFile]]:
        from huggingface_hub import RepoFile
        from huggingface_hub.errors import EntryNotFoundError

        head = str(self._api.repo_info(self.repo, revision=self.name).sha)
        try:
            tree = list(self._api.list_repo_tree(self.repo, folder, recursive=True, revision=head))
        except EntryNotFoundError:
            tree = []
        return head, {
            one.path: StoredFile(one.size, one.lfs.sha256 if one.lfs else None, one.blob_id)
            for one in tree
            if isinstance(one, RepoFile)
        }

    def _tried(self, doing: str, call: Callable[[], T], wait: Wait = _pause) -> T:
        """What `call` gives, tried again after what passes; raises `BranchProblem`."""
        began, delay_s = time.monotonic(), self._first_wait_s
        while True:
            try:
                return call()
            except Exception as error:  # whatever it is, it must not take the training with it
                message = f"{doing}: {self._one_line(error)}"
                if not is_passing(error):
                    raise BranchProblem(message) from error
                pause_s = max(delay_s, _retry_after_s(error))
                if time.monotonic() + pause_s - began > self._retry_for_s:
                    raise BranchProblem(f"{message} (given up)") from error
                if wait(pause_s):
                    raise BranchProblem(f"{message} (no time left)") from error
                delay_s = min(2 * delay_s, LONGEST_WAIT_S)

    def _one_line(self, error: BaseException) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        return text.replace(self._token, "[token]")


def _retry_after_s(error: BaseException) -> float:
    response = getattr(error, "response", None)
    text = response.headers.get("retry-after", "") if response is not None else ""
    return float(text) if text.isdecimal() else 0.0
