"""The content of files: where `resolve` sends a client, and what it finds there.

As at the real service, a regular file is answered from an address that names its commit, and
an LFS file from a signed address at another host, which clients must not show their token to.
The other host is the other name of this machine, so that nothing but the two names differs.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from orchestrator.sandbox.hub.access import KINDS, Call, HubFace
from orchestrator.sandbox.hub.git import Entry
from orchestrator.sandbox.hub.repos import Commit, Repo
from orchestrator.sandbox.hub.signing import (
    check_signed,
    need_repo,
    repo_gone,
    signed_path,
    storage_path,
)
from orchestrator.sandbox.hub.wire import HubError, entry_missing, error_reply

CDN_PATH = "/cdn-lfs/{kind}/{ns}/{repo}/{oid}"
_OTHER_NAME = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}
_LFS_TYPE, _TEXT_TYPE = "application/octet-stream", "text/plain; charset=utf-8"


def resolve(face: HubFace, call: Call) -> Response:
    """HEAD and GET `/{id}/resolve/{rev}/{path}`: says where the content of a file is."""
    repo = face.openable(call)
    commit = face.repos.resolve(repo, call.params["rev"])
    entry = commit.files.get(call.params["path"])
    if entry is None:
        return _no_entry(commit)
    headers = _headers(commit, entry)
    if entry.sha256:
        return _lfs(face, call, repo, entry, headers)
    if _unchanged(call, entry):
        return Response(status_code=304, headers={**headers, "ETag": _etag(entry)})
    path = quote(call.params["path"])
    target = f"/api/resolve-cache/{KINDS[repo.kind]}/{repo.id}/{commit.oid}/{path}"
    # The address asked for and the digest only make the address of the answer its own.
    query = urlencode({call.path: "", "etag": _etag(entry)})
    return _redirect(307, f"{target}?{query}", headers)


def resolve_cache(face: HubFace, call: Call) -> Response:
    """HEAD and GET `/api/resolve-cache/{kind}/{id}/{commit}/{path}`: a file of one commit."""
    repo = face.openable(call)
    commit = face.repos.resolve(repo, call.params["rev"])
    entry = commit.files.get(call.params["path"])
    if entry is None:
        return _no_entry(commit)
    headers = _headers(commit, entry)
    if entry.sha256:
        return _lfs(face, call, repo, entry, headers)
    headers["ETag"] = _etag(entry)
    if _unchanged(call, entry):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = _disposition(call.params["path"])
    return _contents(face, face.repos.content(repo, entry), headers, _TEXT_TYPE)


def deliver(face: HubFace, request: Request) -> Response:
    """GET a signed address: the bytes of an LFS file, to whoever has the address."""
    query = dict(request.query_params)
    try:
        check_signed(face, request.url.path, query)
        file = face.repos.lfs_path(need_repo(face, request.path_params), request.path_params["oid"])
        headers = {
            "ETag": f'"{request.path_params["oid"]}"',
            "Content-Disposition": query["response-content-disposition"],
        }
        return _contents(face, file, headers, _LFS_TYPE)
    except HubError as error:
        return error_reply(error)
    except FileNotFoundError:  # another repository may have its name by now
        return error_reply(repo_gone())


def delivery_url(face: HubFace, base_url: str, repo: Repo, oid: str, path: str = "") -> str:
    """A signed address of an LFS object, under the other name of this machine."""
    address = urlsplit(base_url)
    host = _OTHER_NAME.get(address.hostname or "", address.hostname)
    query = {"response-content-disposition": _disposition(path or oid)}
    signed = signed_path(face, storage_path("/cdn-lfs", repo, oid), query)
    return f"{address.scheme}://{host}:{address.port or 80}{signed}"


def _lfs(face: HubFace, call: Call, repo: Repo, entry: Entry, headers: dict[str, str]) -> Response:
    path, oid = call.params["path"], entry.sha256 or ""
    if urlsplit(call.base_url).hostname in _OTHER_NAME:
        url = delivery_url(face, call.base_url, repo, oid, path)
        return _redirect(302, url, headers)
    # Under any other name (a container's view of its host) there is no second name to send to.
    headers |= {"ETag": _etag(entry), "Content-Disposition": _disposition(path)}
    return _contents(face, face.repos.content(repo, entry), headers, _LFS_TYPE)


class _Contents(FileResponse):
    """Sends a file of its own and removes it, however the sending ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Ranges in another unit than bytes are to be ignored (RFC 9110, 14.2).
        kept = [one for one in scope["headers"] if not _is_other_range(*one)]
        try:
            await super().__call__({**scope, "headers": kept}, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def _is_other_range(name: bytes, value: bytes) -> bool:
    return name == b"range" and not value.lower().startswith(b"bytes=")


def _contents(face: HubFace, file: Path, headers: dict[str, str], media_type: str) -> Response:
    """The content of a file, which is sent to its end even if its repository is deleted."""
    link = face.repos.draft()
    os.link(file, link)
    return _Contents(link, headers=headers, media_type=media_type)


def _headers(commit: Commit, entry: Entry) -> dict[str, str]:
    return {
        "X-Repo-Commit": commit.oid,
        "X-Linked-ETag": _etag(entry),
        "X-Linked-Size": str(entry.size_bytes),
        "Accept-Ranges": "bytes",
    }


def _etag(entry: Entry) -> str:
    return f'"{entry.sha256 or entry.oid}"'


def _unchanged(call: Call, entry: Entry) -> bool:
    """Whether the client has this content already, by what it says."""
    given = [one.strip() for one in call.headers.get("if-none-match", "").split(",")]
    return "*" in given or _etag(entry) in (one.removeprefix("W/") for one in given)


def _disposition(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    plain = "".join("_" if one in '"\\' else one for one in name)
    ascii_name = plain.encode("ascii", "replace").decode().replace("?", "_")
    return f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{ascii_name}\";"


def _redirect(status: int, location: str, headers: dict[str, str]) -> Response:
    text = f"{'Found' if status == 302 else 'Temporary Redirect'}. Redirecting to {location}"
    return PlainTextResponse(text, status, {**headers, "Location": location})


def _no_entry(commit: Commit) -> Response:
    missing = entry_missing()
    # Clients remember that this very commit lacks the file.
    reply = JSONResponse({"error": missing.message}, missing.status, {"X-Repo-Commit": commit.oid})
    reply.headers["X-Error-Code"] = missing.code
    reply.headers["X-Error-Message"] = missing.message
    return reply
