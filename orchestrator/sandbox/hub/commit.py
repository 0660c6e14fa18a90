"""How a commit is made: which files go where, and the commit itself, all or nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.cards import check_card
from orchestrator.sandbox.hub.git import REGULAR_LIMIT_BYTES, Entry, goes_to_lfs, lfs_entry
from orchestrator.sandbox.hub.lfs import stored_size
from orchestrator.sandbox.hub.repos import Commit, Repo
from orchestrator.sandbox.hub.wire import HubError, entry_missing, repo_missing, revision_missing

_PATH_LENGTH = 1000
Files = dict[str, Entry | bytes]


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


def preupload(face: HubFace, call: Call) -> Response:
    """POST `preupload/{rev}`: whether each file goes through LFS, and what is there already."""
    repo = face.writable(call)
    head = face.repos.resolve(repo, call.params["rev"])
    body = call.json()
    files = body.get("files")
    if not isinstance(files, list):
        raise HubError(400, '"files" must be an array')
    attributes = body.get("gitAttributes") or _attributes(face, repo, head)
    answers = []
    for file in files:
        path, size_bytes, sample = _announced(file)
        entry = head.files.get(path)
        answers.append(
            {
                "path": path,
                "uploadMode": (
                    "lfs" if goes_to_lfs(path, size_bytes, sample, attributes) else "regular"
                ),
                "shouldIgnore": False,
                **({"oid": entry.sha256 or entry.oid} if entry else {}),
            }
        )
    return JSONResponse({"files": answers, "commitOid": head.oid})


def commit(face: HubFace, call: Call) -> Response:
    """POST `commit/{rev}`: one commit on a branch; nothing changes unless all of it can."""
    if call.flag("create_pr"):
        raise HubError(501, "Pull requests are not served")
    allowed = face.writable(call)
    header, lines = _read_lines(call.body)
    branch = call.params["rev"].removeprefix("refs/heads/")
    with face.repos.lock:
        repo = face.repos.get(allowed.kind, allowed.id)
        if repo is None:
            raise repo_missing()
        if branch not in repo.branches:
            raise revision_missing(branch)
        if not repo.branches[branch].startswith(header.parent.lower()):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        head = face.repos.resolve(repo, branch)
        files: Files = dict(head.files)
        for kind, value in lines:
            _OPERATIONS[kind](face, repo, files, value)
        _check_folders(files)
        made = face.repos.add_commit(
            repo,
            branch,
            files,
            title=header.title,
            message=header.message,
            author=call.need_account().name,
        )
    prefix = "datasets/" if repo.kind == "dataset" else ""
    return JSONResponse(
        {
            "success": True,
            "commitOid": made.oid,
            "commitUrl": f"{call.base_url}/{prefix}{repo.id}/commit/{made.oid}",
            "hookOutput": "",
        }
    )


def _attributes(face: HubFace, repo: Repo, head: Commit) -> str:
    entry = head.files.get(".gitattributes")
    return face.repos.content(repo, entry).read_text("utf-8", "replace") if entry else ""


def _announced(file: Any) -> tuple[str, int, bytes]:
    try:
        path, size = _path(file), file["size"]
        sample = base64.b64decode(file["sample"], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise HubError(400, "Each file needs a path, a size and a base64 sample") from error
    if not isinstance(size, int) or size < 0:
        raise HubError(400, "size must be a number of bytes")
    return path, size, sample


def _read_lines(body: bytes) -> tuple[CommitHeader, list[tuple[str, Mapping[str, Any]]]]:
    """The header and the operations of an ndjson body."""
    lines: list[tuple[str, Mapping[str, Any]]] = []
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            item = orjson.loads(line)
            key, value = item["key"], item["value"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise HubError(400, "Each line must be JSON with a key and a value") from error
        if not isinstance(value, dict) or key not in {"header", *_OPERATIONS}:
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


def _path(value: Mapping[str, Any]) -> str:
    path = value.get("path")
    if not isinstance(path, str) or not 0 < len(path) <= _PATH_LENGTH:
        raise HubError(400, f'"path" must be a string of 1 to {_PATH_LENGTH} characters')
    parts = path.rstrip("/").split("/")
    if any(part in ("", ".", "..", ".git") for part in parts) or not path.isprintable():
        raise HubError(400, f"Invalid path: {path!r}")
    return path


def _add_file(_face: HubFace, _repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    path, text = _path(value), value.get("content")
    if not isinstance(text, str) or path.endswith("/"):
        raise HubError(400, f'"{path}" needs content')
    try:
        content = (
            base64.b64decode(text, validate=True)
            if value.get("encoding") == "base64"
            else text.encode()
        )
    except (binascii.Error, UnicodeEncodeError) as error:
        raise HubError(400, f'The content of "{path}" is not what "encoding" says') from error
    if len(content) > REGULAR_LIMIT_BYTES:
        raise HubError(400, f'"{path}" is larger than 10 MiB: send it through LFS')
    if path == "README.md":
        errors, _ = check_card(content.decode("utf-8", "replace"))
        if errors:
            raise HubError(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
    files[path] = content


def _add_lfs_file(face: HubFace, repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    path, oid = _path(value), value.get("oid")
    if not isinstance(oid, str) or len(oid) != 64 or not set(oid) <= set("0123456789abcdef"):
        raise HubError(400, f'"{path}" needs the SHA-256 of its content as "oid"')
    size_bytes = stored_size(face, repo, oid)
    if size_bytes is None or value.get("size", size_bytes) != size_bytes:
        raise HubError(400, f'The LFS object of "{path}" was not uploaded, or has another size')
    files[path] = lfs_entry(oid, size_bytes)


def _delete_file(_face: HubFace, _repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    if files.pop(_path(value), None) is None:
        raise entry_missing("A file with this name doesn't exist")


def _delete_folder(_face: HubFace, _repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    prefix = _path(value).rstrip("/") + "/"
    doomed = [path for path in files if path.startswith(prefix)]
    if not doomed:
        raise entry_missing("A folder with this name doesn't exist")
    for path in doomed:
        del files[path]


def _delete_entry(face: HubFace, repo: Repo, files: Files, value: Mapping[str, Any]) -> None:
    operation = _delete_file if _path(value) in files else _delete_folder
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
