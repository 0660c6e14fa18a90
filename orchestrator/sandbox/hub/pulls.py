"""Pull requests: who may commit to one, what it changes, and merging it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.discussions import (
    Discussion,
    StatusChange,
    event_id,
    find_discussion,
    need_discussion,
    new_comment,
    save_discussion,
)
from orchestrator.sandbox.hub.git import Entry
from orchestrator.sandbox.hub.merging import Merge, merge_trees, unified
from orchestrator.sandbox.hub.repos import Commit, Repo, pull_number
from orchestrator.sandbox.hub.wire import HubError, revision_missing

#: What the Hub says to who commits to a branch of somebody else.
FOREIGN_BRANCH = "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"


def committable(face: HubFace, call: Call, revision: str | None) -> Repo:
    """The repository, to a revision of which a request may bring a commit.

    With None the commit begins a pull request, which needs no right to write; neither does a
    commit to one's own pull request.
    """
    if revision is None:
        face.openable(call)
        return face.contributable(call)
    repo = face.readable(call)
    number = pull_number(revision)
    if number is not None:
        found = find_discussion(face.repos, repo, number)
        if found is None or not found.pull_request:
            raise revision_missing(revision)
        if call.need_account().name == found.author:
            return face.contributable(call)
    return face.writable(call, FOREIGN_BRANCH)


def open_pull(
    face: HubFace, repo: Repo, base: str, start: Commit, head: Commit, discussion: Discussion
) -> Discussion:
    """Record a pull request into a branch. The caller holds the lock and gave it its number."""
    opened = discussion.model_copy(update={"base": base, "start": start.oid})
    save_discussion(face.repos, repo, opened)
    heads = {**repo.pull_requests, opened.num: head.oid}
    face.repos.save(repo.model_copy(update={"pull_requests": heads, "last_discussion": opened.num}))
    return opened


def check_takes_commits(face: HubFace, repo: Repo, number: int) -> None:
    """Refuse commits to a pull request that is over."""
    found = find_discussion(face.repos, repo, number)
    if found is None or found.status in ("closed", "merged"):
        state = found.status if found else "gone"
        raise HubError(403, f"Pull request #{number} is {state}: it takes no more commits")


def pull_commits(face: HubFace, repo: Repo, discussion: Discussion) -> list[Commit]:
    """The commits of a pull request, the oldest first."""
    found = []
    head = face.repos.commit(repo, repo.pull_requests[discussion.num])
    for commit in face.repos.history(repo, head):
        if commit.oid == discussion.start:
            break
        found.append(commit)
    return found[::-1]


def pull_json(face: HubFace, repo: Repo, discussion: Discussion, *, diff: bool) -> dict[str, Any]:
    """What the details of a pull request say beyond those of a discussion."""
    changes = {"base": f"refs/heads/{discussion.base}"}
    if discussion.num in repo.merged:
        changes["mergeCommitId"] = repo.merged[discussion.num]
    value: dict[str, Any] = {"changes": changes, "filesWithConflicts": []}
    if discussion.status != "merged":
        in_base = discussion.base in repo.branches
        # True says that there are conflicts which cannot be listed.
        value["filesWithConflicts"] = (
            list(_merged(face, repo, discussion).conflicts) if in_base else True
        )
    if diff:
        start = face.repos.commit(repo, discussion.start)
        head = face.repos.commit(repo, repo.pull_requests[discussion.num])
        value["diff"] = unified(start.files, head.files, _reader(face, repo))
    return value


def merge(face: HubFace, call: Call) -> Response:
    """POST `/discussions/{num}/merge`: one commit on the base branch with all that changed."""
    comment = call.json().get("comment")
    with face.repos.lock:
        repo = face.writable(call)
        author = call.need_account().name
        discussion = need_discussion(face.repos, repo, call.params["num"])
        merged = _merge_or_refuse(face, repo, discussion)
        commits = pull_commits(face, repo, discussion)
        base = discussion.base or ""
        made = face.repos.make_commit(
            repo,
            repo.branches[base],
            merged.files,
            title=f"{discussion.title} (#{discussion.num})",
            message=_merge_message(commits),
            author=author,
        )
        face.repos.save(
            repo.model_copy(
                update={
                    "branches": {**repo.branches, base: made.oid},
                    "merged": {**repo.merged, discussion.num: made.oid},
                }
            )
        )
        at = face.clock.now()
        said = [new_comment(comment, author, at)] if isinstance(comment, str) and comment else []
        event = StatusChange(id=event_id(), author=author, at=at, status="merged")
        save_discussion(face.repos, repo, discussion.with_events(*said, event, status="merged"))
    return JSONResponse({"success": True})


def _merge_or_refuse(face: HubFace, repo: Repo, discussion: Discussion) -> Merge:
    if not discussion.pull_request:
        raise HubError(400, "This is not a pull request")
    if discussion.status != "open":
        raise HubError(400, f"A pull request that is {discussion.status} cannot be merged")
    if discussion.base not in repo.branches:
        raise HubError(400, f"The branch {discussion.base} is gone")
    merged = _merged(face, repo, discussion)
    if merged.conflicts:
        raise HubError(409, f"Conflicts in: {', '.join(merged.conflicts)}")
    if merged.files == face.repos.resolve(repo, discussion.base or "").files:
        raise HubError(400, "There is nothing to merge: the pull request changes no file")
    return merged


def _merged(face: HubFace, repo: Repo, discussion: Discussion) -> Merge:
    ours = face.repos.commit(repo, repo.branches[discussion.base or ""])
    theirs = face.repos.commit(repo, repo.pull_requests[discussion.num])
    known = {commit.oid for commit in face.repos.history(repo, ours)}
    common = next((one for one in face.repos.history(repo, theirs) if one.oid in known), None)
    # Without a common ancestor (the branch was squashed) every difference is a change of both.
    base = common.files if common else {}
    return merge_trees(base, ours.files, theirs.files, _reader(face, repo))


def _merge_message(commits: list[Commit]) -> str:
    lines = [f"- {commit.title} ({commit.oid})" for commit in commits]
    authors = dict.fromkeys(commit.author for commit in commits)
    by = [f"Co-authored-by: {name} <{name}@users.noreply.huggingface.co>" for name in authors]
    return "\n".join([*lines, "", "", *by])


def _reader(face: HubFace, repo: Repo) -> Callable[[Entry], bytes]:
    return lambda entry: face.repos.content(repo, entry).read_bytes()
