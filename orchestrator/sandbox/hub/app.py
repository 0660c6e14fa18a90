"""The Hugging Face Hub as a local server: models and datasets, over the wire of its own client.

Speaks what `huggingface_hub` says with `HF_HUB_DISABLE_XET=1`. What it does not serve (spaces, pull
requests, gated repositories, Xet, LFS in several parts) is refused with 501 or absent, never faked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.sandbox.hub import admin, commit, lfs, reads
from orchestrator.sandbox.hub.access import KINDS, Call, Handler, HubFace, endpoint
from orchestrator.sandbox.hub.wire import (
    Account,
    EncodedPaths,
    HubError,
    TokenScope,
    error_reply,
    repo_missing,
)

__all__ = ["Account", "TokenScope", "hub_app"]

#: Method, path below `/api/models/{ns}/{repo}`, handler.
_REPO_API: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "", reads.info),
    ("GET", "/revision/{rev}", reads.info),
    ("GET", "/tree/{rev}", reads.tree),
    ("GET", "/tree/{rev}/{path:path}", reads.tree),
    ("POST", "/paths-info/{rev}", reads.paths_info),
    ("GET", "/commits/{rev}", reads.commits),
    ("GET", "/refs", reads.refs),
    ("POST", "/preupload/{rev}", commit.preupload),
    ("POST", "/commit/{rev}", commit.commit),
    ("POST", "/tag/{rev}", admin.create_tag),
    ("DELETE", "/tag/{rev}", admin.delete_tag),
    ("POST", "/branch/{rev}", admin.create_branch),
    ("DELETE", "/branch/{rev}", admin.delete_branch),
    ("PUT", "/settings", admin.settings),
    ("GET", "/auth-check", admin.check_access),
    ("GET", "/auth-check/write", admin.check_write_access),
)
#: The same, below the address of the repository itself.
_REPO_PAGES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/resolve/{rev}/{path:path}", reads.resolve),
    ("POST", ".git/info/lfs/objects/batch", lfs.batch),
    ("POST", ".git/info/lfs/verify", lfs.verify),
)


def hub_app(root: Path, accounts: Mapping[str, Account], clock: Clock = SYSTEM_CLOCK) -> Starlette:
    """The Hub, with its state under `root` and an account for each bearer token.

    `app.state.requests` lists what was asked for, as (method, path).
    """
    root.mkdir(parents=True, exist_ok=True)
    face = HubFace(root, accounts, clock)

    async def receive(request: Request) -> Response:
        return await lfs.receive(face, request)

    def route(method: str, path: str, handler: Handler, kind: str = "model") -> Route:
        return Route(path, endpoint(face, handler, kind), methods=[method])

    routes = [
        route("GET", "/api/whoami-v2", admin.whoami),
        route("POST", "/api/validate-yaml", commit.validate_yaml),
        route("POST", "/api/repos/create", admin.create),
        route("DELETE", "/api/repos/delete", admin.delete),
        Route(lfs.STORAGE_PATH, receive, methods=["PUT"]),
    ]
    for kind, folder in KINDS.items():
        api, pages = f"/api/{folder}", "" if kind == "model" else f"/{folder}"
        routes.append(route("GET", api, reads.all_of, kind))
        for method, path, handler in _REPO_API:
            routes.append(route(method, api + "/{ns}/{repo}" + path, handler, kind))
        for method, path, handler in _REPO_PAGES:
            routes.append(route(method, pages + "/{ns}/{repo}" + path, handler, kind))
        # Names without a namespace are the Hub's oldest models: clients ask for them, and read
        # from the error's code that there is no such thing here.
        routes.append(route("GET", api + "/{rest:path}", _no_repo, kind))
    routes.append(route("GET", "/{repo}/resolve/{rest:path}", _no_repo))
    requests: list[tuple[str, str]] = []
    app = Starlette(
        routes=routes,
        middleware=[Middleware(EncodedPaths, requests=requests)],
        exception_handlers={404: _no_page, 405: _no_page},
    )
    app.router.redirect_slashes = False
    app.state.requests = requests
    return app


def _no_repo(_face: HubFace, _call: Call) -> Response:
    raise repo_missing()


def _no_page(_request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return error_reply(HubError(status, "Sorry, we can't find the page you are looking for."))
