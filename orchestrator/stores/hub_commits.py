"""Commits of files to private repos on the Hub: what jobs are given, and nobody else may see.

Files are named by their content or never change, so that a commit may be repeated: what is there
already is left out, whoever brought it there, and a commit that lost its answer is found so too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import Ambiguous, Conflict, InputError, NotFound, OrchestratorError, Place
from orchestrator.hub_client import hub_error, prepare_client
from orchestrator.retry import retry_request
from orchestrator.stores.checked import CountedFile, local_errors
from orchestrator.stores.hub_access import check_repo_name
from orchestrator.stores.hub_files import HubFiles, Kind

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
_TIMEOUT_S = 60.0
#: How often a commit is made anew because others committed meanwhile, or its answer was lost.
_ATTEMPTS = 5


class HubCommits:
    """Private repos at one Hub, with one token."""

    def __init__(self, endpoint: str, token: str | None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._clock = clock
        self._files = HubFiles(endpoint, token, clock=clock)

    def commit_files(
        self,
        repo: str,
        kind: Kind,
        files: Mapping[str, Path],
        *,
        message: str = "Add files",
        branch: str = "main",
    ) -> str:
        """The commit of a branch that holds these files; a new one only if one is missing.

        A private repo, and the branch, are created if there are none; a public repo is an
        `InputError`. Nothing that is there is sent again, and other files there stay. Raises
        `Refused`, `Ambiguous`, and `InputError` for a file that cannot be read.
        """
        check_repo_name(repo)
        if "/" not in repo:
            raise InputError(f"{repo!r} has no namespace", hint="Write OWNER/NAME.")
        for path, file in files.items():
            if not file.is_file():
                raise InputError(f"there is no such file, for {path}", where=Place(str(file)))
        trouble: OrchestratorError | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                asked_s = getattr(trouble, "retry_after_s", None) or 0.0
                self._clock.sleep(max(2.0 ** (attempt - 1), asked_s))
            head = self._private_head(repo, kind)
            if branch != "main":
                head = self._branch_head(repo, kind, branch)
            missing = self._missing(repo, kind, head, files)
            if not missing:
                return head
            try:
                return self._commit(repo, kind, branch, head, missing, message)
            except (Ambiguous, Conflict) as error:
                # The client itself repeats what comes before the commit: uploads, and asking how.
                if not _is_of_commit(error.__cause__):
                    raise
                # Looked at afresh: the commit may be there, or another one came before it.
                trouble = error
        raise trouble or AssertionError("unreachable: every attempt returns or leaves its trouble")

    def delete_branch(self, repo: str, branch: str, *, at: str) -> None:
        """Delete a branch of a model repo if it is at this commit; silent if it is gone.

        Raises `Conflict` where somebody has committed to it since: that is theirs.
        """
        check_repo_name(repo)
        try:
            refs = self._retried(f"read {repo}", lambda: self._api().list_repo_refs(repo))
        except NotFound:
            return
        head = next((one.target_commit for one in refs.branches if one.name == branch), None)
        if head is None:
            return
        if head != at:
            raise Conflict(f"the branch {branch} of {repo} has moved on, to {head[:12]}: it stays")
        try:
            self._retried(
                f"delete the branch {branch} of {repo}",
                lambda: self._api().delete_branch(repo, branch=branch),
            )
        except NotFound:
            return  # another cleaning-up was faster, or the answer was lost

    def _private_head(self, repo: str, kind: Kind) -> str:
        """The commit of main; the repo is created, private, if there is none."""
        try:
            return self._checked_head(repo, kind)
        except NotFound:
            self._retried(
                f"create {repo}",
                lambda: self._api().create_repo(repo, repo_type=kind, private=True, exist_ok=True),
            )
        try:
            return self._checked_head(repo, kind)
        except NotFound as error:
            raise Ambiguous(
                f"{repo} was created, but the Hub does not show it yet",
                hint="Run the same command again.",
            ) from error

    def _branch_head(self, repo: str, kind: Kind, branch: str) -> str:
        """The commit of a branch, which is made from main if there is none."""
        self._retried(
            f"make the branch {branch} of {repo}",
            lambda: self._api().create_branch(repo, branch=branch, repo_type=kind, exist_ok=True),
        )
        info = self._retried(
            f"read {repo}",
            lambda: self._api().repo_info(repo, repo_type=kind, revision=branch),
        )
        if not info.sha:
            raise Ambiguous(f"the Hub did not say which commit {branch} of {repo} is")
        return str(info.sha)

    def _checked_head(self, repo: str, kind: Kind) -> str:
        info = self._retried(
            f"read {repo}",
            lambda: self._api().repo_info(repo, repo_type=kind, revision="main"),
        )
        if not info.private:
            raise InputError(
                f"the {kind} {repo} is public: everybody would see the rows that are put there",
                hint="Make it private in its settings on the Hub, or name another one.",
            )
        if not info.sha:
            raise Ambiguous(f"the Hub did not say which commit main of {repo} is")
        return str(info.sha)

    def _missing(
        self, repo: str, kind: Kind, head: str, files: Mapping[str, Path]
    ) -> dict[str, Path]:
        """The files that are not there, or are there with another content."""
        there = self._files.described(kind, repo, head, list(files)) if files else {}
        missing: dict[str, Path] = {}
        for path, file in files.items():
            with local_errors(file):
                if path not in there or not there[path].same_as(file):
                    missing[path] = file
        return missing

    def _commit(
        self,
        repo: str,
        kind: Kind,
        branch: str,
        parent: str,
        files: Mapping[str, Path],
        message: str,
    ) -> str:
        api = self._api()
        from huggingface_hub import CommitOperationAdd

        with ExitStack() as opened:
            operations = []
            for path, file in files.items():
                with local_errors(file):
                    source = opened.enter_context(CountedFile(file))
                operations.append(CommitOperationAdd(path, source))
            return self._asked(
                f"commit to {repo}",
                lambda: api.create_commit(
                    repo,
                    operations,
                    commit_message=message,
                    repo_type=kind,
                    revision=branch,
                    parent_commit=parent,
                ),
            ).oid

    def _api(self) -> HfApi:
        prepare_client(_TIMEOUT_S)
        from huggingface_hub import HfApi

        # False, not None: None would pick up whatever token this machine has stored.
        return HfApi(endpoint=self._endpoint, token=self._token or False)

    def _asked(self, doing: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:
            mapped = hub_error(error, f"cannot {doing} at {self._endpoint}")
            if mapped is None:
                raise
            raise mapped from error

    def _retried(self, doing: str, call: Callable[[], T]) -> T:
        return retry_request(lambda: self._asked(doing, call), clock=self._clock)


def _is_of_commit(error: BaseException | None) -> bool:
    """Whether an error of the client is about the request that makes the commit."""
    try:
        # The client's own errors forget their request, but not their answer.
        request = getattr(getattr(error, "response", error), "request", None)
    except RuntimeError:  # an error of the connection that does not know its request
        return False
    return request is not None and "/commit/" in request.url.path
