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
from orchestrator.sandbox import hub_admin, hub_commit, hub_lfs, hub_reads
from orchestrator.sandbox.hub_access import KINDS, Call, Handler, HubFace, endpoint
from orchestrator.sandbox.hub_wire import (
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
    ("GET", "", hub_reads.info),
    ("GET", "/revision/{rev}", hub_reads.info),
    ("GET", "/tree/{rev}", hub_reads.tree),
    ("GET", "/tree/{rev}/{path:path}", hub_reads.tree),
    ("POST", "/paths-info/{rev}", hub_reads.paths_info),
    ("GET", "/commits/{rev}", hub_reads.commits),
    ("GET", "/refs", hub_reads.refs),
    ("POST", "/preupload/{rev}", hub_commit.preupload),
    ("POST", "/commit/{rev}", hub_commit.commit),
    ("POST", "/tag/{rev}", hub_admin.create_tag),
    ("DELETE", "/tag/{rev}", hub_admin.delete_tag),
    ("POST", "/branch/{rev}", hub_admin.create_branch),
    ("DELETE", "/branch/{rev}", hub_admin.delete_branch),
    ("PUT", "/settings", hub_admin.settings),
    ("GET", "/auth-check", hub_admin.check_access),
    ("GET", "/auth-check/write", hub_admin.check_write_access),
)
#: The same, below the address of the repository itself.
_REPO_PAGES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/resolve/{rev}/{path:path}", hub_reads.resolve),
    ("POST", ".git/info/lfs/objects/batch", hub_lfs.batch),
    ("POST", ".git/info/lfs/verify", hub_lfs.verify),
)


def hub_app(root: Path, accounts: Mapping[str, Account], clock: Clock = SYSTEM_CLOCK) -> Starlette:
    """The Hub, with its state under `root` and an account for each bearer token.

    `app.state.requests` lists what was asked for, as (method, path).
    """
    root.mkdir(parents=True, exist_ok=True)
    face = HubFace(root, accounts, clock)

    async def receive(request: Request) -> Response:
        return await hub_lfs.receive(face, request)

    def route(method: str, path: str, handler: Handler, kind: str = "model") -> Route:
        return Route(path, endpoint(face, handler, kind), methods=[method])

    routes = [
        route("GET", "/api/whoami-v2", hub_admin.whoami),
        route("POST", "/api/validate-yaml", hub_commit.validate_yaml),
        route("POST", "/api/repos/create", hub_admin.create),
        route("DELETE", "/api/repos/delete", hub_admin.delete),
        Route(hub_lfs.STORAGE_PATH, receive, methods=["PUT"]),
    ]
    for kind, folder in KINDS.items():
        api, pages = f"/api/{folder}", "" if kind == "model" else f"/{folder}"
        routes.append(route("GET", api, hub_reads.all_of, kind))
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
