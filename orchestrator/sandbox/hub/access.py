"""One request to the Hub face, and who may see or change which repository."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from orchestrator.clock import Clock
from orchestrator.sandbox.hub.access_requests import check_gate
from orchestrator.sandbox.hub.collection_records import Collections
from orchestrator.sandbox.hub.repos import Repo, Repositories
from orchestrator.sandbox.hub.transfers import Transfers
from orchestrator.sandbox.hub.wire import (
    Account,
    HubError,
    account_of,
    error_reply,
    instant,
    repo_missing,
)

#: The repositories of each kind, as the paths of the API name them.
KINDS = {"model": "models", "dataset": "datasets"}


@dataclass(frozen=True)
class Call:
    """A request whose body was read and whose token is known.

    `params` are unquoted, `path` is as it was sent.
    """

    kind: str
    path: str
    params: Mapping[str, str]
    query: QueryParams
    headers: Mapping[str, str]
    body: bytes
    account: Account | None
    base_url: str

    @property
    def repo_id(self) -> str:
        """`namespace/name`."""
        return f"{self.params['ns']}/{self.params['repo']}"

    def sees(self, repo: Repo) -> bool:
        """Whether who asks may know of a repository."""
        return not repo.private or bool(self.account and self.account.may_read(repo.kind, repo.id))

    def flag(self, name: str) -> bool:
        """Whether a query parameter asks for something."""
        return self.query.get(name, "false").lower() in ("1", "true")

    def number(self, name: str, default: int, highest: int, *, least: int = 0) -> int:
        """A query parameter that counts something."""
        text = self.query.get(name, str(default))
        # Python refuses to read numbers of thousands of digits.
        if not text.isdecimal() or len(text) > 18 or not least <= int(text) <= highest:
            raise HubError(400, f"{name} must be a number from {least} to {highest}")
        return int(text)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; nothing counts as `{}`."""
        try:
            value = orjson.loads(self.body or b"{}")
        except orjson.JSONDecodeError as error:
            raise HubError(400, f"The body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise HubError(400, "The body must be a JSON object")
        return value

    def need_account(self) -> Account:
        """Who asks; the anonymous is refused."""
        if self.account is None:
            raise HubError(401, "Invalid username or password.")
        return self.account


class HubFace:
    """What every handler needs: repositories, collections, the accounts and the clock."""

    def __init__(
        self,
        root: Path,
        accounts: Mapping[str, Account],
        clock: Clock,
        transfers: Transfers = Transfers(),  # noqa: B008 (frozen)
    ) -> None:
        self.repos = Repositories(root, clock)
        self.collections = Collections(root, clock)
        self.accounts = dict(accounts)
        self.clock = clock
        self.transfers = transfers
        #: Whether the accounts have a means of payment.
        self.can_pay = False
        self.started = instant(clock.now())
        self.signing_key = _signing_key(root / "signing-key")

    @property
    def users(self) -> set[str]:
        """The names of all people."""
        return {account.name for account in self.accounts.values()}

    def readable(self, call: Call) -> Repo:
        """The repository that a request names; hidden ones look as if they were absent."""
        repo = self.repos.get(call.kind, call.repo_id)
        if repo is None or not call.sees(repo):
            raise repo_missing(call.account)
        return repo

    def openable(self, call: Call) -> Repo:
        """The repository whose contents a request wants; raises `GatedRepo` where a gate is."""
        repo = self.readable(call)
        check_gate(self.repos, repo, call.account)
        return repo

    def contributable(self, call: Call) -> Repo:
        """The repository to which a request wants to add a discussion or a pull request."""
        repo = self.readable(call)
        account = call.need_account()
        if not account.may_discuss(repo.kind, repo.id):
            raise _refused(account, "This token may not write to discussions")
        if repo.discussions_disabled:
            raise HubError(403, "Discussions are disabled for this repo")
        return repo

    def writable(self, call: Call, otherwise: str = "Authorization error.") -> Repo:
        """The repository that a request wants to change; `otherwise` is said to who may not."""
        repo = self.readable(call)
        account = call.need_account()
        if not account.may_write(repo.kind, repo.id, repo.creator):
            raise _refused(account, otherwise)
        return repo

    def redirect(self, call: Call) -> Response | None:
        """Where a request for a repository by its former name should go, or None."""
        if not {"ns", "repo"} <= set(call.params) or self.repos.get(call.kind, call.repo_id):
            return None
        repo = self.repos.moved(call.kind, call.repo_id)
        if repo is None or not call.sees(repo):
            return None
        folder = KINDS[call.kind]
        for prefix in (f"/api/{folder}", f"/api/resolve-cache/{folder}", f"/{folder}", ""):
            start = f"{prefix}/{call.repo_id}"
            if call.path.startswith(start):
                query = f"?{call.query}" if call.query else ""
                target = f"{prefix}/{repo.id}{call.path.removeprefix(start)}{query}"
                text = f"Temporary Redirect. Redirecting to {target}"
                return PlainTextResponse(text, 307, {"Location": target})
        return None


def _refused(account: Account, otherwise: str) -> HubError:
    if account.role == "read":
        return HubError(403, "Forbidden: you must use a write token to upload to a repository.")
    return HubError(403, otherwise)


Handler = Callable[[HubFace, Call], Response]


def endpoint(
    face: HubFace, handler: Handler, kind: str
) -> Callable[[Request], Awaitable[Response]]:
    """Serve a handler: token first, then the body, then the handler in a thread of its own."""

    async def serve(request: Request) -> Response:
        try:
            account = account_of(request, face.accounts)
            call = Call(
                kind=kind,
                path=request.url.path,
                params={k: unquote(v) for k, v in request.path_params.items()},
                query=request.query_params,
                headers=request.headers,
                body=await request.body(),
                account=account,
                base_url=str(request.base_url).rstrip("/"),
            )
            moved = face.redirect(call)
            return await run_in_threadpool(handler, face, call) if moved is None else moved
        except HubError as error:
            return error_reply(error)
        except FileNotFoundError:
            # Another request deleted the repository while this one read it.
            if "ns" not in call.params or face.repos.get(kind, call.repo_id):
                raise
            return error_reply(repo_missing(account))

    return serve


def _signing_key(file: Path) -> bytes:
    """The key of upload addresses; kept, so that they outlive a restart."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}.new")
        draft.touch(mode=0o600)
        draft.write_bytes(secrets.token_bytes(32))
        draft.replace(file)
        return file.read_bytes()
