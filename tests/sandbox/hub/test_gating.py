"""Gated repositories on the Hub face, judged by the Hub's own client."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import Account, hub_app
from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import ACCOUNTS, ALICE, WEIGHTS, Stage, put, status_of

REPO = "lab/one"
BOB = {"authorization": "Bearer hf_bob"}


@pytest.fixture
def api(alice: HfApi) -> HfApi:
    alice.create_repo(REPO)
    put(alice, REPO, {"a.txt": b"a", "w.bin": WEIGHTS})
    alice.update_repo_settings(REPO, gated="manual")
    return alice


def ask(stage: Stage, token: str, **fields: str) -> httpx2.Response:
    """Ask for access, as the form on the repository's page does."""
    headers = {"authorization": f"Bearer {token}"}
    return httpx2.post(f"{stage.url}/{REPO}/ask-access", data=fields, headers=headers)


def opens(stage: Stage, token: str | bool, folder: Path) -> bool:
    """Whether a token opens both files; every refusal must be the gate's."""
    api = HfApi(endpoint=stage.url, token=token)
    opened = []
    for path in ("a.txt", "w.bin"):
        try:
            api.hf_hub_download(REPO, path, cache_dir=folder / secrets.token_hex(8))
            opened.append(True)
        except GatedRepoError:
            opened.append(False)
    try:
        api.auth_check(REPO)
        opened.append(True)
    except GatedRepoError:
        opened.append(False)
    assert len(set(opened)) == 1
    return opened[0]


def test_a_gate_hides_contents_but_not_the_repository(
    api: HfApi, stage: Stage, tmp_path: Path
) -> None:
    for token in (False, "hf_bob"):
        other = HfApi(endpoint=stage.url, token=token)
        assert not opens(stage, token, tmp_path)
        assert other.model_info(REPO).gated == "manual"
        assert other.list_repo_files(REPO) == [".gitattributes", "a.txt", "w.bin"]
    assert api.model_info(REPO).gated == "manual"


@pytest.mark.parametrize(
    ("token", "status", "said"), [(None, 401, "Please log in"), ("hf_bob", 403, "authorized list")]
)
def test_the_gate_says_why(
    api: HfApi, stage: Stage, token: str | None, status: int, said: str
) -> None:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    for method in ("GET", "HEAD"):
        reply = httpx2.request(method, f"{stage.url}/{REPO}/resolve/main/a.txt", headers=headers)
        assert reply.status_code == status
        assert reply.headers["x-error-code"] == "GatedRepo"
        assert said in reply.headers["x-error-message"]


def test_owners_and_members_need_not_ask(api: HfApi, stage: Stage, tmp_path: Path) -> None:
    for token in ("hf_alice", "hf_boss", "hf_guest"):
        assert opens(stage, token, tmp_path)
    address = f"{stage.url}/api/models/{REPO}/settings"
    reply = httpx2.put(address, json={"orgMembersGated": True}, headers=ALICE)
    assert reply.json()["orgMembersGated"] is True
    assert not opens(stage, "hf_guest", tmp_path)
    assert not opens(stage, "hf_alice", tmp_path)
    assert opens(stage, "hf_boss", tmp_path)


def test_a_request_is_reviewed(
    api: HfApi, stage: Stage, tmp_path: Path, clock: ManualClock
) -> None:
    assert ask(stage, "hf_bob", company="ACME").json() == {"status": "pending"}
    assert ask(stage, "hf_bob").status_code == 400
    (request,) = api.list_pending_access_requests(REPO)
    assert (request.username, request.status) == ("bob", "pending")
    assert request.fields == {"company": "ACME"}
    assert request.email == "bob@users.noreply.huggingface.co"
    assert request.timestamp == clock.now()
    assert not opens(stage, "hf_bob", tmp_path)
    api.accept_access_request(REPO, "bob")
    assert opens(stage, "hf_bob", tmp_path)
    assert [one.username for one in api.list_accepted_access_requests(REPO)] == ["bob"]
    assert list(api.list_pending_access_requests(REPO)) == []
    api.reject_access_request(REPO, "bob", rejection_reason="no more")
    assert not opens(stage, "hf_bob", tmp_path)
    (rejected,) = api.list_rejected_access_requests(REPO)
    assert rejected.request_id == request.request_id
    api.cancel_access_request(REPO, request_id=request.request_id)
    assert [one.username for one in api.list_pending_access_requests(REPO)] == ["bob"]


def test_the_gate_tells_what_became_of_a_request(api: HfApi, stage: Stage) -> None:
    ask(stage, "hf_bob")
    address = f"{stage.url}/{REPO}/resolve/main/a.txt"
    reply = httpx2.get(address, headers=BOB)
    assert "awaiting a review" in reply.headers["x-error-message"]
    api.reject_access_request(REPO, "bob", rejection_reason=None)
    reply = httpx2.get(address, headers=BOB)
    assert "has been rejected" in reply.headers["x-error-message"]
    assert (reply.status_code, reply.headers["x-error-code"]) == (403, "GatedRepo")


def test_an_automatic_gate_opens_to_who_asks(api: HfApi, stage: Stage, tmp_path: Path) -> None:
    api.update_repo_settings(REPO, gated="auto")
    assert not opens(stage, "hf_bob", tmp_path)
    assert ask(stage, "hf_bob").json() == {"status": "accepted"}
    assert opens(stage, "hf_bob", tmp_path)
    assert [one.username for one in api.list_accepted_access_requests(REPO)] == ["bob"]


def test_access_is_given_without_a_request(api: HfApi, stage: Stage, tmp_path: Path) -> None:
    api.grant_access(REPO, "bob")
    assert opens(stage, "hf_bob", tmp_path)
    (given,) = api.list_accepted_access_requests(REPO)
    assert (given.username, given.email) == ("bob", None)
    for user, status in (("bob", 400), ("boss", 400), ("nobody", 404)):
        assert status_of(partial(api.grant_access, REPO, user)) == status


def test_a_gate_is_not_passed_by_making_a_copy(api: HfApi, stage: Stage) -> None:
    bob = HfApi(endpoint=stage.url, token="hf_bob")
    with pytest.raises(GatedRepoError):
        bob.duplicate_repo(REPO, "bob/copy")
    api.grant_access(REPO, "bob")
    assert bob.duplicate_repo(REPO, "bob/copy").repo_id == "bob/copy"


def test_a_narrow_token_opens_gates_only_if_it_may(
    api: HfApi, stage: Stage, tmp_path: Path
) -> None:
    api.grant_access(REPO, "bob")
    assert opens(stage, "hf_opener", tmp_path)
    assert not opens(stage, "hf_talker", tmp_path)
    who = HfApi(endpoint=stage.url, token="hf_opener").whoami()
    assert who["auth"]["accessToken"]["fineGrained"]["canReadGatedRepos"] is True


def test_a_request_is_taken_back(api: HfApi, stage: Stage) -> None:
    ask(stage, "hf_bob")
    address = f"{stage.url}/api/models/{REPO}/user-access-request/cancel"
    assert httpx2.post(address, headers=BOB).status_code == 200
    assert list(api.list_pending_access_requests(REPO)) == []
    assert httpx2.post(address, headers=BOB).status_code == 404


def test_many_requests_are_decided_at_once(api: HfApi, stage: Stage) -> None:
    ask(stage, "hf_bob")
    named = [{"user": "bob"}, {"user": "guest"}, {"user": "nobody"}]
    reply = httpx2.post(
        f"{stage.url}/api/models/{REPO}/user-access-request/batch",
        json={"status": "accepted", "requests": named},
        headers=ALICE,
    )
    assert reply.json() == [
        {"user": "bob", "ok": True},
        {"user": "guest", "ok": False, "error": "request_not_found"},
        {"user": "nobody", "ok": False, "error": "user_not_found"},
    ]


def test_only_who_may_write_sees_and_decides(api: HfApi, stage: Stage) -> None:
    ask(stage, "hf_bob")
    for token, status in (("hf_guest", 403), ("hf_reader", 403), ("hf_bob", 403), (False, 401)):
        other = HfApi(endpoint=stage.url, token=token)
        assert status_of(partial(list, other.list_pending_access_requests(REPO))) == status
        assert status_of(partial(other.accept_access_request, REPO, "bob")) == status
        assert status_of(partial(other.grant_access, REPO, "bob")) == status
    assert status_of(partial(api.accept_access_request, REPO, "guest")) == 404
    assert status_of(partial(api.accept_access_request, REPO, "nobody")) == 404
    api.accept_access_request(REPO, "bob")
    assert status_of(partial(api.accept_access_request, REPO, "bob")) == 404


def test_a_repo_without_a_gate_has_no_requests(api: HfApi, stage: Stage, tmp_path: Path) -> None:
    api.update_repo_settings(REPO, gated=False)
    assert api.model_info(REPO).gated is False
    assert opens(stage, False, tmp_path)
    assert ask(stage, "hf_bob").status_code == 400
    assert status_of(lambda: list(api.list_pending_access_requests(REPO))) == 400
    assert status_of(partial(api.grant_access, REPO, "bob")) == 400


def test_a_private_gated_repo_looks_absent(api: HfApi, stage: Stage) -> None:
    api.update_repo_settings(REPO, private=True)
    bob = HfApi(endpoint=stage.url, token="hf_bob")
    with pytest.raises(RepositoryNotFoundError) as caught:
        bob.hf_hub_download(REPO, "a.txt")
    assert not isinstance(caught.value, GatedRepoError)
    assert ask(stage, "hf_bob").status_code == 404


def test_requests_come_in_pages(stage: Stage, tmp_path: Path, clock: ManualClock) -> None:
    people = {f"hf_{number}": Account(f"person{number}") for number in range(23)}
    stage.open(tmp_path / "hub", clock=clock, accounts={**ACCOUNTS, **people})
    api = HfApi(endpoint=stage.url, token="hf_alice")
    api.create_repo(REPO)
    api.update_repo_settings(REPO, gated="manual")
    for token in people:
        ask(stage, token)
        clock.advance(0.0001)
    seen, address = [], f"{stage.url}/api/models/{REPO}/user-access-request/pending?limit=10"
    pages = 0
    while address:
        reply = httpx2.get(address, headers=ALICE)
        seen += [one["user"]["user"] for one in reply.json()]
        address = reply.links.get("next", {}).get("url", "")
        pages += 1
    assert seen == [f"person{number}" for number in range(22, -1, -1)]
    assert pages == 3


def test_a_restart_keeps_gates_and_requests(tmp_path: Path) -> None:
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        api.create_repo(REPO)
        api.update_repo_settings(REPO, gated="auto")
        httpx2.post(f"{server.url}/{REPO}/ask-access", headers=BOB)
        before = list(api.list_accepted_access_requests(REPO))
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        assert api.model_info(REPO).gated == "auto"
        assert list(api.list_accepted_access_requests(REPO)) == before
        assert len(before) == 1
