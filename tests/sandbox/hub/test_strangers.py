"""Every route of the Hub face, asked by everybody: who sees, who changes, who learns nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import Route

from orchestrator.sandbox.hub.app import RateLimits
from tests.sandbox.hub.stage import ACCOUNTS, WEIGHTS, Stage

ENOUGH = RateLimits(10**6, 10**6, 10**6, 10**6)
#: Nobody of these has to do with the organisation `lab`; the last ones have a token that may more.
STRANGERS = (None, "hf_bob", "hf_narrow", "hf_talker", "hf_opener")
READER, WRITER, ADMIN = "hf_reader", "hf_alice", "hf_boss"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
OBJECT = {"oid": SHA256, "size": len(WEIGHTS)}
NEW_OBJECT = {"oid": "1" * 64, "size": 5}
HEADER = {"key": "header", "value": {"summary": "change"}}


@dataclass(frozen=True)
class Ask:
    """A request that succeeds for `WRITER`, and what it needs of who sends it.

    `read`: to see the repository; `contents`: to be let through its gate, too; `account`: any
    account that sees it; `discuss`: one that may write discussions; `own`: the author's; `copy`:
    like contents, and a token that writes in the namespace of who asks; `write`.
    """

    needs: str
    body: Any = None
    params: tuple[tuple[str, str], ...] = ()
    query: str = ""


def rev(name: str) -> tuple[tuple[str, str], ...]:
    return (("rev", name),)


def batch(operation: str, wanted: dict[str, Any]) -> dict[str, Any]:
    ref = {"ref": {"name": "main"}} if operation == "upload" else {}
    return {"operation": operation, "objects": [wanted], **ref}


FILES = {"files": [{"path": "new.txt", "size": 1, "sample": base64.b64encode(b"x").decode()}]}
#: Method and route below the repository, with one request or more for each.
ASKED: dict[str, tuple[Ask, ...]] = {
    "GET api": (Ask("read"),),
    "GET api/revision/{rev}": (Ask("read"), Ask("read", params=rev("refs%2Fpr%2F2"))),
    "GET api/tree/{rev}": (Ask("read"), Ask("read", params=rev("refs%2Fpr%2F2"))),
    "GET api/tree/{rev}/{path:path}": (Ask("read", params=(("path", "d"),)),),
    "POST api/paths-info/{rev}": (Ask("read", {"paths": ["secret.txt"], "expand": False}),),
    "GET api/treesize/{rev}": (Ask("read"),),
    "GET api/treesize/{rev}/{path:path}": (Ask("read", params=(("path", "d"),)),),
    "GET api/lfs-files": (Ask("write"),),
    "GET api/commits/{rev}": (Ask("read"), Ask("read", params=rev("refs%2Fpr%2F2"))),
    "GET api/refs": (Ask("read", query="?include_prs=1"),),
    "POST api/preupload/{rev}": (Ask("write", FILES), Ask("write", FILES, rev("refs%2Fpr%2F2"))),
    "POST api/commit/{rev}": (Ask("write", HEADER), Ask("write", HEADER, rev("refs%2Fpr%2F2"))),
    "POST api/tag/{rev}": (Ask("write", {"tag": "new"}),),
    "DELETE api/tag/{rev}": (Ask("write", params=rev("v1")),),
    "POST api/branch/{rev}": (Ask("write", {}, rev("new")),),
    "DELETE api/branch/{rev}": (Ask("write", params=rev("side")),),
    "POST api/super-squash/{rev}": (Ask("write", {}),),
    "POST api/duplicate": (Ask("copy", {"repository": "OWN/copy"}),),
    "PUT api/settings": (Ask("write", {"discussionsSorting": "trending"}),),
    "GET api/auth-check": (Ask("contents"),),
    "GET api/auth-check/write": (Ask("write"),),
    "GET api/discussions": (Ask("read"),),
    "POST api/discussions": (Ask("discuss", {"title": "title", "description": "d"}),),
    "GET api/discussions/{num}": (Ask("read"), Ask("contents", query="?diff=1")),
    "DELETE api/discussions/{num}": (Ask("write"),),
    "POST api/discussions/{num}/comment": (Ask("discuss", {"comment": "c"}),),
    "POST api/discussions/{num}/comment/{comment}/edit": (Ask("own", {"content": "c"}),),
    "POST api/discussions/{num}/comment/{comment}/hide": (Ask("own", {}),),
    "POST api/discussions/{num}/title": (Ask("own", {"title": "title"}),),
    "POST api/discussions/{num}/status": (Ask("own", {"status": "closed"}),),
    "POST api/discussions/{num}/pin": (Ask("write", {"pinned": True}),),
    "POST api/discussions/{num}/merge": (Ask("write", {}),),
    "POST api/user-access-request/cancel": (Ask("account", {}),),
    "POST api/user-access-request/handle": (Ask("write", {"user": "alice", "status": "accepted"}),),
    "POST api/user-access-request/batch": (
        Ask("write", {"requests": [{"user": "alice"}], "status": "accepted"}),
    ),
    "POST api/user-access-request/grant": (Ask("write", {"user": "bob"}),),
    "GET api/user-access-request/{status}": (Ask("write", params=(("status", "pending"),)),),
    "GET page/resolve/{rev}/{path:path}": tuple(
        Ask("contents", params=(*rev(name), ("path", path)))
        for name in ("main", "refs%2Fpr%2F2", "v1")
        for path in ("secret.txt", "w.bin")
    ),
    "GET cache/{rev}/{path:path}": tuple(
        Ask("contents", params=(("path", path),)) for path in ("secret.txt", "w.bin")
    ),
    "POST page.git/info/lfs/objects/batch": (
        Ask("contents", batch("download", OBJECT)),
        Ask("write", batch("upload", NEW_OBJECT)),
    ),
    "POST page.git/info/lfs/verify": (Ask("account", OBJECT),),
    "POST page/ask-access": (Ask("account", {}),),
    "DELETE /api/repos/delete": (Ask("write", {"name": "ID", "type": "KIND"}),),
    "POST /api/repos/move": (
        Ask("write", {"fromRepo": "ID", "toRepo": "lab/elsewhere", "type": "KIND"}),
    ),
    "POST /api/repos/create": (Ask("write", {"name": "ID", "type": "KIND"}),),
    # Only a signature opens these.
    "GET /cdn-lfs/{kind}/{ns}/{repo}/{oid}": (Ask("signature"),),
    "PUT /lfs-storage/{kind}/{ns}/{repo}/{oid}": (Ask("signature", {}),),
    "PUT /lfs-parts/{kind}/{ns}/{repo}/{oid}/{upload}/{number}": (Ask("signature", {}),),
    "POST /api/complete_multipart/{kind}/{ns}/{repo}/{oid}/{upload}": (Ask("signature", {}),),
}
#: Routes that name no repository.
GENERAL = {"GET /api/whoami-v2", "POST /api/validate-yaml", "GET /api/models", "GET /api/datasets"}


def route_name(method: str, path: str) -> str:
    """A route as `ASKED` has it: the same for models and datasets."""
    for folder in ("models", "datasets"):
        path = path.replace(f"/api/{folder}/{{ns}}/{{repo}}", "api")
        path = path.replace(f"/api/resolve-cache/{folder}/{{ns}}/{{repo}}", "cache")
    if path.startswith(("/datasets/{ns}/{repo}", "/{ns}/{repo}")):
        path = path.replace("/datasets/{ns}/{repo}", "page").replace("/{ns}/{repo}", "page")
    return f"{method} {path}"


def address(route: str, ask: Ask, kind: str, repo_id: str) -> str:
    """Where a request goes. Everything that is there for sure is named, where it need not be."""
    path = route.partition(" ")[2]
    pages = repo_id if kind == "model" else f"datasets/{repo_id}"
    starts = {"api": f"/api/{kind}s/{repo_id}", "page": f"/{pages}"}
    starts["cache"] = f"/api/resolve-cache/{kind}s/{repo_id}"
    for name, start in starts.items():
        if path.startswith(name):
            path = start + path.removeprefix(name)
    values = {"rev": "main", "num": "2", "comment": "COMMENT", "kind": kind, "oid": SHA256}
    values |= {"upload": "1-a", "number": "1", "ns": repo_id.split("/")[0]}
    values |= {"repo": repo_id.split("/")[1], **dict(ask.params)}
    return path.replace(":path", "").format(**values) + ask.query


@dataclass(frozen=True)
class Asker:
    """Sends the requests of the table to the Hub on the stage."""

    client: httpx2.Client
    comment_id: str

    def send(
        self, route: str, ask: Ask, token: str | None, kind: str = "model", repo: str = "lab/inner"
    ) -> httpx2.Response:
        own = ACCOUNTS[token].name if token else "nobody"
        body = json.dumps(ask.body).replace("ID", repo).replace("KIND", kind).replace("OWN", own)
        return self.client.request(
            route.partition(" ")[0],
            address(route, ask, kind, repo).replace("COMMENT", self.comment_id),
            content=None if ask.body is None else body,
            headers={
                "content-type": "application/json",
                **({"authorization": f"Bearer {token}"} if token else {}),
            },
        )


def _made(client: httpx2.Client, path: str, body: Any, method: str = "POST") -> Any:
    reply = client.request(method, path, json=body)
    assert reply.status_code in (200, 201), (path, reply.text)
    return reply.json()


def _fill(client: httpx2.Client, kind: str) -> str:
    """A repository with all that can be hidden; returns the id of a comment."""
    api = f"/api/{kind}s/lab/inner"
    page = "/lab/inner" if kind == "model" else "/datasets/lab/inner"
    _made(client, "/api/repos/create", {"name": "lab/inner", "type": kind, "private": True})
    _made(client, f"{api}/settings", {"gated": "manual", "orgMembersGated": False}, "PUT")
    sent = _made(client, f"{page}.git/info/lfs/objects/batch", batch("upload", OBJECT))
    href = sent["objects"][0]["actions"]["upload"]["href"]
    assert client.put(href, content=WEIGHTS).status_code == 200
    lines: list[Any] = [
        HEADER,
        {"key": "file", "value": {"path": "secret.txt", "content": "SECRET"}},
        {"key": "file", "value": {"path": "d/a.txt", "content": "SECRET"}},
        {"key": "lfsFile", "value": {"path": "w.bin", "algo": "sha256", **OBJECT}},
    ]
    _commit(client, f"{api}/commit/main", lines)
    for path, body in ((f"{api}/tag/main", {"tag": "v1"}), (f"{api}/branch/side", {})):
        assert client.post(path, json=body).status_code == 200
    _made(client, f"{api}/discussions", {"title": "SECRET", "description": "SECRET"})
    lines = [HEADER, {"key": "file", "value": {"path": "more.txt", "content": "SECRET"}}]
    _commit(client, f"{api}/commit/main?create_pr=1", lines)
    asked = client.post(f"{page}/ask-access", headers={"authorization": f"Bearer {WRITER}"})
    assert asked.status_code == 200
    said = _made(client, f"{api}/discussions/2/comment", {"comment": "SECRET"})
    comment_id: str = said["newMessage"]["id"]
    return comment_id


def _commit(client: httpx2.Client, path: str, lines: list[Any]) -> None:
    reply = client.post(path, content=b"\n".join(json.dumps(one).encode() for one in lines))
    assert reply.status_code == 200, reply.text


@dataclass(frozen=True)
class Template:
    """The state of a Hub with the repository as a model and as a dataset."""

    stage: Stage
    client: httpx2.Client
    root: Path
    comment_ids: dict[str, str]

    def open(self, root: Path, kind: str = "model") -> Asker:
        """Put a copy on the stage."""
        shutil.copytree(self.root, root)
        self.stage.open(root, limits=ENOUGH)
        return Asker(self.client, self.comment_ids[kind])


@pytest.fixture(scope="module")
def template(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    root = tmp_path_factory.mktemp("template") / "hub"
    stage.open(root, limits=ENOUGH)
    with httpx2.Client(base_url=stage.url) as client:
        with httpx2.Client(headers={"authorization": f"Bearer {WRITER}"}) as writer:
            writer.base_url = httpx2.URL(stage.url)
            ids = {kind: _fill(writer, kind) for kind in ("model", "dataset")}
        yield Template(stage, client, root, ids)


def told(reply: httpx2.Response, repo: str) -> tuple[Any, ...]:
    """What a reply tells, without the name that was asked for."""
    kept = ("x-error-code", "x-error-message", "location", "www-authenticate", "link")
    headers = {name: reply.headers.get(name) for name in kept}
    return reply.status_code, reply.text.replace(repo, "REPO"), headers


def test_the_table_has_every_route(stage: Stage, tmp_path: Path) -> None:
    stage.open(tmp_path / "hub")
    found = {
        route_name(method, one.path)
        for one in stage.app.routes
        if isinstance(one, Route) and not one.path.endswith("{rest:path}")
        # Collections are no repositories: test_collections.py asks for them in the same way.
        if not one.path.startswith("/api/collections")
        for method in (one.methods or set()) - {"HEAD"}
    }
    assert found == {*ASKED, *GENERAL}


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_to_strangers_a_private_repo_is_as_an_absent_one(
    template: Template, tmp_path: Path, kind: str
) -> None:
    asker = template.open(tmp_path / "hub", kind)
    before = asker.send("GET api", Ask("read", query="?blobs=1"), ADMIN, kind).json()
    for route, asks in ASKED.items():
        for ask in asks:
            for token in STRANGERS:
                hidden = asker.send(route, ask, token, kind)
                absent = asker.send(route, ask, token, kind, "lab/never")
                assert hidden.status_code in (401, 403, 404), (route, ask, token, hidden.text)
                assert told(hidden, "lab/inner") == told(absent, "lab/never"), (route, ask, token)
    after = asker.send("GET api", Ask("read", query="?blobs=1"), ADMIN, kind).json()
    assert after == before
    for token in STRANGERS:
        listed = asker.send(f"GET /api/{kind}s", Ask("read", query="?search=inner"), token)
        assert listed.json() == []


def expected(ask: Ask, token: str | None, visibility: str) -> set[int]:
    """The statuses with which a request of somebody is refused; empty if it is not."""
    if ask.needs == "signature":
        return {403}
    if visibility == "gated" and ask.needs in ("contents", "copy") and token in STRANGERS:
        return {403} if token else {401}
    if token is None:
        # 400: nobody can ask for access to what has no gate.
        refused = {400, 401} if ask.needs == "account" else {401}
        return set() if ask.needs in ("read", "contents") else refused
    by_needs = {
        "hf_bob": {"write": {403}, "own": {403}},
        READER: {one: {403} for one in ("write", "own", "discuss", "copy")},
    }
    return by_needs.get(token, {}).get(ask.needs, set())


@pytest.mark.parametrize("visibility", ["private", "public", "gated"])
def test_everybody_may_what_the_table_says(
    template: Template, tmp_path: Path, visibility: str
) -> None:
    settings = {"private": visibility == "private"}
    if visibility != "gated":
        settings["gated"] = False
    tokens = [READER, WRITER] if visibility == "private" else [None, "hf_bob", READER, WRITER]
    for number, (route, asks) in enumerate(ASKED.items()):
        for ask in asks:
            asker = template.open(tmp_path / f"hub{number}-{asks.index(ask)}")
            settled = asker.send("PUT api/settings", Ask("write", settings), ADMIN)
            assert settled.status_code == 200
            for token in tokens:
                reply = asker.send(route, ask, token)
                refused = expected(ask, token, visibility)
                about = (visibility, route, ask, token, reply.status_code, reply.text[:200])
                if refused:
                    assert reply.status_code in refused, about
                    assert "SECRET" not in reply.text, about
                else:
                    # 400, 404, 409: let in, but there was nothing to do, or it was done before.
                    assert reply.status_code in (200, 201, 302, 307, 400, 404, 409), about
                    assert "x-error-code" not in reply.headers, about
