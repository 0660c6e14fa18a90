"""What of the Hub's public description the face serves, and that the judge of replies works."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match, Route
from starlette.testclient import TestClient

from orchestrator.sandbox.hub.app import hub_app
from tests.sandbox.hub.openapi_judge import (
    AMENDMENTS,
    RECORD,
    Judge,
    Operation,
    Record,
    description,
    operation_for,
    public_operations,
)
from tests.sandbox.hub.stage import ACCOUNTS, CARD, WEIGHTS, Stage, put

ALICE = {"authorization": "Bearer hf_alice"}
#: The parts of the description that are about what this face is: repositories and their contents.
_OURS = (
    "/api/collections",
    "/api/models",
    "/api/datasets",
    "/api/repos",
    "/api/{repoType}",
    "/api/resolve-cache/models",
    "/api/resolve-cache/datasets",
    "/api/whoami-v2",
    "/datasets",
    "/{namespace}",
)
#: What the face does not serve of that, by how the addresses end, and why not.
UNSERVED = {
    "-tags-by-type": "lists of tags for the search page",
    "/items/batch": "several items of a collection at once: no client asks for it",
    "/compare/{compare}": "diffs: no client asks for them",
    "/discussions/{num}/ref": "removes the branch of a closed pull request",
    "/discussions/{num}/storage": "bytes that a pull request takes",
    "/jwt": "tokens for the Hub's other services",
    "/leaderboard": "results of benchmarks",
    "/lfs-files/batch": "removes LFS objects from the history",
    "/lfs-files/duplicate": "copies between repositories: only for Xet",
    "/lfs-files/{sha}": "removes LFS objects from the history",
    "/notebook/{rev}/{path}": "notebooks as web pages",
    "/resource-group": "belongs to paid organisations",
    "/scan": "nothing is scanned",
    "/xet-read-token/{rev}": "Xet is not served",
    "/xet-write-token/{rev}": "Xet is not served",
}

#: What the face serves though no description has it. None of it answers in JSON that clients read,
#: but for the last line's, which the Hub's client is the only public word on.
NOT_DESCRIBED = {
    "GET /cdn-lfs/{kind}/{ns}/{repo}/{oid}",
    "POST /api/complete_multipart/{kind}/{ns}/{repo}/{oid}/{upload}",
    "PUT /lfs-parts/{kind}/{ns}/{repo}/{oid}/{upload}/{number}",
    "PUT /lfs-storage/{kind}/{ns}/{repo}/{oid}",
    "DELETE /api/repos/delete",
    "PATCH /api/collections/{ns}/{slug}/items/{item}",
    "GET /api/models/{ns}/{repo}/auth-check",
    "GET /api/models/{ns}/{repo}/auth-check/write",
    "POST /datasets/{ns}/{repo}/ask-access",
    "POST /{ns}/{repo}/ask-access",
    *(
        f"POST /api/models/{{ns}}/{{repo}}/{end}"
        for end in (
            "discussions/{num}/comment/{comment}/edit",
            "discussions/{num}/comment/{comment}/hide",
            "duplicate",
        )
    ),
}


@pytest.fixture
def api(one: HfApi) -> HfApi:
    return one


def need_description() -> None:
    if description() is None:
        pytest.skip("ORCHESTRATOR_DATA is not set: the Hub's public description is not at hand")


def described() -> list[Operation]:
    """The described operations that are about repositories."""
    return [one for one in public_operations() if one.template.startswith(_OURS)]


def routes(app: Starlette) -> list[Route]:
    """What the face serves, without its answers to names that nobody can have."""
    return [
        one
        for one in app.routes
        if isinstance(one, Route) and not one.path.endswith("/{rest:path}")
    ]


def is_served(app: Starlette, operation: Operation) -> bool:
    path = operation.template.replace("{repoType}", "models")
    path = path.replace("{num}", "1").replace("{", "").replace("}", "")
    scope = {"type": "http", "method": operation.method, "path": path}
    return any(route.matches(scope)[0] is Match.FULL for route in routes(app))


def reason_for(operation: Operation) -> str | None:
    return next((why for end, why in UNSERVED.items() if operation.template.endswith(end)), None)


def test_all_that_is_described_is_served_or_named_here(tmp_path: Path) -> None:
    need_description()
    app = hub_app(tmp_path / "hub", ACCOUNTS)
    served_ones = [one for one in described() if is_served(app, one)]
    missing = [one for one in described() if one not in served_ones]
    RECORD.served = f"{len(served_ones)} of {len(described())} described operations are served"
    assert [str(one) for one in missing if reason_for(one) is None] == []
    assert [str(one) for one in served_ones if reason_for(one) is not None] == []
    ends = {end for end in UNSERVED for one in missing if one.template.endswith(end)}
    assert ends == set(UNSERVED), "a reason is given for something that is not described"


def test_what_no_description_has_is_named_here(tmp_path: Path) -> None:
    need_description()
    undescribed = set()
    for route in routes(hub_app(tmp_path / "hub", ACCOUNTS)):
        path = route.path.replace(":path}", "}").replace("/api/datasets", "/api/models")
        sample = path.replace("{num}", "1").replace("{", "").replace("}", "")
        for method in (route.methods or set()) - {"HEAD"}:
            if operation_for(method, sample) is None:
                undescribed.add(f"{method} {path}")
    assert undescribed == NOT_DESCRIBED


REPO = "/api/models/alice/one"


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/api/whoami-v2", "get", None, 200),
        ("/api/repos/create", "post", {"name": "new"}, 200),
        ("/api/models?full=true&cardData=true&config=true", "get", None, 200),
        ("/api/datasets?full=true", "get", None, 200),
        (REPO, "get", None, 200),
        (f"{REPO}?blobs=true&securityStatus=true", "get", None, 200),
        (f"{REPO}/revision/v1", "get", None, 200),
        ("/api/datasets/alice/rows", "get", None, 200),
        (f"{REPO}/refs?include_prs=1", "get", None, 200),
        (f"{REPO}/commits/main?expand=formatted", "get", None, 200),
        (f"{REPO}/tree/main", "get", None, 200),
        (f"{REPO}/tree/main/d?expand=true", "get", None, 200),
        (f"{REPO}/paths-info/main", "post", {"paths": ["d/w.bin", "d"], "expand": True}, 200),
        (f"{REPO}/preupload/main", "post", {"files": [{"path": "a", "size": 1}]}, 200),
        (f"{REPO}/commit/main", "post", {"key": "header", "value": {"summary": "s"}}, 200),
        (f"{REPO}/settings", "put", {"private": True}, 200),
        ("/api/validate-yaml", "post", {"content": CARD, "repoType": "model"}, 200),
        ("/alice/one.git/info/lfs/objects/batch", "post", {"operation": "download"}, 200),
    ],
)
def test_each_of_these_is_judged(
    stage: Stage, api: HfApi, path: str, method: str, body: dict[str, Any] | None, status: int
) -> None:
    need_description()
    api.create_repo("rows", repo_type="dataset")
    put(api, "alice/one", {"README.md": CARD.encode(), "d/w.bin": WEIGHTS, "d/a.txt": b"a"})
    api.create_tag("alice/one", tag="v1")
    for file in (body or {}).get("files", []):
        file["sample"] = base64.b64encode(b"x").decode()
    if body and body.get("operation"):
        body["objects"] = [{"oid": "0" * 64, "size": 1}]
    reply = httpx2.request(method, f"{stage.url}{path}", json=body, headers=ALICE)
    assert reply.status_code == status, reply.text
    assert operation_for(method.upper(), path.partition("?")[0]) is not None
    # The fixture that holds every test to the description does the rest.


@pytest.mark.parametrize(
    ("path", "reply", "status", "wrong"),
    [
        ("/api/models/a/b/refs", {"branches": [], "converts": []}, 200, "'tags' is a required"),
        ("/api/models/a/b/refs", {}, 201, "answers 201"),
        ("/api/models/a/b", {"_id": "x", "id": "a/b", "modelId": "a/b"}, 200, "does not match"),
        ("/api/models/a/b", {"message": "no"}, 404, "has no error"),
        ("/a/b.git/info/lfs/objects/batch", {"objects": []}, 200, "'transfer' is a required"),
    ],
)
def test_the_judge_notices_what_departs(
    path: str, reply: dict[str, Any], status: int, wrong: str
) -> None:
    need_description()

    def answer(_request: Request) -> JSONResponse:
        return JSONResponse(reply, status)

    record = Record()
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    with TestClient(Judge(app, record)) as client:
        client.request("POST" if "lfs" in path else "GET", path)
    assert any(wrong in departure for departure in record.departures), record.departures


def test_the_judge_notices_a_request_that_should_have_been_refused() -> None:
    need_description()
    record = Record()

    async def answer(request: Request) -> JSONResponse:
        await request.body()
        return JSONResponse([])

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
    with TestClient(Judge(app, record)) as client:
        client.post("/api/models/a/b/paths-info/main", json={"paths": 1})
    assert any("refuses" in departure for departure in record.departures)


def test_every_amendment_is_needed() -> None:
    need_description()
    for amendment in AMENDMENTS:
        found = [one for one in public_operations() if one.template.endswith(amendment.operation)]
        assert found, amendment
        assert amendment.reason
