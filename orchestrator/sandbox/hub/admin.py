"""What the Hub lets owners do: who they are, and to make, change and remove repositories."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.sandbox.hub.access import KINDS, Call, HubFace
from orchestrator.sandbox.hub.wire import HubError, hex_id, repo_missing

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _one_of(*choices: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in choices


#: The settings besides visibility: their name in a repository's record, and what they may be.
_SETTINGS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "gated": ("gated", lambda value: value is False or value in ("auto", "manual")),
    "orgMembersGated": ("org_members_gated", _is_flag),
    "gatedNotificationsEmail": (
        "gated_notifications_email",
        lambda value: isinstance(value, str) and _EMAIL.fullmatch(value) is not None,
    ),
    "gatedNotificationsMode": ("gated_notifications_mode", _one_of("bulk", "real-time")),
    "discussionsDisabled": ("discussions_disabled", _is_flag),
    "discussionsSorting": (
        "discussions_sorting",
        _one_of("recently-created", "trending", "reactions"),
    ),
}


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
            "global": list(account.everywhere),
            "canReadGatedRepos": account.reads_gated,
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
            "canPay": face.can_pay,
            "emailVerified": True,
            "orgs": orgs,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def create(face: HubFace, call: Call) -> Response:
    """POST `/api/repos/create`: a new repository, or 409 with the address of the old one."""
    account = call.need_account()
    kind, repo_id, body = _named(call, account.name)
    visibility = chosen_visibility(kind, body, "public")
    if not account.may_write(kind, repo_id, account.name):
        owner = repo_id.split("/")[0]
        raise HubError(
            403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"'
        )
    url = repo_url(call, kind, repo_id)
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
            raise repo_missing(account)
        if not account.may_write(kind, repo_id, repo.creator):
            raise HubError(403, "This token may not delete this repository")
        face.repos.delete(repo)
    return PlainTextResponse("OK")


def settings(face: HubFace, call: Call) -> Response:
    """PUT `/settings`: who sees a repository, who opens its files, whether it is discussed."""
    body = call.json()
    unserved = sorted(set(body) - {"private", "visibility", *_SETTINGS})
    if unserved:
        raise HubError(501, f"These settings are not served: {', '.join(unserved)}")
    if not body:
        raise HubError(400, "At least one setting is needed")
    update: dict[str, Any] = {}
    for name, (field, allowed) in _SETTINGS.items():
        if name in body:
            if not allowed(body[name]):
                raise HubError(400, f'"{name}" cannot be {body[name]!r}')
            update[field] = body[name]
    if "gated" in update:
        update["gated"] = update["gated"] or None
    with face.repos.lock:
        repo = face.writable(call)
        default = "private" if repo.private else "public"
        visibility = chosen_visibility(repo.kind, body, default)
        update["private"] = visibility == "private"
        face.repos.save(repo.model_copy(update=update))
    return JSONResponse({**body, "private": update["private"], "visibility": visibility})


def check_access(face: HubFace, call: Call) -> Response:
    """GET `/auth-check`: whether the contents of the repository can be read."""
    face.openable(call)
    return PlainTextResponse("OK")


def check_write_access(face: HubFace, call: Call) -> Response:
    """GET `/auth-check/write`: whether the repository can be changed."""
    face.writable(call)
    return PlainTextResponse("OK")


def chosen_visibility(kind: str, body: Mapping[str, Any], default: str) -> str:
    """The visibility that a request asks for, in either of the two ways; private or public."""
    asked = body.get("private")
    by_flag = default if asked is None else ("private" if asked else "public")
    visibility = body.get("visibility") or by_flag
    if visibility not in ("private", "public"):
        raise HubError(400, f"A {kind} cannot be {visibility}")
    return str(visibility)


def repo_url(call: Call, kind: str, repo_id: str) -> str:
    """The address of a repository's page."""
    return f"{call.base_url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"


def checked_id(owner: str, name: str) -> str:
    """`owner/name`, refused unless both can be names."""
    for part in (owner, name):
        if "--" in part or ".." in part or part.endswith(".git") or not _NAME.fullmatch(part):
            raise HubError(400, f"Invalid repo name: {name!r}")
    return f"{owner}/{name}"


def checked_kind(body: Mapping[str, Any]) -> str:
    """The kind of repository that a request names; refused unless it is served."""
    kind = body.get("type") or "model"
    if not isinstance(kind, str) or kind not in KINDS:
        raise HubError(501, f"Repositories of type {kind!r} are not served")
    return kind


def _named(call: Call, own: str) -> tuple[str, str, dict[str, Any]]:
    body = call.json()
    kind, name = checked_kind(body), body.get("name")
    if not isinstance(name, str):
        raise HubError(400, f"Invalid repo name: {name!r}")
    owner, _, plain = f"{body.get('organization') or own}/{name}".rpartition("/")
    # The name may come with its namespace.
    return kind, checked_id(owner.split("/")[-1], plain), body


def _party(call: Call, kind: str, name: str) -> dict[str, str]:
    return {
        "id": hex_id(f"{kind}/{name}"),
        "name": name,
        "fullname": name,
        "avatarUrl": f"{call.base_url}/avatars/{name}.svg",
    }
