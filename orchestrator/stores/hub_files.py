"""Single files of models and datasets on the Hub: found, described and fetched by revision.

Nothing is fetched but what was asked for. Requests are sent with the client's own session, because
its calls give no choice of timeouts and some retry by themselves.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.digests import git_blob_hash
from orchestrator.endpoints import answers_within, without_user_info
from orchestrator.errors import (
    Ambiguous,
    Corrupt,
    NotFound,
    OrchestratorError,
    RefusalKind,
    Refused,
)
from orchestrator.hub_client import hub_error, prepare_client
from orchestrator.retry import retry_request
from orchestrator.stores.base import Progress
from orchestrator.stores.checked import local_errors
from orchestrator.stores.hub import RemoteFile

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
Kind = Literal["model", "dataset"]
#: The timeout that the whole process gives to the client; the requests here give their own.
_PROCESS_TIMEOUT_S = 60.0
_LOGIN = "Log in with a token that may read it (hf auth login), or set HF_TOKEN."


@dataclass(frozen=True)
class Patience:
    """How long the Hub is waited for. `connect_s` limits looking up its name too."""

    attempts: int = 5
    connect_s: float = 20.0
    read_s: float = 60.0


#: For what can be done without.
ONCE = Patience(attempts=1, connect_s=3.0, read_s=10.0)


class HubFiles:
    """Files at one Hub, with one token (None: anonymous)."""

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        *,
        patience: Patience | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._patience = patience or Patience()
        self._clock = clock
        self._reached = False

    def commit(self, kind: Kind, repo: str, revision: str) -> str:
        """The commit that a branch, tag or commit means."""
        url = f"{self._endpoint}/api/{kind}s/{repo}/revision/{quote(revision, safe='')}"
        answer = self._asked(f"read {repo} at {revision}", kind, repo, lambda: self._json(url))
        if not isinstance(answer, dict) or not isinstance(answer.get("sha"), str):
            raise Ambiguous(f"the Hub did not say which commit {revision} of {repo} is")
        return str(answer["sha"])

    def described(
        self, kind: Kind, repo: str, commit: str, paths: Sequence[str]
    ) -> dict[str, RemoteFile]:
        """Those of the files that are there, by path."""
        url = f"{self._endpoint}/api/{kind}s/{repo}/paths-info/{commit}"

        def ask() -> Any:
            return self._json(url, method="POST", data={"paths": list(paths), "expand": False})

        return _files(self._asked(f"look at {repo}", kind, repo, ask))

    def listed(
        self, kind: Kind, repo: str, commit: str, folder: str, *, recursive: bool
    ) -> dict[str, RemoteFile]:
        """The files in a folder (empty: the root), by path; none if there is no such folder."""
        below = f"/{quote(folder)}" if folder else ""
        url: str | None = f"{self._endpoint}/api/{kind}s/{repo}/tree/{commit}{below}"
        url = f"{url}?recursive={'true' if recursive else 'false'}"
        found: dict[str, RemoteFile] = {}
        while url is not None:
            ask = functools.partial(self._page, url)
            try:
                answer = self._asked(f"list {repo}", kind, repo, ask)
            except NotFound as error:
                if _is_missing_entry(error):
                    return found
                raise
            found |= _files(answer[0])
            url = answer[1]
        return found

    def fetch(
        self,
        kind: Kind,
        repo: str,
        commit: str,
        remote: RemoteFile,
        target: Path,
        progress: Progress | None = None,
    ) -> None:
        """Fetch a file, checked, at once or not at all. A lost connection is taken up again.

        Raises `Corrupt` if other bytes come than the Hub describes, and `InputError` for the disk.
        """
        with local_errors(target), _draft(target) as (stream, draft):
            part = _Part(stream, remote, progress)
            self._asked(
                f"download {remote.path} of {repo}",
                kind,
                repo,
                lambda: self._continue(kind, repo, commit, part),
            )
            part.check(repo)
            stream.flush()
            draft.replace(target)

    def part(
        self, kind: Kind, repo: str, commit: str, path: str, start: int, size_bytes: int
    ) -> bytes:
        """Bytes of a file from `start` on, fewer at its end. No checksum covers a part."""
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status

        url = hf_hub_url(repo, path, repo_type=kind, revision=commit, endpoint=self._endpoint)
        headers = self._headers() | {
            "accept-encoding": "identity",
            "range": f"bytes={start}-{start + size_bytes - 1}",
        }

        def read() -> bytes:
            with get_session().stream(
                "GET", url, headers=headers, timeout=self._timeout()
            ) as response:
                if response.status_code == 416:  # nothing is there any more
                    return b""
                hf_raise_for_status(response)
                # A server that knows no ranges sends the file from its beginning.
                skipped = 0 if response.status_code == 206 else start
                content = b""
                for block in response.iter_bytes():
                    content += block
                    if len(content) >= skipped + size_bytes:
                        break
                return content[skipped : skipped + size_bytes]

        if size_bytes <= 0:
            return b""
        return self._asked(f"read {path} of {repo}", kind, repo, read)

    def _continue(self, kind: Kind, repo: str, commit: str, part: _Part) -> None:
        """Write what is still missing of a file."""
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status

        url = hf_hub_url(
            repo, part.remote.path, repo_type=kind, revision=commit, endpoint=self._endpoint
        )
        headers = self._headers()
        # The size and checksum are those of the file as it is, not of what is packed for the way.
        headers["accept-encoding"] = "identity"
        if part.size_bytes:
            headers["range"] = f"bytes={part.size_bytes}-"
        with get_session().stream("GET", url, headers=headers, timeout=self._timeout()) as response:
            if response.status_code == 416:  # there is no more, and yet it was not all
                part.restart()
            hf_raise_for_status(response)
            if response.status_code != 206:
                part.restart()
            for block in response.iter_bytes():
                part.write(block)
        if part.size_bytes < part.remote.size_bytes:
            raise Ambiguous(f"{part.remote.path} of {repo}: the answer ended early")

    def _page(self, url: str) -> tuple[Any, str | None]:
        response = self._answer(url)
        following = response.links.get("next", {}).get("url")
        return response.json(), following

    def _json(self, url: str, **request: Any) -> Any:
        return self._answer(url, **request).json()

    def _answer(self, url: str, method: str = "GET", **request: Any) -> httpx2.Response:
        from huggingface_hub import get_session, hf_raise_for_status

        response = get_session().request(
            method, url, headers=self._headers(), timeout=self._timeout(), **request
        )
        hf_raise_for_status(response)
        return response

    def _timeout(self) -> httpx2.Timeout:
        import httpx2

        return httpx2.Timeout(self._patience.read_s, connect=self._patience.connect_s)

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def _asked(self, doing: str, kind: Kind, repo: str, call: Callable[[], T]) -> T:
        self._reached = self._reached or answers_within(self._endpoint, self._patience.connect_s)
        if not self._reached:
            raise Ambiguous(
                f"cannot {doing}: {without_user_info(self._endpoint)} is not reached",
                hint="Is there a network?",
            )
        prepare_client(_PROCESS_TIMEOUT_S)

        def once() -> T:
            try:
                return call()
            except OrchestratorError:
                raise
            except Exception as error:
                mapped = hub_error(error, f"cannot {doing} at {self._endpoint}")
                if mapped is None:
                    raise
                raise self._worded(mapped, error, kind, repo) from error

        return retry_request(once, attempts=self._patience.attempts, clock=self._clock)

    def _worded(
        self, mapped: OrchestratorError, error: Exception, kind: Kind, repo: str
    ) -> OrchestratorError:
        """The same in fewer words, with what to do, where the Hub says a plain no."""
        from huggingface_hub import errors

        hub = without_user_info(self._endpoint)
        page = f"{hub}/{'datasets/' if kind == 'dataset' else ''}{repo}"
        if isinstance(error, errors.GatedRepoError) and isinstance(mapped, Refused):
            login = "" if self._token else f" Then: {_LOGIN}"
            return Refused(
                f"{repo} is gated: its owner decides who may have its files",
                kind=mapped.kind,
                hint=f"Accept its terms at {page}.{login}",
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            seen = "" if self._token else ", without a token,"
            return NotFound(
                f"{hub} shows{seen} no {kind} {repo}",
                hint=f"Check the name. If it is private: {_LOGIN}",
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return NotFound(
                f"the {kind} {repo} has no such revision",
                hint=f"Its commits: {page}/commits/main",
            )
        if isinstance(mapped, Refused) and mapped.kind is RefusalKind.CREDENTIALS:
            return Refused(
                f"{hub} does not take the token, for {repo}", kind=mapped.kind, hint=_LOGIN
            )
        return mapped


class _Part:
    """A file that is being written, with its checksum so far."""

    def __init__(self, stream: IO[bytes], remote: RemoteFile, progress: Progress | None) -> None:
        self.remote = remote
        self.size_bytes = 0
        self._stream = stream
        self._progress = progress
        self._digest = self._new_digest()

    def write(self, block: bytes) -> None:
        self._stream.write(block)
        self._digest.update(block)
        self.size_bytes += len(block)
        if self._progress is not None:
            self._progress(len(block))

    def restart(self) -> None:
        if self.size_bytes:
            self._stream.seek(0)
            self._stream.truncate()
            if self._progress is not None:
                self._progress(-self.size_bytes)
        self.size_bytes, self._digest = 0, self._new_digest()

    def check(self, repo: str) -> None:
        if self._digest.hexdigest() != (self.remote.sha256 or self.remote.git_oid):
            raise Corrupt(
                f"{self.remote.path} of {repo} arrived with another checksum than it has there",
                hint="Run the same command again; if it fails again, the copy there is bad.",
            )

    def _new_digest(self) -> hashlib._Hash:
        remote = self.remote
        return hashlib.sha256() if remote.sha256 is not None else git_blob_hash(remote.size_bytes)


@contextmanager
def _draft(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file beside the target that does not outlive the context under its own name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=".fetched-", suffix=".part", delete=False
    ) as stream:
        draft = Path(stream.name)
        try:
            yield stream, draft
        finally:
            draft.unlink(missing_ok=True)


def _is_missing_entry(error: NotFound) -> bool:
    response = getattr(error.__cause__, "response", None)
    headers: Mapping[str, str] = getattr(response, "headers", {})
    return headers.get("x-error-code") == "EntryNotFound"


def _files(answer: Any) -> dict[str, RemoteFile]:
    if not isinstance(answer, list):
        raise json.JSONDecodeError("a list of files was expected", str(answer)[:80], 0)
    files = [
        RemoteFile(
            path=str(one["path"]),
            size_bytes=int(one["size"]),
            sha256=one["lfs"]["oid"] if one.get("lfs") else None,
            git_oid=str(one["oid"]),
        )
        for one in answer
        if one.get("type") == "file"
    ]
    return {file.path: file for file in files}
