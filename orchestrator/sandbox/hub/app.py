"""The Hugging Face Hub as a local server: models, datasets and collections, as its client asks.

Speaks what `huggingface_hub` says with `HF_HUB_DISABLE_XET=1`. What it does not serve (spaces,
kernels, Xet) is refused with 501 or absent, never faked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.sandbox.hub import (
    admin,
    collections,
    commit,
    descriptions,
    downloads,
    gating,
    lfs,
    lfs_parts,
    lists,
    moves,
    preupload,
    pulls,
    reads,
    references,
    sizes,
    threads,
)
from orchestrator.sandbox.hub.access import KINDS, Call, Handler, HubFace, endpoint
from orchestrator.sandbox.hub.ratelimit import RateLimiter, RateLimits, RequestCounts, RequestIds
from orchestrator.sandbox.hub.transfers import Transfers
from orchestrator.sandbox.hub.wire import (
    Account,
    EncodedPaths,
    HubError,
    TokenScope,
    error_reply,
    repo_missing,
)

__all__ = ["Account", "RateLimits", "TokenScope", "hub_app"]

#: Method, path below `/api/models/{ns}/{repo}`, handler.
_REPO_API: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "", descriptions.info),
    ("GET", "/revision/{rev}", descriptions.info),
    ("GET", "/tree/{rev}", reads.tree),
    ("GET", "/tree/{rev}/{path:path}", reads.tree),
    ("POST", "/paths-info/{rev}", reads.paths_info),
    ("GET", "/treesize/{rev}", sizes.tree_size),
    ("GET", "/treesize/{rev}/{path:path}", sizes.tree_size),
    ("GET", "/lfs-files", sizes.lfs_files),
    ("GET", "/commits/{rev}", reads.commits),
    ("GET", "/refs", reads.refs),
    ("POST", "/preupload/{rev}", preupload.preupload),
    ("POST", "/commit/{rev}", commit.commit),
    ("POST", "/tag/{rev}", references.create_tag),
    ("DELETE", "/tag/{rev}", references.delete_tag),
    ("POST", "/branch/{rev}", references.create_branch),
    ("DELETE", "/branch/{rev}", references.delete_branch),
    ("POST", "/super-squash/{rev}", references.super_squash),
    ("POST", "/duplicate", moves.duplicate),
    ("PUT", "/settings", admin.settings),
    ("GET", "/auth-check", admin.check_access),
    ("GET", "/auth-check/write", admin.check_write_access),
    ("GET", "/discussions", threads.listing),
    ("POST", "/discussions", threads.create),
    ("GET", "/discussions/{num}", threads.details),
    ("DELETE", "/discussions/{num}", threads.delete),
    ("POST", "/discussions/{num}/comment", threads.comment),
    ("POST", "/discussions/{num}/comment/{comment}/edit", threads.edit),
    ("POST", "/discussions/{num}/comment/{comment}/hide", threads.hide),
    ("POST", "/discussions/{num}/title", threads.rename),
    ("POST", "/discussions/{num}/status", threads.change_status),
    ("POST", "/discussions/{num}/pin", threads.pin),
    ("POST", "/discussions/{num}/merge", pulls.merge),
    ("POST", "/user-access-request/cancel", gating.cancel_own),
    ("POST", "/user-access-request/handle", gating.handle),
    ("POST", "/user-access-request/batch", gating.batch),
    ("POST", "/user-access-request/grant", gating.grant),
    ("GET", "/user-access-request/{status}", gating.listing),
)
#: The same, below `/api/collections`.
_COLLECTION_API: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "", collections.listing),
    ("POST", "", collections.create),
    ("GET", "/{ns}/{slug}", collections.details),
    ("PATCH", "/{ns}/{slug}", collections.change),
    ("DELETE", "/{ns}/{slug}", collections.delete),
    ("POST", "/{ns}/{slug}/items", collections.add_item),
    ("PATCH", "/{ns}/{slug}/items/{item}", collections.change_item),
    ("DELETE", "/{ns}/{slug}/items/{item}", collections.delete_item),
)
#: The same, below the address of the repository itself.
_REPO_PAGES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/resolve/{rev}/{path:path}", downloads.resolve),
    ("POST", ".git/info/lfs/objects/batch", lfs.batch),
    ("POST", ".git/info/lfs/verify", lfs.verify),
    ("POST", "/ask-access", gating.ask),
)


def hub_app(
    root: Path,
    accounts: Mapping[str, Account],
    clock: Clock = SYSTEM_CLOCK,
    *,
    transfers: Transfers = Transfers(),  # noqa: B008 (frozen)
    limits: RateLimits = RateLimits(),  # noqa: B008 (frozen)
    more: Callable[[HubFace], Sequence[Route]] = lambda _: (),
) -> Starlette:
    """The Hub, with its state under `root` and an account for each bearer token.

    `transfers` says which LFS files travel in parts, `limits` how many requests are taken.
    `app.state.requests` lists what was asked for, as (method, path). `more` gives the routes of
    what is served at the same address to the same accounts.
    """
    root.mkdir(parents=True, exist_ok=True)
    face = HubFace(root, accounts, clock, transfers)

    async def receive(request: Request) -> Response:
        return await lfs.receive(face, request)

    async def receive_part(request: Request) -> Response:
        return await lfs_parts.receive_part(face, request)

    async def complete(request: Request) -> Response:
        return await lfs_parts.complete(face, request)

    async def deliver(request: Request) -> Response:
        return await run_in_threadpool(downloads.deliver, face, request)

    def route(method: str, path: str, handler: Handler, kind: str = "model") -> Route:
        return Route(path, endpoint(face, handler, kind), methods=[method])

    routes = [
        *more(face),
        route("GET", "/api/whoami-v2", admin.whoami),
        route("POST", "/api/validate-yaml", commit.validate_yaml),
        route("POST", "/api/repos/create", admin.create),
        route("DELETE", "/api/repos/delete", admin.delete),
        route("POST", "/api/repos/move", moves.move),
        *(route(way, f"/api/collections{path}", handler) for way, path, handler in _COLLECTION_API),
        Route(lfs.STORAGE_PATH, receive, methods=["PUT"]),
        Route(lfs_parts.PART_PATH, receive_part, methods=["PUT"]),
        Route(lfs_parts.COMPLETE_PATH, complete, methods=["POST"]),
        Route(downloads.CDN_PATH, deliver, methods=["GET"]),
    ]
    for kind, folder in KINDS.items():
        api, pages = f"/api/{folder}", "" if kind == "model" else f"/{folder}"
        routes.append(route("GET", api, lists.all_of, kind))
        cached = f"/api/resolve-cache/{folder}/{{ns}}/{{repo}}/{{rev}}/{{path:path}}"
        routes.append(route("GET", cached, downloads.resolve_cache, kind))
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
        middleware=[
            Middleware(RequestIds, clock=clock),
            Middleware(EncodedPaths, requests=requests),
            Middleware(RateLimiter, counts=RequestCounts(limits, clock), accounts=face.accounts),
        ],
        exception_handlers={404: _no_page, 405: _no_page, ClientDisconnect: _hung_up},
    )
    app.router.redirect_slashes = False
    app.state.requests = requests
    return app


def _no_repo(_face: HubFace, call: Call) -> Response:
    raise repo_missing(call.account)


def _hung_up(_request: Request, _error: Exception) -> Response:
    """The answer that nobody hears, because the client left in the middle of its request."""
    return Response(status_code=400)


def _no_page(_request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return error_reply(HubError(status, "Sorry, we can't find the page you are looking for."))
