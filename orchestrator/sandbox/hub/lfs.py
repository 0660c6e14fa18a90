"""LFS: where to send large files, receiving them at signed addresses, and checking them."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.repos import Repo
from orchestrator.sandbox.hub.wire import HubError, error_reply

STORAGE_PATH = "/lfs-storage/{kind}/{ns}/{repo}/{oid}"
_MEDIA_TYPE = "application/vnd.git-lfs+json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ADDRESS_LIFE_S = 6 * 3600


def batch(face: HubFace, call: Call) -> Response:
    """POST `.git/info/lfs/objects/batch`: an address for each object that is not here yet."""
    if call.json().get("operation") != "upload":
        # Downloads go through `resolve`; nobody asks for the other operation over this wire.
        raise HubError(501, "Only the upload operation of LFS is served")
    repo = face.writable(call)
    objects = call.json().get("objects")
    if not isinstance(objects, list):
        raise HubError(422, "objects must be an array")
    answer = {
        "transfer": "basic",
        "objects": [_instructions(face, call, repo, one) for one in objects],
    }
    return JSONResponse(answer, media_type=_MEDIA_TYPE)


def verify(face: HubFace, call: Call) -> Response:
    """POST `.git/info/lfs/verify`: whether an object has arrived."""
    repo = face.writable(call)
    oid, size_bytes = _oid_and_size(call.json())
    if stored_size(face, repo, oid) != size_bytes:
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
    draft = face.repos.draft()
    try:
        repo, oid, size_bytes = _signed(face, request)
        await _write(request, draft, oid, size_bytes)
        draft.replace(face.repos.lfs_path(repo, oid))
    except HubError as error:
        return error_reply(error)
    finally:
        draft.unlink(missing_ok=True)
    return Response(headers={"ETag": f'"{oid}"'})


def _signed(face: HubFace, request: Request) -> tuple[Repo, str, int]:
    """What a signed address allows to be stored, and where."""
    params, query = request.path_params, request.query_params
    repo_id = f"{params['ns']}/{params['repo']}"
    oid, size, expires = params["oid"], query.get("size", ""), query.get("expires", "")
    signature = _signature(face, params["kind"], repo_id, oid, size, expires)
    if not hmac.compare_digest(signature.encode(), query.get("signature", "").encode()):
        raise HubError(403, "The signature does not match")
    if int(expires) < face.clock.now().timestamp():
        raise HubError(403, "Request has expired")
    repo = face.repos.get(params["kind"], repo_id)
    if repo is None:
        raise HubError(404, "The repository was deleted meanwhile")
    return repo, oid, int(size)


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


def _instructions(face: HubFace, call: Call, repo: Repo, wanted: Any) -> dict[str, Any]:
    try:
        oid, size_bytes = _oid_and_size(wanted)
    except HubError as error:
        given = wanted if isinstance(wanted, dict) else {}
        return {
            "oid": str(given.get("oid", "")),
            "size": 0,
            "error": {"code": error.status, "message": error.message},
        }
    plain: dict[str, Any] = {"oid": oid, "size": size_bytes}
    if stored_size(face, repo, oid) == size_bytes:
        return plain
    expires = str(int(face.clock.now().timestamp()) + _ADDRESS_LIFE_S)
    query = {
        "size": size_bytes,
        "expires": expires,
        "signature": _signature(face, repo.kind, repo.id, oid, str(size_bytes), expires),
    }
    prefix = "datasets/" if repo.kind == "dataset" else ""
    upload = f"{call.base_url}/lfs-storage/{repo.kind}/{repo.id}/{oid}?{urlencode(query)}"
    return {
        **plain,
        "authenticated": True,
        "actions": {
            "upload": {"href": upload, "header": {}},
            "verify": {
                "href": f"{call.base_url}/{prefix}{repo.id}.git/info/lfs/verify",
                "header": {},
            },
        },
    }


def _oid_and_size(value: Any) -> tuple[str, int]:
    oid, size = (value.get("oid"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(oid, str) or not _SHA256.fullmatch(oid):
        raise HubError(422, "oid must be a SHA-256 of 64 hex digits")
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        raise HubError(422, "size must be a positive number of bytes")
    return oid, size


def _signature(face: HubFace, *parts: str) -> str:
    text = "\n".join(parts).encode()
    return hmac.new(face.signing_key, text, hashlib.sha256).hexdigest()
