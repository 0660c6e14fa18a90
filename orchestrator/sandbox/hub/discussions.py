"""Discussions and pull requests of a repository as they are kept, and as the API shows them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.sandbox.hub.repos import Commit, Repo, Repositories
from orchestrator.sandbox.hub.wire import HubError, hex_id, instant

Status = Literal["draft", "open", "closed", "merged"]
HIDDEN_TEXT = "This comment has been hidden"


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True)


class Version(_Kept):
    """A comment's text at one time."""

    raw: str
    author: str
    at: datetime


class _Event(_Kept):
    id: str
    author: str
    at: datetime


class Comment(_Event):
    """A comment with all its versions, the last of which is shown; at least one."""

    type: Literal["comment"] = "comment"
    versions: tuple[Version, ...]
    hidden_by: str | None = None


class StatusChange(_Event):
    """A discussion was opened, closed or merged."""

    type: Literal["status-change"] = "status-change"
    status: Status


class TitleChange(_Event):
    """A discussion was renamed."""

    type: Literal["title-change"] = "title-change"
    old: str
    new: str


class PinningChange(_Event):
    """A discussion was pinned above the others, or no longer is."""

    type: Literal["pinning-change"] = "pinning-change"
    pinned: bool


Event = Annotated[Comment | StatusChange | TitleChange | PinningChange, Field(discriminator="type")]


class Discussion(_Kept):
    """A discussion; with a `base`, a pull request into that branch, begun at commit `start`."""

    num: int
    title: str
    author: str
    at: datetime
    status: Status
    pinned: bool = False
    base: str | None = None
    start: str = ""
    events: tuple[Event, ...] = ()

    @property
    def pull_request(self) -> bool:
        """Whether commits belong to it."""
        return self.base is not None

    def with_events(self, *events: Event, **changes: Any) -> Discussion:
        """The same discussion after something happened in it."""
        return self.model_copy(update={**changes, "events": (*self.events, *events)})

    def comment(self, comment_id: str) -> Comment:
        """One of its comments; raises a 404."""
        for event in self.events:
            if isinstance(event, Comment) and event.id == comment_id:
                return event
        raise HubError(404, "Comment not found")

    def with_comment(self, comment: Comment) -> Discussion:
        """The same discussion with one of its comments replaced."""
        events = tuple(comment if event.id == comment.id else event for event in self.events)
        return self.model_copy(update={"events": events})


def event_id() -> str:
    """A new id for an event."""
    return secrets.token_hex(12)


def new_comment(text: str, author: str, at: datetime) -> Comment:
    """A comment in its first version."""
    version = Version(raw=text, author=author, at=at)
    return Comment(id=event_id(), author=author, at=at, versions=(version,))


def find_discussion(repos: Repositories, repo: Repo, num: int) -> Discussion | None:
    """A discussion by its number, or None."""
    text = repos.read_document(repo, f"discussions/{num}") if num <= repo.last_discussion else None
    if text is None:
        return None
    found = Discussion.model_validate_json(text)
    if found.pull_request and num not in repo.pull_requests:
        return None  # it was being deleted when the process ended: its commits went first
    # The branch and `merged` change in one step; this record follows.
    return found.model_copy(update={"status": "merged"}) if num in repo.merged else found


def need_discussion(repos: Repositories, repo: Repo, text: str) -> Discussion:
    """A discussion by the number in an address; raises a 404."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    found = find_discussion(repos, repo, number)
    if found is None:
        raise HubError(404, "Discussion not found")
    return found


def all_discussions(repos: Repositories, repo: Repo) -> Iterator[Discussion]:
    """All discussions, the newest first."""
    for num in range(repo.last_discussion, 0, -1):
        found = find_discussion(repos, repo, num)
        if found is not None:
            yield found


def save_discussion(repos: Repositories, repo: Repo, discussion: Discussion) -> None:
    """Record a discussion, in one step."""
    text = discussion.model_dump_json().encode()
    repos.write_document(repo, f"discussions/{discussion.num}", text)


def person(name: str, base_url: str) -> dict[str, Any]:
    """An author as the API shows one."""
    return {
        "_id": hex_id(f"user/{name}"),
        "avatarUrl": f"{base_url}/avatars/{name}.svg",
        "fullname": name,
        "name": name,
        "type": "user",
        "isPro": False,
        "isHf": False,
        "isHfAdmin": False,
        "isMod": False,
    }


def event_json(event: Event, base_url: str) -> dict[str, Any]:
    """An event as the API shows it."""
    return {
        "id": event.id,
        "type": event.type,
        "createdAt": instant(event.at),
        "author": person(event.author, base_url),
        "data": _event_data(event, base_url),
    }


def comment_history(comment: Comment, base_url: str) -> list[dict[str, Any]]:
    """The versions of a comment, the newest first; nothing of a hidden one."""
    shown = () if comment.hidden_by else comment.versions
    return [_version_json(version, base_url) for version in reversed(shown)]


def commit_json(commit: Commit, base_url: str) -> dict[str, Any]:
    """A commit of a pull request as one of its events."""
    return {
        "id": hex_id(commit.oid),
        "type": "commit",
        "createdAt": instant(commit.date),
        "author": person(commit.author, base_url),
        "data": {"subject": commit.title, "oid": commit.oid},
    }


def summary_json(
    repo: Repo, discussion: Discussion, base_url: str, owner_type: str
) -> dict[str, Any]:
    """A discussion as a list shows it. `owner_type` is user or org."""
    owner = repo.id.split("/")[0]
    comments = [event for event in discussion.events if isinstance(event, Comment)]
    return {
        **_common(repo, discussion, base_url),
        "numComments": len(comments),
        "topReactions": [],
        "numReactionUsers": 0,
        "repoOwner": {
            "name": owner,
            "type": owner_type,
            "isParticipating": owner in {event.author for event in discussion.events},
            "isDiscussionAuthor": owner == discussion.author,
        },
    }


def details_json(repo: Repo, discussion: Discussion, base_url: str) -> dict[str, Any]:
    """A discussion as its details begin; events and what a pull request changes are added."""
    return {
        "_id": hex_id(f"{repo.hex_id}/{discussion.num}"),
        **_common(repo, discussion, base_url),
        "locked": False,
        "collection": "discussions",
        **({} if discussion.pull_request else {"isReport": False}),
    }


def _common(repo: Repo, discussion: Discussion, base_url: str) -> dict[str, Any]:
    return {
        "num": discussion.num,
        "author": person(discussion.author, base_url),
        "repo": {"name": repo.id, "type": repo.kind},
        "title": discussion.title,
        "createdAt": instant(discussion.at),
        "status": discussion.status,
        "isPullRequest": discussion.pull_request,
        "pinned": discussion.pinned,
    }


def _event_data(event: Event, base_url: str) -> dict[str, Any]:
    if isinstance(event, StatusChange):
        return {"status": event.status}
    if isinstance(event, TitleChange):
        return {"from": event.old, "to": event.new}
    if isinstance(event, PinningChange):
        return {"pinned": event.pinned}
    editors = list(dict.fromkeys(version.author for version in event.versions))
    latest = event.versions[-1]
    if event.hidden_by:
        latest = latest.model_copy(update={"raw": HIDDEN_TEXT})
    return {
        "edited": len(event.versions) > 1,
        "hidden": event.hidden_by is not None,
        **({"hiddenBy": event.hidden_by} if event.hidden_by else {}),
        "latest": _version_json(latest, base_url),
        "numEdits": len(event.versions) - 1,
        "editors": editors,
        "editorAvatarUrls": [f"{base_url}/avatars/{name}.svg" for name in editors],
        "reactions": [],
        "isReport": False,
    }


def _version_json(version: Version, base_url: str) -> dict[str, Any]:
    return {
        "raw": version.raw,
        # Markdown is not rendered here: paragraphs are all that the text is given.
        "html": "".join(f"<p>{escape(part)}</p>" for part in version.raw.split("\n\n")),
        "updatedAt": instant(version.at),
        "author": person(version.author, base_url),
    }
