"""Addresses that are keys themselves: signed, for one purpose, and good until a moment."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.repos import Repo
from orchestrator.sandbox.hub.wire import HubError

#: For how long an address for bytes is good.
ADDRESS_LIFE_S = 6 * 3600


def signed_path(
    face: HubFace, path: str, query: Mapping[str, str], life_s: float = ADDRESS_LIFE_S
) -> str:
    """A path with its query, signed as a whole."""
    expires = str(int(face.clock.now().timestamp() + life_s))
    signature = _signature(face, path, {**query, "expires": expires})
    return f"{path}?{urlencode({**query, 'expires': expires, 'signature': signature})}"


def check_signed(face: HubFace, path: str, query: Mapping[str, str]) -> None:
    """Refuse a request whose path and query were not signed so, or too long ago."""
    given = {name: value for name, value in query.items() if name != "signature"}
    signature = _signature(face, path, given).encode()
    if not hmac.compare_digest(signature, query.get("signature", "").encode()):
        raise HubError(403, "The signature does not match")
    if int(given["expires"]) < face.clock.now().timestamp():
        raise HubError(403, "Request has expired")


def storage_path(folder: str, repo: Repo, *names: str) -> str:
    """The path of something that belongs to a repository, below `folder`."""
    return "/".join([folder, repo.kind, repo.id, *(quote(name, safe="") for name in names)])


def need_repo(face: HubFace, params: Mapping[str, str]) -> Repo:
    """The repository that a signed path names; it may be gone by now."""
    kind, repo_id = params["kind"], f"{params['ns']}/{params['repo']}"
    repo = face.repos.get(kind, repo_id) or face.repos.moved(kind, repo_id)
    if repo is None:
        raise repo_gone()
    return repo


def repo_gone() -> HubError:
    """The answer at an address whose repository is no longer there."""
    return HubError(404, "The repository was deleted meanwhile")


def _signature(face: HubFace, path: str, query: Mapping[str, str]) -> str:
    text = f"{path}?{urlencode(sorted(query.items()))}".encode()
    return hmac.new(face.signing_key, text, hashlib.sha256).hexdigest()
