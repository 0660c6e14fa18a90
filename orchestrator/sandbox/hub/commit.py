"""How a commit is made, all of it or nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.admin import repo_url
from orchestrator.sandbox.hub.attributes import track
from orchestrator.sandbox.hub.cards import check_card
from orchestrator.sandbox.hub.git import REGULAR_LIMIT_BYTES, Entry, lfs_entry
from orchestrator.sandbox.hub.lfs import stored_size
from orchestrator.sandbox.hub.pulls import check_takes_commits, committable, open_pull
from orchestrator.sandbox.hub.repos import Commit, Repo, pull_number
from orchestrator.sandbox.hub.threads import discussion_url, new_discussion
from orchestrator.sandbox.hub.wire import HubError, entry_missing, repo_missing, revision_missing

_PATH_LENGTH = 1000
#: What some file system takes for `.git`; git refuses all of it.
_DOT_GIT = re.compile(r"(\.git|git~1)[ .]*([:\\].*)?\Z", re.IGNORECASE | re.DOTALL)
#: Control characters, and what ends a line for some reader of text.
_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
Files = dict[str, Entry | bytes]
Lines = list[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class CommitHeader:
    """What a commit says of itself. `parent` may be shortened, and is empty if not given."""

    title: str
    message: str
    parent: str


def validate_yaml(_face: HubFace, call: Call) -> Response:
    """POST `/api/validate-yaml`: what the Hub thinks of a card."""
    content = call.json().get("content")
    if not isinstance(content, str):
        raise HubError(400, '"content" must be a string')
    errors, warnings = check_card(content)
    reply: dict[str, Any] = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    if errors:
        reply["error"] = "; ".join(errors)
    return JSONResponse(reply, 400 if errors else 200)


def commit(face: HubFace, call: Call) -> Response:
    """POST `commit/{rev}`: one commit on a branch, on a pull request, or as a new pull request.

    Nothing changes unless all of it can.
    """
    revision = call.params["rev"]
    allowed = committable(face, call, None if call.flag("create_pr") else revision)
    header, lines = _read_lines(call.body)
    with face.repos.lock:
        repo = face.repos.get(allowed.kind, allowed.id)
        if repo is None:
            raise repo_missing(call.account)
        number = pull_number(revision)
        if call.flag("create_pr"):
            made, number = _as_new_pull(face, call, repo, header, lines)
        elif number is not None:
            made, number = _on_pull(face, call, repo, number, header, lines), None
        else:
            made = _on_branch(face, call, repo, header, lines)
    reply = {
        "success": True,
        "commitOid": made.oid,
        "commitUrl": f"{repo_url(call, repo.kind, repo.id)}/commit/{made.oid}",
        "hookOutput": "",
    }
    if number is not None:
        reply["pullRequestUrl"] = discussion_url(call, repo, number)
    return JSONResponse(reply)


def _on_branch(face: HubFace, call: Call, repo: Repo, header: CommitHeader, lines: Lines) -> Commit:
    branch, head = _branch(face, call, repo)
    made = _made(face, call, repo, head, header, lines)
    face.repos.save(repo.model_copy(update={"branches": {**repo.branches, branch: made.oid}}))
    return made


def _on_pull(
    face: HubFace, call: Call, repo: Repo, number: int, header: CommitHeader, lines: Lines
) -> Commit:
    check_takes_commits(face, repo, number)
    head = face.repos.commit(repo, repo.pull_requests[number])
    made = _made(face, call, repo, head, header, lines)
    heads = {**repo.pull_requests, number: made.oid}
    face.repos.save(repo.model_copy(update={"pull_requests": heads}))
    return made


def _as_new_pull(
    face: HubFace, call: Call, repo: Repo, header: CommitHeader, lines: Lines
) -> tuple[Commit, int]:
    """The commit and the number of its pull request, which starts where the client says."""
    branch, head = _branch(face, call, repo)
    if header.parent:
        head = face.repos.resolve(repo, header.parent)
    made = _made(face, call, repo, head, header, lines)
    opened = new_discussion(
        face, call, repo, header.title, header.message or header.title, draft=False
    )
    open_pull(face, repo, branch, head, made, opened)
    return made, opened.num


def _branch(face: HubFace, call: Call, repo: Repo) -> tuple[str, Commit]:
    branch = call.params["rev"].removeprefix("refs/heads/")
    if branch not in repo.branches:
        raise revision_missing(branch)
    return branch, face.repos.commit(repo, repo.branches[branch])


def _made(
    face: HubFace, call: Call, repo: Repo, head: Commit, header: CommitHeader, lines: Lines
) -> Commit:
    """The commit after `head`, stored, with no reference to it yet."""
    if not head.oid.startswith(header.parent.lower()):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files: Files = dict(head.files)
    for kind, value in lines:
        _OPERATIONS[kind](face, repo, files, value)
    _check_folders(files)
    track(face, repo, files, [value["path"] for kind, value in lines if kind == "lfsFile"])
    return face.repos.make_commit(
        repo,
        head.oid,
        files,
        title=header.title,
        message=header.message,
        author=call.need_account().name,
    )


def _read_lines(body: bytes) -> tuple[CommitHeader, Lines]:
    """The header and the operations of an ndjson body."""
    lines: Lines = []
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            item = orjson.loads(line)
            key, value = item["key"], item["value"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise HubError(400, "Each line must be JSON with a key and a value") from error
        if not isinstance(value, dict) or key not in ["header", *_OPERATIONS]:
            raise HubError(400, f"Unknown line in a commit: {key!r}")
        lines.append((key, value))
    if not lines or lines[0][0] != "header" or any(key == "header" for key, _ in lines[1:]):
        raise HubError(400, "A commit starts with its one header")
    header = {name: str(value) for name, value in lines[0][1].items() if value is not None}
    title = header.get("summary", "").strip()
    if not title:
        raise HubError(400, '"summary" is not allowed to be empty')
    return (
        CommitHeader(title, header.get("description", ""), header.get("parentCommit", "")),
        lines[1:],
    )


def checked_path(value: Mapping[str, Any]) -> str:
    """The path in a line of a commit, refused unless git could hold it."""
    path = value.get("path")
    if not isinstance(path, str) or not 0 < len(path) <= _PATH_LENGTH:
        raise HubError(400, f'"path" must be a string of 1 to {_PATH_LENGTH} characters')
    parts = path.rstrip("/").split("/")
    if any(part in ("", ".", "..") or _DOT_GIT.match(part) for part in parts) or _LINE.search(path):
        raise HubError(400, f"Invalid path: {path!r}")
    return path


def _add_file(_face: HubFace, _repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    path, text = checked_path(value), value.get("content")
    if not isinstance(text, str) or path.endswith("/"):
        raise HubError(400, f'"{path}" needs content')
    try:
        content = (
            base64.b64decode(text, validate=True)
            if value.get("encoding") == "base64"
            else text.encode()
        )
    except ValueError as error:  # not base64, or not UTF-8
        raise HubError(400, f'The content of "{path}" is not what "encoding" says') from error
    if len(content) > REGULAR_LIMIT_BYTES:
        raise HubError(400, f'"{path}" is larger than 10 MiB: send it through LFS')
    if path == "README.md":
        errors, _ = check_card(content.decode("utf-8", "replace"))
        if errors:
            raise HubError(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
    files[path] = content


def _add_lfs_file(face: HubFace, repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    path, oid = checked_path(value), value.get("oid")
    if path.endswith("/"):
        raise HubError(400, f'"{path}" is the name of a folder')
    if not isinstance(oid, str) or len(oid) != 64 or not set(oid) <= set("0123456789abcdef"):
        raise HubError(400, f'"{path}" needs the SHA-256 of its content as "oid"')
    size_bytes = stored_size(face, repo, oid)
    if size_bytes is None or value.get("size", size_bytes) != size_bytes:
        raise HubError(400, f'The LFS object of "{path}" was not uploaded, or has another size')
    files[path] = lfs_entry(oid, size_bytes)


def _delete_file(_face: HubFace, _repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    if files.pop(checked_path(value), None) is None:
        raise entry_missing("A file with this name doesn't exist")


def _delete_folder(_face: HubFace, _repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    prefix = checked_path(value).rstrip("/") + "/"
    doomed = [path for path in files if path.startswith(prefix)]
    if not doomed:
        raise entry_missing("A folder with this name doesn't exist")
    for path in doomed:
        del files[path]


def _delete_entry(face: HubFace, repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    operation = _delete_file if checked_path(value) in files else _delete_folder
    operation(face, repo, files, value)


def _check_folders(files: Files) -> None:
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in files:
                raise HubError(400, f'"{path}" is below a file')


_OPERATIONS: dict[str, Callable[[HubFace, Repo, Files, Mapping[str, Any]], None]] = {
    "file": _add_file,
    "lfsFile": _add_lfs_file,
    "deletedFile": _delete_file,
    "deletedFolder": _delete_folder,
    "deletedEntry": _delete_entry,
}
