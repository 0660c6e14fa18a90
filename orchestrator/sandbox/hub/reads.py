"""What the Hub tells of a repository: description, tree, history, references, contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.responses import FileResponse, JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.cards import card_data
from orchestrator.sandbox.hub.git import Entry, tree_ids
from orchestrator.sandbox.hub.repos import MAIN, Commit, Repo, pointer_size
from orchestrator.sandbox.hub.wire import HubError, entry_missing, instant

_TREE_PAGE = 1000
_PATHS_LIMIT = 2000


def info(face: HubFace, call: Call) -> Response:
    """GET `/api/models/{id}` and `/revision/{rev}`: the repository at a revision."""
    repo = face.readable(call)
    commit = face.repos.resolve(repo, call.params.get("rev", MAIN))
    value = _description(face, repo, commit, blobs=call.flag("blobs"))
    wanted = {*call.query.getlist("expand"), *call.query.getlist("expand[]")}
    if wanted:
        value = {key: value[key] for key in value if key in wanted | {"_id", "id"}}
    return JSONResponse(value)


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
    start, limit = call.number("cursor", 0, len(below)), call.number("limit", _TREE_PAGE, 10**9)
    page = below[start : start + limit]
    more = {"cursor": str(start + limit)} if start + limit < len(below) and limit else None
    items = _path_items(face, repo, commit, page, expand=call.flag("expand"))
    return JSONResponse(items, headers=_next_page(call, more))


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
        items, headers={"X-Total-Count": str(len(history)), **_next_page(call, more)}
    )


def refs(face: HubFace, call: Call) -> Response:
    """GET `/refs`: branches and tags."""
    repo = face.readable(call)
    value: dict[str, Any] = {
        "branches": _refs("heads", repo.branches),
        "converts": [],
        "tags": _refs("tags", repo.tags),
    }
    if call.flag("include_prs"):
        value["pullRequests"] = []
    return JSONResponse(value)


def resolve(face: HubFace, call: Call) -> Response:
    """HEAD and GET `/{id}/resolve/{rev}/{path}`: a file's content, whole or a range of it."""
    repo = face.readable(call)
    commit = face.repos.resolve(repo, call.params["rev"])
    path = call.params["path"]
    entry = commit.files.get(path)
    headers = {"X-Repo-Commit": commit.oid}
    if entry is None:
        missing = entry_missing()
        # Clients remember that this very commit lacks the file.
        reply = JSONResponse({"error": missing.message}, missing.status, headers)
        reply.headers["X-Error-Code"] = missing.code
        reply.headers["X-Error-Message"] = missing.message
        return reply
    headers["ETag"] = f'"{entry.sha256 or entry.oid}"'
    if entry.sha256:
        headers["X-Linked-ETag"] = f'"{entry.sha256}"'
        headers["X-Linked-Size"] = str(entry.size_bytes)
    return FileResponse(
        face.repos.content(repo, entry),
        headers=headers,
        media_type="application/octet-stream" if entry.sha256 else "text/plain; charset=utf-8",
        filename=path.rsplit("/", 1)[-1],
        content_disposition_type="inline",
    )


def _description(face: HubFace, repo: Repo, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    readme = commit.files.get("README.md")
    card = (
        card_data(face.repos.content(repo, readme).read_text("utf-8", "replace")) if readme else {}
    )
    value: dict[str, Any] = {
        "_id": repo.hex_id,
        "id": repo.id,
        "author": repo.id.split("/")[0],
        "sha": commit.oid,
        "lastModified": instant(commit.date),
        "createdAt": instant(repo.created_at),
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(card),
        "usedStorage": sum(entry.size_bytes for entry in commit.files.values()),
        "siblings": [_sibling(path, entry, blobs) for path, entry in commit.files.items()],
    }
    if repo.kind == "model":
        value["modelId"] = repo.id
        for name in ("pipeline_tag", "library_name"):
            if name in card:
                value[name] = card[name]
    if card:
        value["cardData"] = _plain(card)
    return value


def _tags(card: dict[str, Any]) -> list[str]:
    tags = [card[name] for name in ("library_name", "pipeline_tag") if name in card]
    tags += [tag for tag in card.get("tags") or [] if tag not in tags]
    for name in ("base_model", "datasets", "license", "language"):
        values = card.get(name) or []
        prefix = {"datasets": "dataset:", "language": ""}.get(name, f"{name}:")
        tags += [f"{prefix}{one}" for one in (values if isinstance(values, list) else [values])]
    return [str(tag) for tag in tags]


def _plain(value: Any) -> Any:
    """YAML's values as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def _sibling(path: str, entry: Entry, blobs: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"rfilename": path}
    if blobs:
        value |= {"size": entry.size_bytes, "blobId": entry.oid}
        if entry.sha256:
            value["lfs"] = {
                "sha256": entry.sha256,
                "size": entry.size_bytes,
                "pointerSize": pointer_size(entry),
            }
    return value


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


def _next_page(call: Call, change: dict[str, str] | None) -> dict[str, str]:
    if change is None:
        return {}
    pairs = [(key, value) for key, value in call.query.multi_items() if key not in change]
    query = urlencode([*pairs, *change.items()])
    return {"Link": f'<{call.base_url}{call.path}?{query}>; rel="next"'}


def all_of(face: HubFace, call: Call) -> Response:
    """GET `/api/models`: the visible repositories, by `author` and `search`."""
    return JSONResponse(list(_listed(face, call)))


def _listed(face: HubFace, call: Call) -> Iterator[dict[str, Any]]:
    for repo in face.repos.all():
        author, search = call.query.get("author"), call.query.get("search", "").lower()
        if repo.kind != call.kind or not call.sees(repo) or search not in repo.id.lower():
            continue
        if author in (None, repo.id.split("/")[0]):
            value = _description(face, repo, face.repos.resolve(repo, MAIN), blobs=False)
            del value["siblings"]
            yield value
