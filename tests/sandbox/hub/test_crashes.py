"""The Hub face when its process is killed, and when a repository goes while it is in use."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.sandbox.hub.access import Call, HubFace, endpoint
from orchestrator.sandbox.hub.app import hub_app
from orchestrator.sandbox.hub.downloads import deliver, delivery_url
from tests.sandbox.hub.stage import ACCOUNTS, ALICE, WEIGHTS

HUB = "http://127.0.0.1:1"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
#: Sends the requests of `change` again and again, each time to a copy of the Hub in the first
#: folder, and in a process that kills itself before the first, second, ... file gets its name.
#: Prints how each process ended.
KILLED = """
import os, pathlib, shutil, signal, sys
from tests.sandbox.hub.test_crashes import change, hub

replace, calls = pathlib.Path.replace, 0

def counted(self, target):
    global calls
    calls += 1
    if calls == limit:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

template, ended, limit = pathlib.Path(sys.argv[1]), None, 0
while ended != 0 and limit < 100:
    limit += 1
    root = pathlib.Path(sys.argv[2], str(limit))
    shutil.copytree(template, root)
    child = os.fork()
    if child == 0:
        client = hub(root)
        pathlib.Path.replace = counted
        change(client)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(ended)
"""


def hub(root: Path) -> TestClient:
    """A client of a Hub in this process."""
    return TestClient(hub_app(root, ACCOUNTS), base_url=HUB, headers=ALICE)


def lines(*values: tuple[str, dict[str, object]]) -> bytes:
    return b"\n".join(json.dumps({"key": key, "value": value}).encode() for key, value in values)


def fill(client: TestClient) -> None:
    """A repository with one file."""
    assert client.post("/api/repos/create", json={"name": "one"}).status_code == 200
    body = lines(("header", {"summary": "s"}), ("file", {"path": "old.txt", "content": "old"}))
    assert client.post("/api/models/alice/one/commit/main", content=body).status_code == 200


def change(client: TestClient) -> None:
    """A commit with an LFS file, and a pull request that is merged."""
    wanted = {"oid": SHA256, "size": len(WEIGHTS)}
    sent = client.post(
        "/alice/one.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [wanted]},
    ).json()["objects"][0]
    if "actions" in sent:  # or it was sent before
        href = sent["actions"]["upload"]["href"]
        assert client.put(href, content=WEIGHTS).status_code == 200
    api = "/api/models/alice/one"
    body = lines(
        ("header", {"summary": "both"}),
        ("file", {"path": "old.txt", "content": "new"}),
        ("lfsFile", {"path": "w.dat", "algo": "sha256", **wanted}),
    )
    assert client.post(f"{api}/commit/main", content=body).status_code == 200
    body = lines(("header", {"summary": "pull"}), ("file", {"path": "pr.txt", "content": "pr"}))
    assert client.post(f"{api}/commit/main?create_pr=1", content=body).status_code == 200
    assert client.post(f"{api}/discussions/1/merge", json={}).status_code == 200


OLD, BOTH, MERGED = {"old.txt": b"old"}, {"old.txt": b"new", "w.dat": WEIGHTS}, {"pr.txt": b"pr"}


def contents(client: TestClient) -> dict[str, bytes]:
    """All files of main, read by the addresses that clients use."""
    info = client.get("/api/models/alice/one?blobs=1").json()
    found = {}
    for one in info["siblings"]:
        reply = client.get(f"/alice/one/resolve/{info['sha']}/{one['rfilename']}")
        assert reply.status_code == 200
        assert len(reply.content) == one["size"]
        found[one["rfilename"]] = reply.content
    found.pop(".gitattributes")
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs the signal that nobody survives")
def test_a_killed_process_leaves_the_old_revision_or_the_new_one(tmp_path: Path) -> None:
    fill(hub(tmp_path / "template"))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "template"), str(tmp_path)]
    top = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=top, check=True, capture_output=True, text=True, timeout=60)
    ended = [int(line) for line in done.stdout.split()]
    assert set(ended[:-1]) == {-signal.SIGKILL}
    assert ended[-1] == 0
    sizes = []
    for limit in range(1, len(ended) + 1):
        client = hub(tmp_path / str(limit))
        found = contents(client)
        assert found in (OLD, BOTH, {**BOTH, **MERGED})
        sizes.append(len(found))
        assert list((tmp_path / str(limit) / "drafts").iterdir()) == []
        told = client.get("/api/models/alice/one/discussions/1?diff=1")
        heads = client.get("/api/models/alice/one/refs?include_prs=1").json()["pullRequests"]
        assert told.status_code == (200 if heads else 404)
        if heads:
            assert told.json()["status"] == ("merged" if len(found) == 3 else "open")
        if found == OLD:  # the same requests can be sent again
            change(client)
            assert contents(client) == {**BOTH, **MERGED}
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 2, 3}


def test_a_discussion_whose_deletion_was_cut_short_is_gone(tmp_path: Path) -> None:
    client = hub(tmp_path / "hub")
    fill(client)
    api = "/api/models/alice/one"
    body = lines(("header", {"summary": "pull"}), ("file", {"path": "pr.txt", "content": "pr"}))
    assert client.post(f"{api}/commit/main?create_pr=1", content=body).status_code == 200
    (document,) = tmp_path.rglob("discussions/1.json")
    kept = document.read_bytes()
    assert client.delete(f"{api}/discussions/1").status_code == 200
    document.write_bytes(kept)  # the process ended before it removed the file
    client = hub(tmp_path / "hub")
    assert client.get(f"{api}/discussions/1?diff=1").status_code == 404
    assert client.get(f"{api}/discussions").json()["count"] == 0


@pytest.fixture
def face(tmp_path: Path) -> HubFace:
    root = tmp_path / "hub"
    client = hub(root)
    fill(client)
    change(client)
    return HubFace(root, ACCOUNTS, SYSTEM_CLOCK)


def test_what_was_asked_for_is_sent_though_the_repo_is_deleted(
    face: HubFace, tmp_path: Path
) -> None:
    repo = face.repos.get("model", "alice/one")
    assert repo is not None
    url = urlsplit(delivery_url(face, HUB, repo, SHA256))
    names = dict(zip(("kind", "ns", "repo", "oid"), url.path.split("/")[2:], strict=True))
    scope: Scope = {"type": "http", "method": "GET", "path": url.path, "path_params": names}
    scope.update(headers=[], query_string=url.query.encode(), asgi={"spec_version": "2.4"})
    reply = deliver(face, Request(scope))
    face.repos.delete(repo)
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        told.append(message)

    asyncio.run(reply(scope, receive, send))
    assert told[0]["status"] == 200
    assert b"".join(one.get("body", b"") for one in told) == WEIGHTS
    assert list((tmp_path / "hub/drafts").iterdir()) == []


def test_a_repo_that_is_deleted_while_it_is_read_is_missing(face: HubFace) -> None:
    def read_too_late(face: HubFace, call: Call) -> Response:
        repo = face.readable(call)
        face.repos.delete(repo)
        return Response(face.repos.lfs_path(repo, SHA256).read_bytes())

    serve = endpoint(face, read_too_late, "model")
    client = TestClient(Starlette(routes=[Route("/{ns}/{repo}", serve)]))
    reply = client.get("/alice/one")
    assert (reply.status_code, reply.headers["x-error-code"]) == (401, "RepoNotFound")


def test_an_address_of_a_deleted_repo_opens_nothing_of_its_successor(tmp_path: Path) -> None:
    client = hub(tmp_path / "hub")
    fill(client)
    change(client)
    reply = client.get("/alice/one/resolve/main/w.dat", follow_redirects=False)
    address = reply.headers["location"]
    assert client.get(address).content == WEIGHTS
    named = {"name": "one"}
    assert client.request("DELETE", "/api/repos/delete", json=named).status_code == 200
    assert client.post("/api/repos/create", json=named).status_code == 200
    assert client.get(address).status_code == 404
