"""Branches and tags, and a history made one commit."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.repos import MAIN, Repo
from orchestrator.sandbox.hub.wire import HubError, revision_missing

_TITLE_LENGTH = 500


def create_tag(face: HubFace, call: Call) -> Response:
    """POST `/tag/{rev}`: name a revision; with a message the tag is an annotated one."""
    body = call.json()
    name, message = body.get("tag"), body.get("message")
    if not isinstance(name, str) or not isinstance(message, str | None):
        raise HubError(400, '"tag" and "message" must be strings')
    check_ref_name(name)
    with face.repos.lock:
        repo = face.writable(call)
        target = face.repos.resolve(repo, call.params["rev"]).oid
        if name in repo.tags:
            raise HubError(409, f"Tag reference exists already: {name}")
        messages = {**repo.tag_messages, name: message} if message else repo.tag_messages
        update = {"tags": {**repo.tags, name: target}, "tag_messages": messages}
        face.repos.save(repo.model_copy(update=update))
    return PlainTextResponse("OK")


def delete_tag(face: HubFace, call: Call) -> Response:
    """DELETE `/tag/{tag}`."""
    name = call.params["rev"]
    with face.repos.lock:
        repo = face.writable(call)
        if name not in repo.tags:
            raise revision_missing(name)
        update = {
            "tags": _without(repo.tags, name),
            "tag_messages": _without(repo.tag_messages, name),
        }
        face.repos.save(repo.model_copy(update=update))
    return PlainTextResponse("OK")


def create_branch(face: HubFace, call: Call) -> Response:
    """POST `/branch/{branch}`: a branch from a revision, from main, or without any file."""
    name, body = call.params["rev"], call.json()
    check_ref_name(name)
    with face.repos.lock:
        repo = face.writable(call)
        if name in repo.branches and not body.get("overwrite"):
            raise HubError(409, f"Reference already exists: refs/heads/{name}")
        if body.get("emptyBranch"):
            author = call.need_account().name
            start = face.repos.make_commit(
                repo, None, {}, title="initial commit", message="", author=author
            )
        else:
            start = face.repos.resolve(repo, str(body.get("startingPoint") or MAIN))
        _save_branches(face, repo, {**repo.branches, name: start.oid})
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


def super_squash(face: HubFace, call: Call) -> Response:
    """POST `/super-squash/{branch}`: one commit without a parent in place of a branch's history."""
    message = call.json().get("message") or f"Super-squash branch '{call.params['rev']}'"
    if not isinstance(message, str) or len(message) > _TITLE_LENGTH:
        raise HubError(400, f'"message" must be at most {_TITLE_LENGTH} characters')
    branch = call.params["rev"].removeprefix("refs/heads/")
    with face.repos.lock:
        repo = face.writable(call)
        if branch not in repo.branches:
            raise revision_missing(branch)
        head = face.repos.commit(repo, repo.branches[branch])
        title, _, rest = message.partition("\n")
        made = face.repos.make_commit(
            repo,
            None,
            head.files,
            title=title,
            message=rest.strip("\n"),
            author=call.need_account().name,
        )
        _save_branches(face, repo, {**repo.branches, branch: made.oid})
    return JSONResponse({"commitId": made.oid})


def check_ref_name(name: str) -> None:
    """Refuse what git refuses as the name of a branch or tag, and the Hub's own references."""
    bad = re.search(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|@\{|//|/\.|\.lock(/|$)|^refs/", name)
    if bad or not name or name[0] in "/.-" or name[-1] in "/.":
        raise HubError(400, f"Invalid reference name: {name!r}")


def _without(names: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in names.items() if key != name}


def _save_branches(face: HubFace, repo: Repo, branches: dict[str, Any]) -> None:
    face.repos.save(repo.model_copy(update={"branches": branches}))
