"""The Hub face's LFS: signed addresses, whole files and files in parts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import hub_app
from orchestrator.sandbox.hub.transfers import Transfers
from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import ACCOUNTS, WEIGHTS, Stage, put, status_of

ALICE = {"authorization": "Bearer hf_alice"}
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
#: WEIGHTS are 10,240 bytes: four parts, of which the last is shorter.
SMALL_PARTS = Transfers(multipart_from_bytes=5000, part_bytes=3000)
SIX_HOURS_S = 6 * 3600


@pytest.fixture
def api(stage: Stage, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    stage.open(tmp_path / "hub", clock=clock, transfers=SMALL_PARTS)
    api = HfApi(endpoint=stage.url, token="hf_alice")
    api.create_repo("one")
    return api


def batch(url: str, *, content: bytes = WEIGHTS, repo: str = "alice/one", **body: Any) -> Any:
    """What the Hub says about one object."""
    one = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    reply = httpx2.post(
        f"{url}/{repo}.git/info/lfs/objects/batch",
        json={"operation": "upload", "transfers": ["basic", "multipart"], "objects": [one]} | body,
        headers=ALICE,
    )
    assert reply.status_code == 200, reply.text
    (answer,) = reply.json()["objects"]
    return answer


def whole(url: str) -> str:
    """The address for all of WEIGHTS at once."""
    href: str = batch(url, transfers=["basic"])["actions"]["upload"]["href"]
    return href


def begin(url: str) -> tuple[list[str], str]:
    """The addresses for the parts of WEIGHTS, and the one that completes the upload."""
    upload = batch(url)["actions"]["upload"]
    numbers = [name for name in upload["header"] if name.isdigit()]
    assert numbers == ["00001", "00002", "00003", "00004"]
    return [upload["header"][name] for name in numbers], upload["href"]


def send_parts(addresses: list[str], content: bytes = WEIGHTS) -> list[dict[str, Any]]:
    parts = []
    for number, address in enumerate(addresses, start=1):
        piece = content[(number - 1) * 3000 : number * 3000]
        reply = httpx2.put(address, content=piece)
        assert reply.status_code == 200, reply.text
        parts.append({"partNumber": number, "etag": reply.headers["etag"]})
    return parts


def complete(address: str, parts: list[dict[str, Any]]) -> int:
    return httpx2.post(address, json={"oid": SHA256, "parts": parts}).status_code


def is_stored(url: str) -> bool:
    return "actions" not in batch(url)


def drafts(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "hub/drafts").iterdir())


def test_a_large_file_travels_in_parts(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    put(api, "alice/one", {"w.safetensors": WEIGHTS, "small.bin": b"\0\1\2"})
    sent = [path for method, path in stage.requests if method == "PUT"]
    assert sum("/lfs-parts/" in path for path in sent) == 4
    assert sum("/lfs-storage/" in path for path in sent) == 1
    got = api.hf_hub_download("alice/one", "w.safetensors", cache_dir=tmp_path)
    assert Path(got).read_bytes() == WEIGHTS
    assert not list((tmp_path / "hub/repos").glob("*/parts/*"))
    assert drafts(tmp_path) == []


def test_parts_may_come_in_any_order_and_again(stage: Stage, api: HfApi) -> None:
    addresses, completion = begin(stage.url)
    assert httpx2.put(addresses[1], content=b"x" * 3000).status_code == 200
    for address in reversed(addresses):
        number = addresses.index(address)
        piece = WEIGHTS[number * 3000 : (number + 1) * 3000]
        assert httpx2.put(address, content=piece).status_code == 200
    assert complete(completion, send_parts(addresses)) == 200
    assert is_stored(stage.url)


def test_a_completed_upload_can_be_completed_again(stage: Stage, api: HfApi) -> None:
    addresses, completion = begin(stage.url)
    parts = send_parts(addresses)
    assert [complete(completion, parts) for _ in range(2)] == [200, 200]


def test_nothing_is_stored_unless_all_parts_are_right(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    addresses, completion = begin(stage.url)
    parts = send_parts(addresses[:-1])
    assert complete(completion, parts) == 400
    parts += [{"partNumber": 4, "etag": '"0"'}]
    assert complete(completion, parts) == 400
    parts = send_parts(addresses)
    assert complete(completion, parts[:-1]) == 400
    assert complete(completion, [{"number": 1}]) == 400
    assert not is_stored(stage.url)
    assert complete(completion, parts) == 200
    assert is_stored(stage.url)
    assert drafts(tmp_path) == []


def test_parts_of_other_content_are_refused(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    addresses, completion = begin(stage.url)
    assert httpx2.put(addresses[0], content=b"x").status_code == 400
    assert httpx2.put(addresses[0], content=b"x" * 3001).status_code == 400
    assert complete(completion, send_parts(addresses, WEIGHTS[::-1])) == 400
    assert not is_stored(stage.url)
    assert drafts(tmp_path) == []


def test_addresses_of_parts_are_signed_and_expire(
    stage: Stage, api: HfApi, clock: ManualClock, tmp_path: Path
) -> None:
    addresses, completion = begin(stage.url)
    parts = send_parts(addresses)
    assert httpx2.put(addresses[0].replace("/1?", "/2?"), content=b"x" * 3000).status_code == 403
    assert complete(completion.replace("parts=4", "parts=1"), parts) == 403
    clock.advance(SIX_HOURS_S + 1)
    assert httpx2.put(addresses[0], content=WEIGHTS[:3000]).status_code == 403
    assert complete(completion, parts) == 403
    folders = list((tmp_path / "hub/repos").glob("*/parts/*"))
    assert len(folders) == 1
    begin(stage.url)
    assert not folders[0].exists()


def test_an_upload_in_parts_goes_on_after_a_restart(tmp_path: Path) -> None:
    def hub(port: int = 0) -> AppServer:
        return AppServer(hub_app(tmp_path / "hub", ACCOUNTS, transfers=SMALL_PARTS), port)

    with hub() as server:
        HfApi(endpoint=server.url, token="hf_alice").create_repo("one")
        addresses, completion = begin(server.url)
        parts = send_parts(addresses[:2])
    with hub(server.port):
        parts = send_parts(addresses)
        assert complete(completion, parts) == 200
        assert is_stored(server.url)


def test_who_does_not_speak_of_parts_gets_one_address(stage: Stage, api: HfApi) -> None:
    assert httpx2.put(whole(stage.url), content=WEIGHTS).status_code == 200
    assert is_stored(stage.url)


def test_an_upload_address_takes_only_what_it_was_made_for(
    stage: Stage, api: HfApi, clock: ManualClock, tmp_path: Path
) -> None:
    address = whole(stage.url)
    assert httpx2.put(address, content=WEIGHTS[::-1]).status_code == 400
    assert httpx2.put(address, content=WEIGHTS[:-1]).status_code == 400
    assert httpx2.put(address, content=WEIGHTS + b"x").status_code == 400
    assert httpx2.put(address.replace(SHA256, "0" * 64), content=WEIGHTS).status_code == 403
    assert httpx2.put(address + "0", content=WEIGHTS).status_code == 403
    verify = f"{stage.url}/alice/one.git/info/lfs/verify"
    body = {"oid": SHA256, "size": len(WEIGHTS)}
    assert httpx2.post(verify, json=body, headers=ALICE).status_code == 404
    assert httpx2.put(address, content=WEIGHTS).status_code == 200
    assert httpx2.post(verify, json=body, headers=ALICE).status_code == 200
    assert httpx2.post(verify, json=body | {"size": 1}, headers=ALICE).status_code == 404
    assert drafts(tmp_path) == []
    late = whole_of_another(stage.url)
    clock.advance(SIX_HOURS_S + 1)
    assert httpx2.put(late, content=b"another").status_code == 403


def test_the_announced_size_must_be_right_even_if_the_digest_is(stage: Stage, api: HfApi) -> None:
    for size in (len(WEIGHTS) + 1, len(WEIGHTS) - 1):
        lie = [{"oid": SHA256, "size": size}]
        upload = batch(stage.url, transfers=["basic"], objects=lie)["actions"]["upload"]
        assert httpx2.put(upload["href"], content=WEIGHTS).status_code == 400
    assert not is_stored(stage.url)


def whole_of_another(url: str) -> str:
    href: str = batch(url, content=b"another")["actions"]["upload"]["href"]
    return href


def test_objects_that_are_here_can_be_fetched_by_git(stage: Stage, api: HfApi) -> None:
    put(api, "alice/one", {"w.bin": WEIGHTS})
    found = batch(stage.url, operation="download")
    assert httpx2.get(found["actions"]["download"]["href"]).content == WEIGHTS
    absent = batch(stage.url, operation="download", content=b"absent")
    assert absent["error"]["code"] == 404


def test_one_bad_object_does_not_spoil_the_batch(stage: Stage, api: HfApi) -> None:
    reply = httpx2.post(
        f"{stage.url}/alice/one.git/info/lfs/objects/batch",
        json={
            "operation": "upload",
            "objects": [{"oid": "../up", "size": 1}, {"oid": SHA256, "size": len(WEIGHTS)}],
        },
        headers=ALICE,
    )
    bad, good = reply.json()["objects"]
    assert bad["error"]["code"] == 422
    assert "upload" in good["actions"]


def test_uploading_needs_a_token_that_may_write(stage: Stage, api: HfApi) -> None:
    batch_url = f"{stage.url}/alice/one.git/info/lfs/objects/batch"
    one = {"oid": SHA256, "size": len(WEIGHTS)}
    body = {"operation": "upload", "objects": [one], "ref": {"name": "main"}}
    for headers, status in (
        ({"authorization": "Bearer hf_bob"}, 403),
        ({"authorization": "Bearer hf_reader"}, 403),
        ({}, 401),
    ):
        assert httpx2.post(batch_url, json=body, headers=headers).status_code == status


def test_knowing_a_digest_does_not_give_another_repos_content(stage: Stage, api: HfApi) -> None:
    api.create_repo("secret", private=True)
    put(api, "alice/secret", {"w.bin": WEIGHTS})
    assert "upload" in batch(stage.url, repo="alice/one")["actions"]
    commit = CommitOperationAdd("w.bin", WEIGHTS)
    commit._upload_mode, commit._is_uploaded = "lfs", True
    claim = [commit]
    assert status_of(lambda: api.create_commit("alice/one", claim, commit_message="claim")) == 400
