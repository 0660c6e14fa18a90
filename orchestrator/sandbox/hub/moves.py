"""Repositories under another name: moved with all they have, or copied."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.admin import checked_id, checked_kind, chosen_visibility, repo_url
from orchestrator.sandbox.hub.repos import Repo
from orchestrator.sandbox.hub.wire import Account, HubError, repo_missing


def move(face: HubFace, call: Call) -> Response:
    """POST `/api/repos/move`: rename or transfer; the old name leads to the new one (307)."""
    account, body = call.need_account(), call.json()
    kind = checked_kind(body)
    source, target = _id(body, "fromRepo"), _id(body, "toRepo")
    with face.repos.lock:
        repo = face.repos.get(kind, source)
        if repo is None or not call.sees(repo):
            raise repo_missing(account)
        if not account.may_write(kind, source, repo.creator):
            raise HubError(403, "This token may not move this repository")
        _check_free(face, call, account, kind, target)
        face.repos.move(repo, target)
    return PlainTextResponse("OK")


def duplicate(face: HubFace, call: Call) -> Response:
    """POST `/duplicate`: a copy with the branches, tags and contents, but no discussions."""
    account, body = call.need_account(), call.json()
    with face.repos.lock:
        source: Repo = face.openable(call)
        target = _id(body, "repository")
        # A copy is as visible as its source unless something else is asked for.
        default = "private" if source.private else "public"
        private = chosen_visibility(source.kind, body, default) == "private"
        _check_free(face, call, account, source.kind, target)
        repo = face.repos.duplicate(source, target, private=private, creator=account.name)
    return JSONResponse({"url": repo_url(call, repo.kind, repo.id), "filesCopyPending": False})


def _check_free(face: HubFace, call: Call, account: Account, kind: str, repo_id: str) -> None:
    if not account.may_write(kind, repo_id, account.name):
        owner = repo_id.split("/")[0]
        raise HubError(
            403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"'
        )
    if face.repos.get(kind, repo_id):
        url = repo_url(call, kind, repo_id)
        raise HubError(409, f"There is a {kind} repo of this name: {repo_id}", url=url)


def _id(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or value.count("/") != 1:
        raise HubError(400, f'"{name}" must be a namespace and a name')
    return checked_id(*value.split("/"))
