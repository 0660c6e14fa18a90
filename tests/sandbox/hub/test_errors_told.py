"""What every error answer of the Hub face tells: a code where the Hub has one, words, an id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi

from tests.sandbox.hub.stage import ALICE, Stage, put, served

BOB = {"authorization": "Bearer hf_bob"}
READER = {"authorization": "Bearer hf_reader"}
WRONG = {"authorization": "Bearer hf_invented"}
MODEL = "/api/models/alice/one"
GATED = "/api/models/alice/gated"
NO_REPO, NO_REVISION, NO_ENTRY, GATE = (
    "RepoNotFound",
    "RevisionNotFound",
    "EntryNotFound",
    "GatedRepo",
)

#: Method, path, who asks, body, status, code.
ERRORS: list[tuple[str, str, dict[str, str], Any, int, str | None]] = [
    ("GET", "/api/whoami-v2", {}, None, 401, None),
    ("GET", "/api/whoami-v2", WRONG, None, 401, None),
    ("GET", "/api/nothing", {}, None, 404, None),
    ("PATCH", MODEL, ALICE, None, 405, None),
    ("POST", "/api/repos/create", {}, {"name": "x"}, 401, None),
    ("POST", "/api/repos/create", READER, {"name": "x"}, 403, None),
    ("POST", "/api/repos/create", ALICE, {"name": "a--b"}, 400, None),
    ("POST", "/api/repos/create", ALICE, {"name": 3}, 400, None),
    ("POST", "/api/repos/create", ALICE, {"name": "x", "type": "space"}, 501, None),
    ("POST", "/api/repos/create", ALICE, {"name": "x", "visibility": "protected"}, 400, None),
    ("POST", "/api/repos/create", ALICE, {"name": "one"}, 409, None),
    ("POST", "/api/repos/create", ALICE, b"{", 400, None),
    ("POST", "/api/repos/create", ALICE, b"[]", 400, None),
    ("DELETE", "/api/repos/delete", ALICE, {"name": "none"}, 404, NO_REPO),
    ("DELETE", "/api/repos/delete", BOB, {"name": "one", "organization": "alice"}, 403, None),
    (
        "POST",
        "/api/repos/move",
        ALICE,
        {"fromRepo": "alice/none", "toRepo": "alice/x"},
        404,
        NO_REPO,
    ),
    ("POST", "/api/repos/move", ALICE, {"fromRepo": "one", "toRepo": "two"}, 400, None),
    ("POST", "/api/validate-yaml", ALICE, {}, 400, None),
    ("GET", "/api/models/alice/none", {}, None, 401, NO_REPO),
    ("GET", "/api/models/alice/none", ALICE, None, 404, NO_REPO),
    ("GET", "/api/models/alice/secret", {}, None, 401, NO_REPO),
    ("GET", "/api/models/alice/secret", BOB, None, 404, NO_REPO),
    ("GET", "/api/datasets/alice/one", BOB, None, 404, NO_REPO),
    ("GET", MODEL, WRONG, None, 401, None),
    ("GET", f"{MODEL}/revision/v9", {}, None, 404, NO_REVISION),
    ("GET", f"{MODEL}/revision/refs%2Fpr%2F9", {}, None, 404, NO_REVISION),
    ("GET", f"{MODEL}/tree/main/none", {}, None, 404, NO_ENTRY),
    ("GET", f"{MODEL}/commits/v9", {}, None, 404, NO_REVISION),
    ("POST", f"{MODEL}/preupload/main", BOB, {"files": []}, 403, None),
    ("POST", f"{MODEL}/commit/main", READER, {}, 403, None),
    ("POST", f"{MODEL}/commit/main", {}, {}, 401, None),
    ("POST", f"{MODEL}/commit/main", ALICE, {}, 400, None),
    ("POST", f"{MODEL}/tag/main", ALICE, {"tag": "a b"}, 400, None),
    ("DELETE", f"{MODEL}/tag/v9", ALICE, None, 404, NO_REVISION),
    ("POST", f"{MODEL}/branch/main", ALICE, {}, 409, None),
    ("DELETE", f"{MODEL}/branch/main", ALICE, None, 403, None),
    ("POST", f"{MODEL}/super-squash/none", ALICE, {}, 404, NO_REVISION),
    ("PUT", f"{MODEL}/settings", BOB, {"private": True}, 403, None),
    ("PUT", f"{MODEL}/settings", ALICE, {"gated": "yes"}, 400, None),
    ("GET", f"{MODEL}/auth-check/write", BOB, None, 403, None),
    ("GET", f"{GATED}/auth-check", {}, None, 401, GATE),
    ("GET", f"{GATED}/auth-check", BOB, None, 403, GATE),
    ("GET", f"{MODEL}/discussions/9", {}, None, 404, None),
    ("GET", f"{MODEL}/discussions/no", {}, None, 404, None),
    ("GET", f"{MODEL}/discussions?type=none", {}, None, 400, None),
    ("POST", f"{MODEL}/discussions", {}, {"title": "title", "description": "d"}, 401, None),
    ("POST", f"{MODEL}/discussions/9/merge", ALICE, None, 404, None),
    ("GET", f"{MODEL}/user-access-request/pending", ALICE, None, 400, None),
    ("GET", f"{GATED}/user-access-request/sometimes", ALICE, None, 404, None),
    ("GET", f"{GATED}/user-access-request/pending?before=then", ALICE, None, 400, None),
    ("POST", f"{GATED}/user-access-request/handle", ALICE, {"status": "x"}, 400, None),
    ("POST", f"{GATED}/user-access-request/batch", ALICE, {"status": "accepted"}, 400, None),
    ("POST", f"{GATED}/user-access-request/grant", ALICE, {}, 400, None),
    ("GET", "/alice/none/resolve/main/a.txt", {}, None, 401, NO_REPO),
    ("HEAD", "/alice/none/resolve/main/a.txt", ALICE, None, 404, NO_REPO),
    ("HEAD", "/alice/one/resolve/v9/a.txt", {}, None, 404, NO_REVISION),
    ("HEAD", "/alice/one/resolve/main/none", {}, None, 404, NO_ENTRY),
    ("HEAD", "/alice/gated/resolve/main/a.txt", {}, None, 401, GATE),
    ("HEAD", "/alice/gated/resolve/main/a.txt", BOB, None, 403, GATE),
    ("POST", "/alice/one.git/info/lfs/objects/batch", ALICE, {}, 422, None),
    ("POST", "/alice/one/ask-access", BOB, None, 400, None),
    ("PUT", "/lfs-storage/model/alice/one/0000?size=1", {}, b"x", 403, None),
    ("GET", "/nowhere/at/all", {}, None, 404, None),
]
NAMES = [f"{method} {path} {status}" for method, path, _, _, status, _ in ERRORS]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with served() as stage:
        folder: Path = tmp_path_factory.mktemp("errors")
        stage.open(folder / "hub")
        api = HfApi(endpoint=stage.url, token="hf_alice")
        for name, private in (("one", False), ("secret", True), ("gated", False)):
            api.create_repo(name, private=private)
            put(api, f"alice/{name}", {"a.txt": b"a"})
        api.update_repo_settings("alice/gated", gated="manual")
        yield stage


@pytest.mark.parametrize(("method", "path", "who", "body", "status", "code"), ERRORS, ids=NAMES)
def test_an_error_tells_its_code_its_reason_and_its_id(
    stage: Stage,
    method: str,
    path: str,
    who: dict[str, str],
    body: Any,
    status: int,
    code: str | None,
) -> None:
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    headers = {**who, "x-amzn-trace-id": "mine"}
    reply = httpx2.request(method, f"{stage.url}{path}", headers=headers, **sent)
    assert (reply.status_code, reply.headers.get("x-error-code")) == (status, code)
    assert reply.headers["x-error-message"]
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};mine", reply.headers["x-request-id"])
    assert ("www-authenticate" in reply.headers) == (status == 401)
    if method != "HEAD":
        assert reply.json()["error"]


def test_a_success_has_an_id_too_and_no_two_are_alike(stage: Stage) -> None:
    ids = {
        httpx2.get(f"{stage.url}{MODEL}").headers["x-request-id"],
        httpx2.get(f"{stage.url}{MODEL}").headers["x-request-id"],
        httpx2.head(f"{stage.url}/alice/one/resolve/main/a.txt").headers["x-request-id"],
    }
    assert len(ids) == 3


def test_a_token_may_come_as_git_sends_it(stage: Stage) -> None:
    address = f"{stage.url}/api/whoami-v2"
    assert httpx2.get(address, auth=("anyone", "hf_bob")).json()["name"] == "bob"
    assert httpx2.get(address, auth=("anyone", "hf_invented")).status_code == 401
    assert httpx2.get(address, headers={"authorization": "hf_bob"}).status_code == 401
