"""LFS in parts: a signed address for each part, and one that puts them together.

Parts rest in a folder of the repository, so an upload goes on after a restart. The folder's name
starts with the moment at which its addresses expire; what is older is removed when the next
upload begins.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.repos import Repo
from orchestrator.sandbox.hub.signing import (
    ADDRESS_LIFE_S,
    check_signed,
    need_repo,
    repo_gone,
    signed_path,
    storage_path,
)
from orchestrator.sandbox.hub.wire import HubError, error_reply

PART_PATH = "/lfs-parts/{kind}/{ns}/{repo}/{oid}/{upload}/{number}"
COMPLETE_PATH = "/api/complete_multipart/{kind}/{ns}/{repo}/{oid}/{upload}"
_MOST_PARTS = 10_000
_BLOCK_BYTES = 1 << 20


def uses_parts(face: HubFace, size_bytes: int) -> bool:
    """Whether a file of this size travels in parts."""
    return size_bytes >= face.transfers.multipart_from_bytes


def multipart_header(
    face: HubFace, base_url: str, repo: Repo, oid: str, size_bytes: int
) -> tuple[str, dict[str, str]]:
    """Begin an upload: where to complete it, and the header with the size and address of parts."""
    upload = f"{int(face.clock.now().timestamp() + ADDRESS_LIFE_S)}-{secrets.token_hex(16)}"
    _forget_expired(face, repo)
    _folder(face, repo, upload).mkdir(parents=True)
    part_bytes = max(face.transfers.part_bytes, -(-size_bytes // _MOST_PARTS))
    count = -(-size_bytes // part_bytes)
    header = {"chunk_size": str(part_bytes)}
    for number in range(1, count + 1):
        length = min(part_bytes, size_bytes - (number - 1) * part_bytes)
        path = storage_path("/lfs-parts", repo, oid, upload, str(number))
        header[f"{number:05d}"] = base_url + signed_path(face, path, {"size": str(length)})
    path = storage_path("/api/complete_multipart", repo, oid, upload)
    query = {"size": str(size_bytes), "parts": str(count)}
    return base_url + signed_path(face, path, query), header


async def receive_part(face: HubFace, request: Request) -> Response:
    """PUT a part to its signed address; one that is sent again replaces the first."""
    params, draft = request.path_params, face.repos.draft()
    try:
        check_signed(face, request.url.path, dict(request.query_params))
        folder = _need_folder(face, need_repo(face, params), params["upload"])
        etag = await _write_part(request, draft, int(request.query_params["size"]))
        draft.replace(folder / params["number"])
    except HubError as error:
        return error_reply(error)
    except FileNotFoundError:
        return error_reply(repo_gone())
    finally:
        draft.unlink(missing_ok=True)
    return Response(headers={"ETag": f'"{etag}"'})


async def complete(face: HubFace, request: Request) -> Response:
    """POST the parts' ETags: makes them one object, if together they are what was announced."""
    try:
        check_signed(face, request.url.path, dict(request.query_params))
        body = await request.body()
        await run_in_threadpool(
            _join, face, request.path_params, dict(request.query_params), _etags(body)
        )
    except HubError as error:
        return error_reply(error)
    except FileNotFoundError:
        return error_reply(repo_gone())
    return JSONResponse({})


async def _write_part(request: Request, draft: Path, size_bytes: int) -> str:
    digest, received = hashlib.md5(usedforsecurity=False), 0
    with draft.open("xb") as file:
        async for block in request.stream():
            received += len(block)
            if received > size_bytes:
                break
            digest.update(block)
            file.write(block)
    if received != size_bytes:
        raise HubError(400, f"Expected {size_bytes} bytes in this part")
    return digest.hexdigest()


def _join(
    face: HubFace, params: Mapping[str, str], query: Mapping[str, str], etags: dict[int, str]
) -> None:
    repo, oid = need_repo(face, params), params["oid"]
    target, size_bytes = face.repos.lfs_path(repo, oid), int(query["size"])
    if target.is_file():  # asked again, because the first answer was lost
        return
    folder, draft = _need_folder(face, repo, params["upload"]), face.repos.draft()
    digest, written = hashlib.sha256(), 0
    try:
        with draft.open("xb") as file:
            for number in range(1, int(query["parts"]) + 1):
                part = hashlib.md5(usedforsecurity=False)
                for block in _blocks(folder / str(number)):
                    part.update(block)
                    digest.update(block)
                    written += file.write(block)
                if etags.get(number) != part.hexdigest():
                    raise HubError(400, f"Part {number} has another ETag")
        if written != size_bytes or digest.hexdigest() != oid:
            raise HubError(400, "The parts are not the content whose SHA-256 was announced")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _blocks(part: Path) -> Iterator[bytes]:
    try:
        with part.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except FileNotFoundError:
        raise HubError(400, f"Part {part.name} was not uploaded") from None


def _etags(body: bytes) -> dict[int, str]:
    """The ETag of each part, by number, in a completing request."""
    try:
        parts = orjson.loads(body)["parts"]
        return {int(one["partNumber"]): str(one["etag"]).strip('"') for one in parts}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise HubError(400, "parts must be an array of partNumber and etag") from error


def _folder(face: HubFace, repo: Repo, upload: str) -> Path:
    return face.repos.parts_path(repo, upload)


def _need_folder(face: HubFace, repo: Repo, upload: str) -> Path:
    folder = _folder(face, repo, upload)
    if not folder.is_dir():
        raise HubError(404, "The upload was completed or has expired")
    return folder


def _forget_expired(face: HubFace, repo: Repo) -> None:
    now = face.clock.now().timestamp()
    for folder in _folder(face, repo, "any").parent.glob("*-*"):
        if int(folder.name.split("-")[0]) < now:
            shutil.rmtree(folder, ignore_errors=True)
