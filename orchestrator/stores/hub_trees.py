"""What publishing needs beside single commits: a card judged before anything is made, whole
revisions brought back, and every byte read back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.digests import git_blob_hash
from orchestrator.errors import Ambiguous, Conflict, NotFound, RefusalKind, Refused
from orchestrator.hub_client import prepare_client
from orchestrator.stores.base import Progress
from orchestrator.stores.hub import HubStore
from orchestrator.stores.hub_remote import RemoteFile


class HubTrees(HubStore):
    """Repositories of one kind at one Hub, as whole revisions."""

    def is_private(self, repo_id: str) -> bool | None:
        """Whether only its owners see a repository; None if there is none (to be seen)."""
        try:
            info = self._retried(
                f"read {repo_id}", lambda: self._api().repo_info(repo_id, repo_type=self._kind)
            )
        except NotFound:
            return None
        return bool(info.private)

    def check_card(self, text: str) -> None:
        """Raise `Refused` if the Hub would not take this README.md. Nothing is made of it."""

        def ask() -> None:
            prepare_client(self._timeout_s)
            from huggingface_hub import get_session, hf_raise_for_status

            response = get_session().post(
                f"{self._endpoint}/api/validate-yaml",
                json={"repoType": self._kind, "content": text},
                headers=self._headers(),
            )
            if response.status_code == 400:
                raise Refused(_card_problem(response.json()), kind=RefusalKind.INVALID)
            hf_raise_for_status(response)

        self._retried("have the card checked", ask)

    def bring_back(
        self,
        repo_id: str,
        paths: Sequence[str],
        *,
        source: str,
        delete: Sequence[str],
        message: str,
        description: str,
        parent_commit: str,
    ) -> str:
        """One commit on main that takes `paths` from the commit `source` and removes others.

        Sent once. What LFS holds stays where it is: only its names go over the wire. `Conflict` if
        main is not at `parent_commit`, `Ambiguous` if the commit may exist.
        """
        self._check_head(repo_id, parent_commit)

        def send() -> str:
            api = self._api()
            from huggingface_hub import CommitOperationCopy, CommitOperationDelete

            info = api.create_commit(
                repo_id,
                [
                    *(CommitOperationDelete(path) for path in delete),
                    *(CommitOperationCopy(path, path, src_revision=source) for path in paths),
                ],
                commit_message=message,
                commit_description=description,
                parent_commit=parent_commit,
                repo_type=self._kind,
                revision="main",
            )
            return info.oid

        return self._asked(f"commit to {repo_id}", send, once=True)

    def sent_or_found(self, repo_id: str, marker: str, send: Callable[[], str]) -> str:
        """The commit that `send` makes, or the one with the marker if its answer was lost.

        The marker names the parent, so that no older commit is taken for this one.
        """
        try:
            return send()
        except (Ambiguous, Conflict) as error:
            found = self.find_commit(repo_id, marker)
            if found is not None:
                return found
            if isinstance(error, Ambiguous):
                raise
            raise Conflict(
                f"somebody else committed to {repo_id} first: nothing was changed there",
                hint="Look at what is there now, then run the same command again.",
            ) from error

    def serves(
        self, repo_id: str, revision: str, expected: RemoteFile, progress: Progress | None = None
    ) -> bool:
        """Whether a revision serves the very bytes that `expected` describes: all are read."""
        digest = self._read_digest(
            repo_id,
            revision,
            expected.path,
            hashlib.sha256 if expected.sha256 else lambda: git_blob_hash(expected.size_bytes),
            progress,
        )
        return digest == (expected.sha256 or expected.git_oid)


def _card_problem(answer: Any) -> str:
    errors = answer.get("errors", []) if isinstance(answer, dict) else []
    told = [str(one.get("message", one)) for one in errors if isinstance(one, dict)]
    return f"the Hub does not take the card: {'; '.join(told) or 'it does not say why'}"
