"""What a client asks before it commits: which way each file goes, and what is there already."""

from __future__ import annotations

import base64
from typing import Any

from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.commit import checked_path
from orchestrator.sandbox.hub.git import goes_to_lfs
from orchestrator.sandbox.hub.patterns import ignored
from orchestrator.sandbox.hub.pulls import committable
from orchestrator.sandbox.hub.repos import Commit, Repo
from orchestrator.sandbox.hub.wire import HubError

_MOST_FILES = 1000


def preupload(face: HubFace, call: Call) -> Response:
    """POST `preupload/{rev}`: for each file the mode, whether git ignores it, and its id if here.

    A pull request may come from who cannot write (`create_pr`).
    """
    revision = call.params["rev"]
    repo = committable(face, call, None if call.flag("create_pr") else revision)
    head = face.repos.resolve(repo, revision)
    body = call.json()
    files = body.get("files")
    if not isinstance(files, list) or len(files) > _MOST_FILES:
        raise HubError(422, f'"files" must be an array of at most {_MOST_FILES}')
    attributes = _given_or_kept(face, repo, head, body.get("gitAttributes"), ".gitattributes")
    ignore = _given_or_kept(face, repo, head, body.get("gitIgnore"), ".gitignore")
    answers = []
    for file in files:
        path, size_bytes, sample = _announced(file)
        entry = head.files.get(path)
        large = goes_to_lfs(path, size_bytes, sample, attributes)
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": ignored(path, ignore),
                **({"oid": entry.sha256 or entry.oid} if entry else {}),
            }
        )
    return JSONResponse({"files": answers, "commitOid": head.oid})


def _given_or_kept(face: HubFace, repo: Repo, head: Commit, given: Any, path: str) -> str:
    """The text of a file that the client is about to send, or else the one in the revision."""
    if isinstance(given, str):
        return given
    entry = head.files.get(path)
    return face.repos.content(repo, entry).read_text("utf-8", "replace") if entry else ""


def _announced(file: Any) -> tuple[str, int, bytes]:
    try:
        path, size = checked_path(file), file["size"]
        sample = base64.b64decode(file["sample"], validate=True)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise HubError(422, "Each file needs a path, a size and a base64 sample") from error
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise HubError(422, "size must be a number of bytes")
    return path, size, sample
