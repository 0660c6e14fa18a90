"""Who asked for access to a gated repository, and who has it."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from orchestrator.sandbox.hub.repos import Repo, Repositories
from orchestrator.sandbox.hub.wire import GATED, Account, HubError

Decision = Literal["pending", "accepted", "rejected"]
_DOCUMENT = "access-requests"


class AccessRequest(BaseModel):
    """A person's request. `granted_by` is who gave access without having been asked."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    user: str
    status: Decision
    asked_at: datetime
    reviewed_at: datetime | None = None
    granted_by: str | None = None
    rejection_reason: str | None = None
    fields: dict[str, str] = {}


_Requests = TypeAdapter(dict[str, AccessRequest])


def new_request(user: str, status: Decision, asked_at: datetime) -> AccessRequest:
    """A request that nobody has reviewed yet."""
    request_id = secrets.token_hex(12)
    return AccessRequest(request_id=request_id, user=user, status=status, asked_at=asked_at)


def load_requests(repos: Repositories, repo: Repo) -> dict[str, AccessRequest]:
    """All requests for a repository, by the name of who asked."""
    text = repos.read_document(repo, _DOCUMENT)
    return {} if text is None else _Requests.validate_json(text)


def save_request(repos: Repositories, repo: Repo, request: AccessRequest) -> None:
    """Record a request, in place of an earlier one of the same person."""
    with repos.lock:
        requests = {**load_requests(repos, repo), request.user: request}
        repos.write_document(repo, _DOCUMENT, _Requests.dump_json(requests))


def remove_request(repos: Repositories, repo: Repo, user: str) -> bool:
    """Forget a request; False if there was none."""
    with repos.lock:
        requests = load_requests(repos, repo)
        found = requests.pop(user, None) is not None
        repos.write_document(repo, _DOCUMENT, _Requests.dump_json(requests))
        return found


def passes_as_member(repo: Repo, account: Account) -> bool:
    """Whether somebody needs no request: the owners, and members unless they are gated too."""
    role = account.role_in(repo.id.split("/")[0])
    return role == "admin" or (role != "" and not repo.org_members_gated)


def check_gate(repos: Repositories, repo: Repo, account: Account | None) -> None:
    """Refuse with `GatedRepo` who has no access to the contents of a gated repository."""
    if repo.gated is None:
        return
    name = f"{repo.kind} {repo.id}"
    restricted = f"Access to {name} is restricted"
    if account is None:
        raise HubError(
            401,
            f"{restricted}. You must have access to it and be authenticated to access it."
            " Please log in.",
            GATED,
        )
    if not account.may_open_gated(repo.kind, repo.id):
        raise HubError(
            403,
            "Please enable access to public gated repositories in your fine-grained token"
            " settings to view this repository.",
            GATED,
        )
    if passes_as_member(repo, account):
        return
    request = load_requests(repos, repo).get(account.name)
    if request is None:
        text = f"{restricted} and you are not in the authorized list. Ask for access first."
        raise HubError(403, text, GATED)
    if request.status == "pending":
        text = f"Your request to access {name} is awaiting a review from the repo authors."
        raise HubError(403, text, GATED)
    if request.status == "rejected":
        text = f"Your request to access {name} has been rejected by the repo's authors."
        raise HubError(403, text, GATED)
