"""The Hub face's downloads: redirects, ranges, caches, and who may have which address."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import HfApi, HfFileSystem

from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import WEIGHTS, Stage, put

ALICE = {"authorization": "Bearer hf_alice"}
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
HELLO_OID = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"


@pytest.fixture
def api(one: HfApi) -> HfApi:
    return one


def bodies(stage: Stage) -> list[str]:
    """The paths from which content was fetched so far."""
    return [
        path
        for method, path in stage.requests
        if method == "GET" and ("/resolve" in path or "/cdn-lfs/" in path)
    ]


def test_an_lfs_file_is_served_from_a_signed_address_at_another_host(
    stage: Stage, api: HfApi
) -> None:
    oid = put(api, "alice/one", {"w.safetensors": WEIGHTS})
    address = f"{stage.url}/alice/one/resolve/main/w.safetensors"
    for method in ("HEAD", "GET"):
        reply = httpx2.request(method, address)
        assert reply.status_code == 302
        assert reply.headers["x-repo-commit"] == oid
        assert reply.headers["x-linked-etag"] == f'"{SHA256}"'
        assert reply.headers["x-linked-size"] == str(len(WEIGHTS))
        assert reply.headers["accept-ranges"] == "bytes"
        target = urlsplit(reply.headers["location"])
        assert target.hostname != urlsplit(stage.url).hostname
    got = httpx2.get(reply.headers["location"])
    assert got.content == WEIGHTS
    assert got.headers["content-type"] == "application/octet-stream"
    assert 'filename="w.safetensors"' in got.headers["content-disposition"]


@pytest.mark.parametrize("path", ["w.safetensors", "a.txt"])
def test_content_comes_in_ranges(stage: Stage, api: HfApi, path: str) -> None:
    content = WEIGHTS if path == "w.safetensors" else b"hello, this is a regular file\n" * 9
    put(api, "alice/one", {path: content})
    address = f"{stage.url}/alice/one/resolve/main/{path}"
    for wanted, expected in (("0-9", content[:10]), ("-5", content[-5:]), ("9-", content[9:])):
        part = httpx2.get(address, headers={"range": f"bytes={wanted}"}, follow_redirects=True)
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["content-range"].endswith(f"/{len(content)}")
    beyond = httpx2.get(address, headers={"range": f"bytes={len(content)}-"}, follow_redirects=True)
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    other = httpx2.get(address, headers={"range": "items=0-1"}, follow_redirects=True)
    assert (other.status_code, other.content) == (200, content)


def test_a_regular_file_is_served_from_the_address_of_its_commit(stage: Stage, api: HfApi) -> None:
    oid = put(api, "alice/one", {"d/a.txt": b"hello"})
    first = httpx2.head(f"{stage.url}/alice/one/resolve/main/d/a.txt")
    assert first.status_code == 307
    assert first.headers["location"].startswith(
        f"/api/resolve-cache/models/alice/one/{oid}/d/a.txt?"
    )
    assert first.headers["x-repo-commit"] == oid
    got = httpx2.get(stage.url + first.headers["location"])
    assert (got.status_code, got.content) == (200, b"hello")
    assert got.headers["etag"] == f'"{HELLO_OID}"'
    assert got.headers["x-repo-commit"] == oid
    assert got.headers["content-length"] == "5"


def test_a_file_that_the_client_has_is_not_sent_again(stage: Stage, api: HfApi) -> None:
    put(api, "alice/one", {"a.txt": b"hello"})
    address = f"{stage.url}/alice/one/resolve/main/a.txt"
    for etag in (f'"{HELLO_OID}"', f'W/"{HELLO_OID}"', f'"other", "{HELLO_OID}"', "*"):
        same = httpx2.get(address, headers={"if-none-match": etag})
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == f'"{HELLO_OID}"'
    other = httpx2.get(address, headers={"if-none-match": '"other"'}, follow_redirects=True)
    assert other.content == b"hello"


def test_a_signed_address_is_for_one_file_and_some_hours(
    stage: Stage, api: HfApi, clock: ManualClock
) -> None:
    api.create_repo("secret", private=True)
    put(api, "alice/secret", {"w.bin": WEIGHTS, "other.bin": WEIGHTS[::-1]})
    address = f"{stage.url}/alice/secret/resolve/main/w.bin"
    assert httpx2.get(address).status_code == 401
    signed = httpx2.get(address, headers=ALICE).headers["location"]
    assert httpx2.get(signed).content == WEIGHTS
    other = hashlib.sha256(WEIGHTS[::-1]).hexdigest()
    assert httpx2.get(signed.replace(SHA256, other)).status_code == 403
    assert httpx2.get(signed + "0").status_code == 403
    later = signed.replace("expires=", "expires=9")
    assert httpx2.get(later).status_code == 403
    clock.advance(6 * 3600 + 1)
    expired = httpx2.get(signed)
    assert expired.status_code == 403
    assert "expired" in expired.json()["error"]


def test_clients_do_not_show_their_token_to_the_other_host(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    put(api, "alice/one", {"w.bin": WEIGHTS})
    api.hf_hub_download("alice/one", "w.bin", cache_dir=tmp_path)
    assert [token for path, token in stage.tokens if "/cdn-lfs/" in path] == [None]
    assert ("/alice/one/resolve/main/w.bin", "Bearer hf_alice") in stage.tokens


def test_a_second_download_sends_no_bytes(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    files = {"w.bin": WEIGHTS, "a.txt": b"hello", "d/b.txt": b"b"}
    put(api, "alice/one", files)
    first = api.snapshot_download("alice/one", cache_dir=tmp_path)
    fetched = len(bodies(stage))
    assert fetched >= len(files)
    assert api.snapshot_download("alice/one", cache_dir=tmp_path) == first
    api.hf_hub_download("alice/one", "w.bin", cache_dir=tmp_path)
    assert len(bodies(stage)) == fetched
    put(api, "alice/one", {"a.txt": b"changed"})
    second = Path(api.snapshot_download("alice/one", cache_dir=tmp_path))
    assert (second / "a.txt").read_bytes() == b"changed"
    # Only what changed was fetched: asked for at the branch's address, sent from the commit's.
    new = bodies(stage)[fetched:]
    assert {path.rsplit("/", 1)[-1] for path in new} == {"a.txt"}


def test_files_in_a_local_folder_are_fetched_once(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    put(api, "alice/one", {"w.bin": WEIGHTS, "a.txt": b"hello"})
    for _ in range(2):
        api.snapshot_download("alice/one", local_dir=tmp_path / "here")
    sent = [path for path in bodies(stage) if "/cdn-lfs/" in path]
    assert len(sent) == 1
    assert (tmp_path / "here/w.bin").read_bytes() == WEIGHTS


def test_the_file_system_of_the_client_reads_and_writes(stage: Stage, api: HfApi) -> None:
    put(api, "alice/one", {"w.bin": WEIGHTS, "d/a.txt": b"hello\nworld\n"})
    files = HfFileSystem(endpoint=stage.url, token="hf_alice", skip_instance_cache=True)
    assert sorted(map(str, files.ls("alice/one", detail=False))) == [
        "alice/one/.gitattributes",
        "alice/one/d",
        "alice/one/w.bin",
    ]
    with files.open("alice/one/w.bin", "rb", block_size=1000) as file:
        file.seek(2000)
        assert file.read(10) == WEIGHTS[2000:2010]
    assert files.read_text("alice/one/d/a.txt") == "hello\nworld\n"
    assert files.glob("alice/one/**/*.txt") == ["alice/one/d/a.txt"]
    with files.open("alice/one/d/new.txt", "wb") as file:
        file.write(b"written")
    files.mv("alice/one/w.bin", "alice/one/moved.bin")
    files.rm("alice/one/d/a.txt")
    assert set(api.list_repo_files("alice/one")) == {".gitattributes", "d/new.txt", "moved.bin"}
    assert files.info("alice/one/moved.bin")["lfs"]["sha256"] == SHA256


def test_names_of_every_kind_come_back_in_the_disposition(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    names = ['quo"te.txt', "ü ß.txt", "a%2Fb.txt", "question?.txt", "plus+.bin"]
    put(api, "alice/one", {name: WEIGHTS if ".bin" in name else b"x" for name in names})
    for name in names:
        url = huggingface_hub.hf_hub_url("alice/one", name, endpoint=stage.url)
        reply = httpx2.get(url, follow_redirects=True)
        assert reply.status_code == 200, name
        assert reply.headers["content-disposition"].startswith("inline; filename*=UTF-8''")
    got = api.hf_hub_download("alice/one", "ü ß.txt", cache_dir=tmp_path)
    assert Path(got).read_bytes() == b"x"


def test_a_signed_address_outlives_a_restart(
    stage: Stage, api: HfApi, clock: ManualClock, tmp_path: Path
) -> None:
    put(api, "alice/one", {"w.bin": WEIGHTS})
    signed = httpx2.head(f"{stage.url}/alice/one/resolve/main/w.bin").headers["location"]
    stage.open(tmp_path / "hub", clock=clock)
    assert httpx2.get(signed).content == WEIGHTS
    other = tmp_path / "other"
    stage.open(other, clock=clock)
    assert httpx2.get(signed).status_code == 403


def test_a_deleted_repo_takes_its_signed_addresses_along(stage: Stage, api: HfApi) -> None:
    put(api, "alice/one", {"w.bin": WEIGHTS})
    signed = httpx2.head(f"{stage.url}/alice/one/resolve/main/w.bin").headers["location"]
    api.delete_repo("alice/one")
    assert httpx2.get(signed).status_code == 404
