"""How the Hub face answers: accounts, errors, and paths that may hold an encoded slash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.sandbox.edge.gate import token_in

REPO_MISSING = "RepoNotFound"
REVISION_MISSING = "RevisionNotFound"
ENTRY_MISSING = "EntryNotFound"
GATED = "GatedRepo"
_READERS = {"repo.content.read", "repo.write"}


@dataclass(frozen=True)
class TokenScope:
    """What a fine-grained token may do with one user, organisation or repository."""

    type: Literal["user", "org", "model", "dataset"]
    name: str
    permissions: tuple[str, ...]


@dataclass(frozen=True)
class Account:
    """Who a token belongs to. `role` is the token's; `orgs` maps organisations to roles in them.

    Roles in an organisation: admin, write, contributor, read, no_access. `scopes` says what a
    `fineGrained` token may do where, `everywhere` what it may do in every repository that can be
    seen (`discussion.write`), `reads_gated` whether it opens public gated repositories.
    """

    name: str
    role: Literal["read", "write", "fineGrained"] = "write"
    orgs: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[TokenScope, ...] = ()
    everywhere: tuple[str, ...] = ()
    reads_gated: bool = False

    def role_in(self, namespace: str) -> str:
        """The account's role in a namespace; empty for a stranger."""
        role = "admin" if namespace == self.name else self.orgs.get(namespace, "")
        return "" if role == "no_access" else role

    def may_read(self, kind: str, repo_id: str) -> bool:
        """Whether a private repository is visible."""
        return self.role_in(repo_id.split("/")[0]) != "" and self.granted(kind, repo_id, _READERS)

    def may_write(self, kind: str, repo_id: str, creator: str) -> bool:
        """Whether this token may change (or, as `creator`, create) a repository."""
        role = self.role_in(repo_id.split("/")[0])
        by_role = role in ("admin", "write") or (role == "contributor" and creator == self.name)
        return self.role != "read" and by_role and self.granted(kind, repo_id, {"repo.write"})

    def may_discuss(self, kind: str, repo_id: str) -> bool:
        """Whether this token may write to discussions and open pull requests."""
        return self.role != "read" and (
            "discussion.write" in self.everywhere
            or self.granted(kind, repo_id, {"discussion.write", "repo.write"})
        )

    def may_open_gated(self, kind: str, repo_id: str) -> bool:
        """Whether this token opens a gated repository that its account has access to."""
        return self.reads_gated or self.granted(kind, repo_id, _READERS)

    def granted(self, kind: str, repo_id: str, permissions: set[str]) -> bool:
        """Whether the token has one of these permissions there; only scopes limit a token."""
        if self.role != "fineGrained":
            return True
        owners = {("user", repo_id.split("/")[0]), ("org", repo_id.split("/")[0])}
        return any(
            permissions.intersection(scope.permissions)
            for scope in self.scopes
            if (scope.type, scope.name) in owners | {(kind, repo_id)}
        )


class HubError(Exception):
    """An answer other than success. `code` becomes the header that clients choose errors by."""

    def __init__(self, status: int, message: str, code: str = "", **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.extra = extra


def repo_missing(account: Account | None) -> HubError:
    """The answer for a repository that is absent or hidden: both look alike.

    The anonymous is told to log in. The real service's clients take its 401 for a missing
    repository by the address too, but only under https, so the code is always sent here.
    """
    if account is None:
        return HubError(401, "Invalid username or password.", REPO_MISSING)
    return HubError(404, "Repository not found", REPO_MISSING)


def revision_missing(revision: str) -> HubError:
    """The answer for a branch, tag or commit that the repository does not have."""
    return HubError(404, f"Invalid rev id: {revision}", REVISION_MISSING)


def entry_missing(message: str = "Entry not found") -> HubError:
    """The answer for a file that the revision does not have."""
    return HubError(404, message, ENTRY_MISSING)


def error_reply(error: HubError) -> JSONResponse:
    """The error as the Hub sends it: in the body, and in headers for HEAD requests."""
    # Headers carry no control characters and no other alphabet; the body has the message as it is.
    text = re.sub(r"[^ -~]", "?", " ".join(error.message.split()))
    headers = {"X-Error-Message": text}
    if error.code:
        headers["X-Error-Code"] = error.code
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
    return JSONResponse({"error": error.message, **error.extra}, error.status, headers)


def account_of(request: Request, accounts: Mapping[str, Account]) -> Account | None:
    """Who asks; None is the anonymous. A token that nobody has is refused even for reading.

    The token comes as a bearer, or as git sends it: as the password of any user name.
    """
    header = request.headers.get("authorization")
    if header is None:
        return None
    account = accounts.get(token_in(header) or "")
    if account is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    return account


def instant(date: datetime) -> str:
    """An instant as the Hub writes it."""
    return date.strftime("%Y-%m-%dT%H:%M:%S.") + f"{date.microsecond // 1000:03d}Z"


def hex_id(text: str) -> str:
    """A made-up id of 24 hex digits, always the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class EncodedPaths:
    """Routes on the path as it was sent, where `%2F` in a revision is not a separator.

    Handlers unquote their parameters. Also keeps the log of requests.
    """

    def __init__(self, app: ASGIApp, requests: list[tuple[str, str]]) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or quote(scope["path"]).encode()
            encoded = raw.decode("ascii", "replace").partition("?")[0]
            self._requests.append((scope["method"], unquote(encoded)))
            scope = {**scope, "path": encoded}
        await self._app(scope, receive, send)
