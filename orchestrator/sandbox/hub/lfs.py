"""LFS: where to send and fetch large files, and receiving them at signed addresses."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.downloads import delivery_url
from orchestrator.sandbox.hub.lfs_parts import multipart_header, uses_parts
from orchestrator.sandbox.hub.pulls import committable
from orchestrator.sandbox.hub.repos import Repo
from orchestrator.sandbox.hub.signing import (
    check_signed,
    need_repo,
    repo_gone,
    signed_path,
    storage_path,
)
from orchestrator.sandbox.hub.wire import HubError, error_reply

STORAGE_PATH = "/lfs-storage/{kind}/{ns}/{repo}/{oid}"
_MEDIA_TYPE = "application/vnd.git-lfs+json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Wanted:
    """An object that a client speaks of."""

    oid: str
    size_bytes: int

    def plain(self) -> dict[str, Any]:
        return {"oid": self.oid, "size": self.size_bytes}


def batch(face: HubFace, call: Call) -> Response:
    """POST `.git/info/lfs/objects/batch`: for each object what to do with it, and where."""
    body = call.json()
    operation, objects = body.get("operation"), body.get("objects")
    if operation not in ("upload", "download"):
        raise HubError(422, "operation must be upload or download")
    if not isinstance(objects, list):
        raise HubError(422, "objects must be an array")
    transfers = body.get("transfers") or ["basic"]
    by_parts = isinstance(transfers, list) and "multipart" in transfers
    repo = _allowed(face, call, body)
    answers = []
    for one in objects:
        try:
            wanted = _oid_and_size(one)
            if operation == "download":
                answers.append(_download(face, call, repo, wanted))
            else:
                answers.append(_upload(face, call, repo, wanted, by_parts=by_parts))
        except HubError as error:
            answers.append(_refusal(one, error))
    in_parts = any(_is_in_parts(answer) for answer in answers)
    return JSONResponse(
        {"transfer": "multipart" if in_parts else "basic", "objects": answers},
        media_type=_MEDIA_TYPE,
    )


def verify(face: HubFace, call: Call) -> Response:
    """POST `.git/info/lfs/verify`: whether an object has arrived."""
    repo = face.readable(call)
    call.need_account()
    wanted = _oid_and_size(call.json())
    if stored_size(face, repo, wanted.oid) != wanted.size_bytes:
        raise HubError(404, "The object is not stored, or has another size")
    return JSONResponse({}, media_type=_MEDIA_TYPE)


def stored_size(face: HubFace, repo: Repo, sha256: str) -> int | None:
    """The size of an LFS object of this repository; None if it is not there."""
    try:
        return face.repos.lfs_path(repo, sha256).stat().st_size
    except FileNotFoundError:
        return None


async def receive(face: HubFace, request: Request) -> Response:
    """PUT to a signed address. Needs no token, as the signature proves that one was shown."""
    draft, oid = face.repos.draft(), request.path_params["oid"]
    try:
        check_signed(face, request.url.path, dict(request.query_params))
        repo = need_repo(face, request.path_params)
        await _write(request, draft, oid, int(request.query_params["size"]))
        draft.replace(face.repos.lfs_path(repo, oid))
    except HubError as error:
        return error_reply(error)
    except FileNotFoundError:
        return error_reply(repo_gone())
    finally:
        draft.unlink(missing_ok=True)
    return Response(headers={"ETag": f'"{oid}"'})


async def _write(request: Request, draft: Path, oid: str, size_bytes: int) -> None:
    digest, received = hashlib.sha256(), 0
    with draft.open("xb") as file:
        async for block in request.stream():
            received += len(block)
            if received > size_bytes:
                break
            digest.update(block)
            file.write(block)
    if received != size_bytes:
        raise HubError(400, f"Expected {size_bytes} bytes")
    if digest.hexdigest() != oid:
        raise HubError(400, "The content does not have the SHA-256 that was announced")


def _allowed(face: HubFace, call: Call, body: dict[str, Any]) -> Repo:
    """Who may send or fetch objects. Those for a new pull request come without a `ref`."""
    if body["operation"] == "download":
        return face.openable(call)
    ref = body.get("ref")
    name = ref.get("name") if isinstance(ref, dict) else None
    return committable(face, call, name if isinstance(name, str) else None)


def _upload(
    face: HubFace, call: Call, repo: Repo, wanted: _Wanted, *, by_parts: bool
) -> dict[str, Any]:
    if stored_size(face, repo, wanted.oid) == wanted.size_bytes:
        return wanted.plain()
    if by_parts and uses_parts(face, wanted.size_bytes):
        href, header = multipart_header(face, call.base_url, repo, wanted.oid, wanted.size_bytes)
    else:
        path = storage_path("/lfs-storage", repo, wanted.oid)
        href = call.base_url + signed_path(face, path, {"size": str(wanted.size_bytes)})
        header = {}
    prefix = "datasets/" if repo.kind == "dataset" else ""
    return {
        **wanted.plain(),
        "authenticated": True,
        "actions": {
            "upload": {"href": href, "header": header},
            "verify": {
                "href": f"{call.base_url}/{prefix}{repo.id}.git/info/lfs/verify",
                "header": {},
            },
        },
    }


def _download(face: HubFace, call: Call, repo: Repo, wanted: _Wanted) -> dict[str, Any]:
    if stored_size(face, repo, wanted.oid) != wanted.size_bytes:
        raise HubError(404, "Object does not exist")
    href = delivery_url(face, call.base_url, repo, wanted.oid)
    return {
        **wanted.plain(),
        "authenticated": True,
        "actions": {"download": {"href": href, "header": {}}},
    }


def _refusal(given: Any, error: HubError) -> dict[str, Any]:
    """What is wrong with one object; the others are answered all the same."""
    value = given if isinstance(given, dict) else {}
    size = value.get("size")
    return {
        "oid": str(value.get("oid", "")),
        "size": size if isinstance(size, int) and size > 0 else 0,
        "error": {"code": error.status, "message": error.message},
    }


def _is_in_parts(answer: dict[str, Any]) -> bool:
    return "chunk_size" in answer.get("actions", {}).get("upload", {}).get("header", {})


def _oid_and_size(value: Any) -> _Wanted:
    oid, size = (value.get("oid"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(oid, str) or not _SHA256.fullmatch(oid):
        raise HubError(422, "oid must be a SHA-256 of 64 hex digits")
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        raise HubError(422, "size must be a positive number of bytes")
    return _Wanted(oid, size)
