"""What the Hub lets owners do: who they are, and to make, change and remove repositories."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.sandbox.hub.access import KINDS, Call, HubFace
from orchestrator.sandbox.hub.repos import MAIN, Repo, check_ref_name
from orchestrator.sandbox.hub.wire import HubError, hex_id, repo_missing, revision_missing

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")


def whoami(face: HubFace, call: Call) -> Response:
    """GET `/api/whoami-v2`: the account, its organisations, and what its token may do."""
    account = call.need_account()
    token: dict[str, Any] = {
        "displayName": f"{account.name}-{account.role}",
        "role": account.role,
        "createdAt": face.started,
    }
    if account.role == "fineGrained":
        token["fineGrained"] = {
            "global": [],
            "scoped": [
                {
                    "entity": {
                        "_id": hex_id(f"{scope.type}/{scope.name}"),
                        "type": scope.type,
                        "name": scope.name,
                    },
                    "permissions": list(scope.permissions),
                }
                for scope in account.scopes
            ],
        }
    orgs = [
        {"type": "org", **_party(call, "org", name), "roleInOrg": role}
        for name, role in account.orgs.items()
    ]
    return JSONResponse(
        {
            "type": "user",
            **_party(call, "user", account.name),
            "isPro": False,
            "canPay": False,
            "emailVerified": True,
            "orgs": orgs,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def create(face: HubFace, call: Call) -> Response:
    """POST `/api/repos/create`: a new repository, or 409 with the address of the old one."""
    account = call.need_account()
    kind, repo_id, body = _named(call, account.name)
    visibility = body.get("visibility") or ("private" if body.get("private") else "public")
    if visibility not in ("private", "public"):
        raise HubError(400, f"A {kind} cannot be {visibility}")
    if not account.may_write(kind, repo_id, account.name):
        owner = repo_id.split("/")[0]
        raise HubError(
            403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"'
        )
    url = f"{call.base_url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
    with face.repos.lock:
        if face.repos.get(kind, repo_id):
            raise HubError(409, f"You already created this {kind} repo: {repo_id}", url=url)
        repo = face.repos.create(
            kind, repo_id, private=visibility == "private", creator=account.name
        )
    return JSONResponse({"url": url, "name": repo.id, "id": repo.hex_id})


def delete(face: HubFace, call: Call) -> Response:
    """DELETE `/api/repos/delete`."""
    account = call.need_account()
    kind, repo_id, _ = _named(call, account.name)
    with face.repos.lock:
        repo = face.repos.get(kind, repo_id)
        if repo is None or not call.sees(repo):
            raise repo_missing()
        if not account.may_write(kind, repo_id, repo.creator):
            raise HubError(403, "This token may not delete this repository")
        face.repos.delete(repo)
    return PlainTextResponse("OK")


def settings(face: HubFace, call: Call) -> Response:
    """PUT `/settings`: make a repository private or public."""
    body = call.json()
    unserved = sorted(set(body) - {"private", "visibility"})
    if unserved:
        raise HubError(501, f"These settings are not served: {', '.join(unserved)}")
    visibility = body.get("visibility") or {True: "private", False: "public"}.get(
        body.get("private", "")
    )
    if visibility not in ("private", "public"):
        raise HubError(400, f"visibility must be private or public, not {visibility!r}")
    private = visibility == "private"
    with face.repos.lock:
        repo = face.writable(call)
        face.repos.save(repo.model_copy(update={"private": private}))
    return JSONResponse({"private": private, "visibility": visibility})


def check_access(face: HubFace, call: Call) -> Response:
    """GET `/auth-check`: whether the repository can be read."""
    face.readable(call)
    return PlainTextResponse("OK")


def check_write_access(face: HubFace, call: Call) -> Response:
    """GET `/auth-check/write`: whether the repository can be changed."""
    face.writable(call)
    return PlainTextResponse("OK")


def create_tag(face: HubFace, call: Call) -> Response:
    """POST `/tag/{rev}`: name a revision."""
    name = call.json().get("tag")
    if not isinstance(name, str):
        raise HubError(400, '"tag" must be a string')
    check_ref_name(name)
    with face.repos.lock:
        repo = face.writable(call)
        target = face.repos.resolve(repo, call.params["rev"]).oid
        if name in repo.tags:
            raise HubError(409, f"Tag reference exists already: {name}")
        face.repos.save(repo.model_copy(update={"tags": {**repo.tags, name: target}}))
    return PlainTextResponse("OK")


def delete_tag(face: HubFace, call: Call) -> Response:
    """DELETE `/tag/{tag}`."""
    name = call.params["rev"]
    with face.repos.lock:
        repo = face.writable(call)
        if name not in repo.tags:
            raise revision_missing(name)
        face.repos.save(repo.model_copy(update={"tags": _without(repo.tags, name)}))
    return PlainTextResponse("OK")


def create_branch(face: HubFace, call: Call) -> Response:
    """POST `/branch/{branch}`: a branch from a revision, or from main."""
    name, body = call.params["rev"], call.json()
    check_ref_name(name)
    if body.get("emptyBranch"):
        raise HubError(501, "Empty branches are not served")
    with face.repos.lock:
        repo = face.writable(call)
        if name in repo.branches and not body.get("overwrite"):
            raise HubError(409, f"Reference already exists: refs/heads/{name}")
        start = face.repos.resolve(repo, str(body.get("startingPoint") or MAIN)).oid
        _save_branches(face, repo, {**repo.branches, name: start})
    return PlainTextResponse("OK")


def delete_branch(face: HubFace, call: Call) -> Response:
    """DELETE `/branch/{branch}`; main stays."""
    name = call.params["rev"]
    with face.repos.lock:
        repo = face.writable(call)
        if name not in repo.branches:
            raise revision_missing(name)
        if name == MAIN:
            raise HubError(403, "The main branch cannot be deleted")
        _save_branches(face, repo, _without(repo.branches, name))
    return PlainTextResponse("OK")


def _named(call: Call, own: str) -> tuple[str, str, dict[str, Any]]:
    body = call.json()
    kind, name = body.get("type") or "model", body.get("name")
    if kind not in KINDS:
        raise HubError(501, f"Repositories of type {kind!r} are not served")
    owner, _, plain = f"{body.get('organization') or own}/{name}".rpartition("/")
    if "/" in owner:  # the name came with its namespace
        owner = owner.split("/")[1]
    for part in (owner, plain):
        bad = "--" in part or ".." in part or part.endswith(".git")
        if bad or not _NAME.fullmatch(part) or not isinstance(name, str):
            raise HubError(400, f"Invalid repo name: {name!r}")
    return kind, f"{owner}/{plain}", body


def _party(call: Call, kind: str, name: str) -> dict[str, str]:
    return {
        "id": hex_id(f"{kind}/{name}"),
        "name": name,
        "fullname": name,
        "avatarUrl": f"{call.base_url}/avatars/{name}.svg",
    }


def _without(names: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in names.items() if key != name}


def _save_branches(face: HubFace, repo: Repo, branches: dict[str, str]) -> None:
    face.repos.save(repo.model_copy(update={"branches": branches}))
