"""Discussions over the wire: lists, details, comments, titles, states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.discussions import (
    Discussion,
    PinningChange,
    StatusChange,
    TitleChange,
    Version,
    all_discussions,
    comment_history,
    commit_json,
    details_json,
    event_id,
    event_json,
    need_discussion,
    new_comment,
    save_discussion,
    summary_json,
)
from orchestrator.sandbox.hub.pulls import open_pull, pull_commits, pull_json
from orchestrator.sandbox.hub.repos import MAIN, Repo
from orchestrator.sandbox.hub.wire import HubError

_PAGE = 10
_STATES = {"open": {"open", "draft"}, "closed": {"closed", "merged"}}
_OVER = ("closed", "merged")


def listing(face: HubFace, call: Call) -> Response:
    """GET `/discussions`: a page of them, the newest first, by type, status, author and title."""
    repo = face.readable(call)
    kind = _choice(call, "type", ("all", "discussion", "pull_request"))
    status = _choice(call, "status", ("all", "open", "closed"))
    author, search = call.query.get("author"), call.query.get("search", "").lower()
    found = [
        one
        for one in all_discussions(face.repos, repo)
        if (kind == "all" or one.pull_request == (kind == "pull_request"))
        and author in (None, one.author)
        and search in one.title.lower()
    ]
    shown = [one for one in found if status == "all" or one.status in _STATES[status]]
    start = call.number("p", 0, 10**6) * _PAGE
    return JSONResponse(
        {
            "discussions": [
                _summary(face, call, repo, one) for one in shown[start : start + _PAGE]
            ],
            "count": len(shown),
            "start": start,
            "numClosedDiscussions": sum(one.status in _OVER for one in found),
        }
    )


def details(face: HubFace, call: Call) -> Response:
    """GET `/discussions/{num}`: all its events, with `diff=1` what a pull request changes."""
    # The diff has the contents of files, so it is behind the gate as they are.
    repo = face.openable(call) if call.flag("diff") else face.readable(call)
    discussion = need_discussion(face.repos, repo, call.params["num"])
    events = [
        (event.at, _with_history(event_json(event, call.base_url), discussion, call))
        for event in discussion.events
    ]
    value = details_json(repo, discussion, call.base_url)
    if discussion.pull_request:
        commits = pull_commits(face, repo, discussion)
        events += [(one.date, commit_json(one, call.base_url)) for one in commits]
        value |= pull_json(face, repo, discussion, diff=call.flag("diff"))
    value["events"] = [event for _, event in sorted(events, key=lambda item: item[0])]
    return JSONResponse(value)


def create(face: HubFace, call: Call) -> Response:
    """POST `/discussions`: a discussion, or a draft of a pull request without any commit."""
    body = call.json()
    title, description = _title(body), _text(body, "description", 0)
    with face.repos.lock:
        repo = face.contributable(call)
        pull = bool(body.get("pullRequest"))
        opened = new_discussion(face, call, repo, title, description, draft=pull)
        if pull:
            head = face.repos.resolve(repo, MAIN)
            open_pull(face, repo, MAIN, head, head, opened)
        else:
            save_discussion(face.repos, repo, opened)
            face.repos.save(repo.model_copy(update={"last_discussion": opened.num}))
    value: dict[str, Any] = {
        "url": discussion_url(call, repo, opened.num),
        "num": opened.num,
        "pullRequest": pull,
    }
    if pull:
        value["references"] = {"base": f"refs/heads/{MAIN}"}
    return JSONResponse(value)


def new_discussion(
    face: HubFace, call: Call, repo: Repo, title: str, description: str, *, draft: bool
) -> Discussion:
    """The next discussion of a repository, not recorded yet. The caller holds the lock."""
    author, at = call.need_account().name, face.clock.now()
    return Discussion(
        num=repo.last_discussion + 1,
        title=title,
        author=author,
        at=at,
        status="draft" if draft else "open",
        events=(new_comment(description, author, at),),
    )


def discussion_url(call: Call, repo: Repo, num: int) -> str:
    """The address of a discussion's page."""
    prefix = "datasets/" if repo.kind == "dataset" else ""
    return f"{call.base_url}/{prefix}{repo.id}/discussions/{num}"


def comment(face: HubFace, call: Call) -> Response:
    """POST `/discussions/{num}/comment`."""
    text = _text(call.json(), "comment")
    with face.repos.lock:
        repo = face.contributable(call)
        discussion = need_discussion(face.repos, repo, call.params["num"])
        made = new_comment(text, call.need_account().name, face.clock.now())
        save_discussion(face.repos, repo, discussion.with_events(made))
    return JSONResponse({"newMessage": event_json(made, call.base_url)}, 201)


def edit(face: HubFace, call: Call) -> Response:
    """POST `/discussions/{num}/comment/{comment}/edit`: only its author may."""
    text = _text(call.json(), "content")
    with face.repos.lock:
        repo = face.contributable(call)
        discussion = need_discussion(face.repos, repo, call.params["num"])
        old = discussion.comment(call.params["comment"])
        author = call.need_account().name
        if author != old.author or old.hidden_by:
            raise HubError(403, "Only the author of a comment that is not hidden may edit it")
        version = Version(raw=text, author=author, at=face.clock.now())
        new = old.model_copy(update={"versions": (*old.versions, version)})
        discussion = discussion.with_comment(new)
        save_discussion(face.repos, repo, discussion)
    value = _with_history(event_json(new, call.base_url), discussion, call)
    return JSONResponse({"updatedComment": value})


def hide(face: HubFace, call: Call) -> Response:
    """POST `/discussions/{num}/comment/{comment}/hide`: for good, by its author or an owner."""
    with face.repos.lock:
        repo = face.contributable(call)
        discussion = need_discussion(face.repos, repo, call.params["num"])
        old = discussion.comment(call.params["comment"])
        _check_moderates(call, repo, old.author)
        new = old.model_copy(update={"hidden_by": call.need_account().name})
        discussion = discussion.with_comment(new)
        save_discussion(face.repos, repo, discussion)
    value = _with_history(event_json(new, call.base_url), discussion, call)
    return JSONResponse({"updatedComment": value})


def rename(face: HubFace, call: Call) -> Response:
    """POST `/discussions/{num}/title`."""
    title = _title(call.json())

    def change(discussion: Discussion) -> tuple[Discussion, TitleChange]:
        event = TitleChange(
            id=event_id(),
            author=call.need_account().name,
            at=face.clock.now(),
            old=discussion.title,
            new=title,
        )
        return discussion.with_events(event, title=title), event

    return _changed(face, call, "newTitle", change)


def change_status(face: HubFace, call: Call) -> Response:
    """POST `/discussions/{num}/status`: open or closed; opening a draft publishes it."""
    body = call.json()
    status, text = body.get("status"), body.get("comment")
    if status not in ("open", "closed"):
        raise HubError(400, '"status" must be one of [open, closed]')

    def change(discussion: Discussion) -> tuple[Discussion, StatusChange]:
        if discussion.status == "merged":
            raise HubError(400, "A merged pull request cannot change its status")
        if discussion.status == status:
            raise HubError(400, f"The discussion is {status} already")
        author, at = call.need_account().name, face.clock.now()
        event = StatusChange(id=event_id(), author=author, at=at, status=status)
        said = [new_comment(text, author, at)] if isinstance(text, str) and text else []
        return discussion.with_events(*said, event, status=status), event

    return _changed(face, call, "newStatus", change)


def pin(face: HubFace, call: Call) -> Response:
    """POST `/discussions/{num}/pin`."""
    pinned = call.json().get("pinned")
    if not isinstance(pinned, bool):
        raise HubError(400, '"pinned" must be a boolean')
    with face.repos.lock:
        repo = face.writable(call)
        discussion = need_discussion(face.repos, repo, call.params["num"])
        event = PinningChange(
            id=event_id(), author=call.need_account().name, at=face.clock.now(), pinned=pinned
        )
        save_discussion(face.repos, repo, discussion.with_events(event, pinned=pinned))
    return JSONResponse({"pinned": pinned})


def delete(face: HubFace, call: Call) -> Response:
    """DELETE `/discussions/{num}`: only the repository's owners may. Numbers are not used again."""
    with face.repos.lock:
        repo = face.writable(call)
        num = need_discussion(face.repos, repo, call.params["num"]).num
        heads = {key: oid for key, oid in repo.pull_requests.items() if key != num}
        face.repos.save(repo.model_copy(update={"pull_requests": heads}))
        face.repos.write_document(repo, f"discussions/{num}", None)
    return PlainTextResponse("OK")


def _changed(
    face: HubFace,
    call: Call,
    key: str,
    change: Callable[[Discussion], tuple[Discussion, TitleChange | StatusChange]],
) -> Response:
    """Record a change that only the author of a discussion and the owners may make."""
    with face.repos.lock:
        repo = face.contributable(call)
        discussion = need_discussion(face.repos, repo, call.params["num"])
        _check_moderates(call, repo, discussion.author)
        discussion, event = change(discussion)
        save_discussion(face.repos, repo, discussion)
    return JSONResponse({key: event_json(event, call.base_url)})


def _check_moderates(call: Call, repo: Repo, author: str) -> None:
    account = call.need_account()
    if account.name != author and not account.may_write(repo.kind, repo.id, repo.creator):
        raise HubError(403, "Only its author and those who may write to the repository may do this")


def _summary(face: HubFace, call: Call, repo: Repo, discussion: Discussion) -> dict[str, Any]:
    owner_type = "user" if repo.id.split("/")[0] in face.users else "org"
    return summary_json(repo, discussion, call.base_url, owner_type)


def _with_history(event: dict[str, Any], discussion: Discussion, call: Call) -> dict[str, Any]:
    """Add what only the details tell of a comment: its earlier versions."""
    if event["type"] == "comment":
        versions = comment_history(discussion.comment(event["id"]), call.base_url)
        event["data"]["history"] = versions
    return event


def _text(body: dict[str, Any], name: str, least: int = 1, most: int = 65_536) -> str:
    """A text with as many characters as the Hub's public description allows."""
    text = body.get(name)
    if not isinstance(text, str) or (least and not text.strip()):
        raise HubError(400, f'"{name}" is not allowed to be empty')
    if not least <= len(text) <= most:
        raise HubError(400, f'"{name}" must have {least} to {most} characters')
    return text


def _title(body: dict[str, Any]) -> str:
    return _text(body, "title", 3, 200)


def _choice(call: Call, name: str, choices: tuple[str, ...]) -> str:
    value = call.query.get(name, "all")
    if value not in choices:
        raise HubError(400, f'"{name}" must be one of [{", ".join(choices)}]')
    return value
