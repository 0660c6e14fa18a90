"""What the Hub tells of what is inside a repository: tree, history, references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.git import tree_ids
from orchestrator.sandbox.hub.repos import Commit, Repo, pointer_size
from orchestrator.sandbox.hub.wire import HubError, entry_missing, instant

_TREE_PAGE, _EXPANDED_PAGE = 1000, 100
_PATHS_LIMIT = 2000
#: Nothing is scanned here, and nothing may look as if it were.
_NOT_SCANNED = {
    "status": "unscanned",
    "avScan": {"status": "unscanned"},
    "pickleImportScan": {"status": "unscanned"},
}


def tree(face: HubFace, call: Call) -> Response:
    """GET `/tree/{rev}[/{path}]`: the files and folders below a folder, a page at a time."""
    repo = face.readable(call)
    commit = face.repos.resolve(repo, call.params["rev"])
    folder = call.params.get("path", "").strip("/")
    prefix = f"{folder}/" if folder else ""
    folders = tree_ids(commit.files)
    if folder not in folders:
        raise entry_missing(f"{folder} does not exist on {call.params['rev']}")
    below = [
        path
        for path in sorted([*commit.files, *(name for name in folders if name)])
        if path.startswith(prefix) and (call.flag("recursive") or "/" not in path[len(prefix) :])
    ]
    expand = call.flag("expand")
    most = _EXPANDED_PAGE if expand else _TREE_PAGE
    limit = min(call.number("limit", most, 10**9, least=1), most)
    start = call.number("cursor", 0, len(below))
    more = {"cursor": str(start + limit)} if start + limit < len(below) else None
    items = _path_items(face, repo, commit, below[start : start + limit], expand=expand)
    return JSONResponse(items, headers=next_page(call, more))


def paths_info(face: HubFace, call: Call) -> Response:
    """POST `/paths-info/{rev}`: like the tree, for given paths; absent ones are left out."""
    repo = face.readable(call)
    commit = face.repos.resolve(repo, call.params["rev"])
    if "json" in call.headers.get("content-type", ""):
        body = call.json()
        paths, expand = body.get("paths"), bool(body.get("expand"))
    else:
        form = parse_qs(call.body.decode("utf-8", "replace"))
        paths = form.get("paths")
        expand = form.get("expand", ["false"])[0].lower() == "true"
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise HubError(400, '"paths" must be an array of strings')
    if len(paths) > _PATHS_LIMIT:
        raise HubError(413, "too many parameters")
    known = {*commit.files, *tree_ids(commit.files)} - {""}
    found = [path.strip("/") for path in paths if path.strip("/") in known]
    return JSONResponse(_path_items(face, repo, commit, found, expand=expand))


def commits(face: HubFace, call: Call) -> Response:
    """GET `/commits/{rev}`: the history, the newest first, a page at a time."""
    repo = face.readable(call)
    history = list(face.repos.history(repo, face.repos.resolve(repo, call.params["rev"])))
    limit, page = call.number("limit", 50, 1000) or 50, call.number("p", 0, 10**9)
    formatted = "formatted" in {*call.query.getlist("expand"), *call.query.getlist("expand[]")}
    items = [
        {
            "id": one.oid,
            "title": one.title,
            "message": one.message,
            "authors": [{"user": one.author}],
            "date": instant(one.date),
            **({"formatted": _formatted(one)} if formatted else {}),
        }
        for one in history[page * limit : (page + 1) * limit]
    ]
    more = {"p": str(page + 1)} if (page + 1) * limit < len(history) else None
    return JSONResponse(
        items, headers={"X-Total-Count": str(len(history)), **next_page(call, more)}
    )


def refs(face: HubFace, call: Call) -> Response:
    """GET `/refs`: branches, tags and on request pull requests."""
    repo = face.readable(call)
    value: dict[str, Any] = {
        "branches": _refs("heads", repo.branches),
        "converts": [],
        "tags": _refs("tags", repo.tags),
    }
    if call.flag("include_prs"):
        value["pullRequests"] = _refs(
            "pr", {str(number): oid for number, oid in repo.pull_requests.items()}
        )
    return JSONResponse(value)


def _path_items(
    face: HubFace, repo: Repo, commit: Commit, paths: Sequence[str], *, expand: bool
) -> list[dict[str, Any]]:
    folders = tree_ids(commit.files)
    items = []
    for path in paths:
        entry = commit.files.get(path)
        item: dict[str, Any] = {"type": "directory", "oid": folders.get(path), "size": 0}
        if entry:
            item = {"type": "file", "oid": entry.oid, "size": entry.size_bytes}
            if entry.sha256:
                item["lfs"] = {
                    "oid": entry.sha256,
                    "size": entry.size_bytes,
                    "pointerSize": pointer_size(entry),
                }
        item["path"] = path
        if expand:
            last = _last_change(face, repo, commit, path)
            item["lastCommit"] = {"id": last.oid, "title": last.title, "date": instant(last.date)}
            if entry:
                item["securityFileStatus"] = _NOT_SCANNED
        items.append(item)
    return items


def _last_change(face: HubFace, repo: Repo, commit: Commit, path: str) -> Commit:
    """The latest commit in which a file or folder became what it is."""
    last, now = commit, _below(commit, path)
    for older in face.repos.history(repo, commit):
        if _below(older, path) != now:
            break
        last = older
    return last


def _below(commit: Commit, path: str) -> dict[str, str]:
    return {
        name: entry.oid
        for name, entry in commit.files.items()
        if name == path or name.startswith(f"{path}/")
    }


def _formatted(commit: Commit) -> dict[str, str]:
    return {"title": commit.title, **({"message": commit.message} if commit.message else {})}


def _refs(folder: str, names: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": oid}
        for name, oid in names.items()
    ]


def next_page(call: Call, change: dict[str, str] | None) -> dict[str, str]:
    """The header that names the next page: this request with a change; none after the last."""
    if change is None:
        return {}
    pairs = [(key, value) for key, value in call.query.multi_items() if key not in change]
    query = urlencode([*pairs, *change.items()])
    return {"Link": f'<{call.base_url}{call.path}?{query}>; rel="next"'}
