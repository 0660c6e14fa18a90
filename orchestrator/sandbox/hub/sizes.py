"""How much a repository stores: below a folder, and by LFS file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.reads import next_page
from orchestrator.sandbox.hub.repos import Commit, Repo
from orchestrator.sandbox.hub.wire import entry_missing, instant

_PAGE = 1000


def tree_size(face: HubFace, call: Call) -> Response:
    """GET `/treesize/{rev}/{path}`: the bytes of all files below a folder."""
    repo = face.readable(call)
    commit = face.repos.resolve(repo, call.params["rev"])
    folder = call.params.get("path", "").strip("/")
    prefix = f"{folder}/" if folder else ""
    sizes = [one.size_bytes for path, one in commit.files.items() if path.startswith(prefix)]
    if folder and not sizes:
        raise entry_missing(f"{folder} does not exist on {call.params['rev']}")
    return JSONResponse({"path": f"/{folder}", "size": sum(sizes)})


def lfs_files(face: HubFace, call: Call) -> Response:
    """GET `/lfs-files`: every LFS object that a commit of the repository names."""
    repo = face.writable(call)
    found = _lfs_objects(face, repo)
    limit = call.number("limit", _PAGE, _PAGE, least=1)
    start = call.number("cursor", 0, 10**9)
    more = {"cursor": str(start + limit)} if start + limit < len(found) else None
    return JSONResponse(found[start : start + limit], headers=next_page(call, more))


def _lfs_objects(face: HubFace, repo: Repo) -> list[dict[str, Any]]:
    """Each object as it first came, the newest last."""
    first: dict[str, tuple[Commit, dict[str, Any]]] = {}
    for ref, commit in _commits(face, repo):
        for path, entry in commit.files.items():
            known = first.get(entry.sha256 or "")
            if entry.sha256 is None or (known and known[0].date <= commit.date):
                continue
            value = {
                "fileOid": entry.oid,
                "oid": entry.sha256,
                "size": entry.size_bytes,
                "pushedAt": instant(commit.date),
                "filename": path,
                "ref": ref,
            }
            first[entry.sha256] = (commit, value)
    return [value for _, value in sorted(first.values(), key=lambda one: one[0].date)]


def _commits(face: HubFace, repo: Repo) -> Iterator[tuple[str, Commit]]:
    heads = {f"refs/heads/{name}": oid for name, oid in repo.branches.items()}
    heads |= {f"refs/tags/{name}": oid for name, oid in repo.tags.items()}
    heads |= {f"refs/pr/{number}": oid for number, oid in repo.pull_requests.items()}
    for ref, oid in heads.items():
        for commit in face.repos.history(repo, face.repos.commit(repo, oid)):
            yield ref, commit
