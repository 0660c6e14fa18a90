"""Who is let in: the token in all its forms, the host's name, and Google's client with a token."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from orchestrator.errors import NotFound, RefusalKind, Refused
from orchestrator.sandbox.edge.gate import Gate, public_base, token_in
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.app import storage_app
from orchestrator.stores.gcs import GcsStore
from tests.sandbox.storage.stage import BUCKET

TOKEN = "sesame_open-1"
OBJECTS = f"/storage/v1/b/{BUCKET}/o"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A storage face behind a gate."""
    disk = ObjectDisk(tmp_path_factory.mktemp("disk"))
    disk.create_bucket(BUCKET)
    with AppServer(Gate(storage_app(disk), TOKEN)) as server:
        yield server.url


def with_token(url: str, token: str = TOKEN) -> str:
    return url.replace("://", f"://sandbox:{token}@")


def status(url: str, method: str = "GET", **headers: str) -> int:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, url, headers=names, timeout=10).status_code


def test_the_token_comes_as_bearer_as_basic_or_as_an_api_key(url: str) -> None:
    assert status(url + OBJECTS, authorization=f"Bearer {TOKEN}") == 200
    assert status(url + OBJECTS, authorization=f"bearer  {TOKEN} ") == 200
    assert status(url + OBJECTS, x_goog_api_key=TOKEN) == 200
    assert status(with_token(url) + OBJECTS) == 200


def test_without_the_token_nothing_is_said(url: str) -> None:
    answer = requests.get(url + OBJECTS, timeout=10)
    assert answer.status_code == 401
    assert "orchestrator sandbox env" in answer.text
    assert answer.headers["www-authenticate"] == "Bearer"
    for authorization in ("", "Bearer", "Bearer wrong", "Basic !!!", f"Digest {TOKEN}", "Bearer ü"):
        assert status(url + OBJECTS, authorization=authorization) == 401
    assert status(url + OBJECTS, x_goog_api_key="wrong") == 401
    assert status(with_token(url, "wrong") + OBJECTS) == 401


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:1", 200),
        ("LOCALHOST:1", 200),
        ("localhost", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_only_names_of_this_machine_are_served(url: str, host: str, expected: int) -> None:
    assert status(url + OBJECTS, host=host, authorization=f"Bearer {TOKEN}") == expected


def test_the_address_of_an_upload_is_a_key_of_its_own(url: str) -> None:
    upload = f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=key"
    opened = requests.post(upload, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10)
    session = opened.headers["location"]
    assert TOKEN not in session
    assert requests.put(session, b"content", timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x&upload_id=1"),
        ("GET", f"{OBJECTS}?upload_id=1"),
        ("PUT", f"{OBJECTS}/x?upload_id=1"),
        ("PUT", f"/upload/storage/v1/b/{BUCKET}/o?upload_id="),
        # A bucket of that name, by the XML API.
        ("PUT", "/upload/x?upload_id=1"),
        ("DELETE", "/upload/x?upload_id=1"),
    ],
)
def test_an_upload_id_opens_nothing_else(url: str, method: str, path: str) -> None:
    assert status(url + path, method) == 401


def test_a_gate_without_a_token_still_looks_at_the_host(tmp_path: Path) -> None:
    disk = ObjectDisk(tmp_path)
    disk.create_bucket(BUCKET)
    with AppServer(Gate(storage_app(disk), None)) as server:
        assert status(server.url + OBJECTS) == 200
        assert status(server.url + OBJECTS, host="evil.example") == 403


@pytest.mark.parametrize(
    ("method", "site", "expected"),
    [
        ("POST", "cross-site", 403),
        ("POST", "same-origin", 200),
        ("POST", "none", 200),
        ("GET", "cross-site", 200),
    ],
)
def test_without_a_token_pages_of_other_sites_change_nothing(
    tmp_path: Path, method: str, site: str, expected: int
) -> None:
    disk = ObjectDisk(tmp_path)
    disk.create_bucket(BUCKET)
    # What a form may send without asking: any text, and no header of its own.
    path = f"/upload{OBJECTS}?uploadType=media&name=x" if method == "POST" else OBJECTS
    headers = {"sec-fetch-site": site, "content-type": "text/plain"}
    with AppServer(Gate(storage_app(disk), None)) as server:
        answer = requests.request(method, server.url + path, headers=headers, timeout=10)
        assert answer.status_code == expected
    written = method == "POST" and expected == 200
    assert len(disk.list(BUCKET)) == written


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("", "http://127.0.0.1:80"),
        ("Bearer t", "http://127.0.0.1:80"),
        ("Basic dTpwOi9A", "http://u:p%3A%2F%40@127.0.0.1:80"),
        ("Basic %%%", "http://127.0.0.1:80"),
    ],
)
def test_links_carry_the_token_as_the_client_sent_it(authorization: str, expected: str) -> None:
    from starlette.requests import Request

    headers = [(b"host", b"127.0.0.1:80"), (b"authorization", authorization.encode())]
    scope = {"type": "http", "path": "/x", "query_string": b"", "headers": headers}
    assert public_base(Request(scope | {"scheme": "http", "method": "GET"})) == expected


def test_a_password_may_hold_colons() -> None:
    assert token_in("Basic dTpwOi9A") == "p:/@"


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Google's client as STORAGE_EMULATOR_HOST alone leads it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", with_token(url))
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    from google.cloud import storage

    client = storage.Client(project="p")
    yield client
    client.close()


@pytest.mark.parametrize("size_bytes", [0, 10, (9 << 20) + 1], ids=["empty", "whole", "resumable"])
def test_googles_client_uploads_and_downloads_with_the_token_in_its_address(
    client: Any, size_bytes: int, tmp_path: Path
) -> None:
    content = os.urandom(size_bytes)
    blob = client.bucket(BUCKET).blob(f"blob-{size_bytes}")
    blob.upload_from_file(io.BytesIO(content), size=size_bytes)
    assert blob.download_as_bytes() == content
    fresh = client.bucket(BUCKET).get_blob(blob.name)
    assert fresh.download_as_bytes() == content  # by the media link of the answer
    fresh.metadata = {"seen": "yes"}
    fresh.patch()
    assert [found.name for found in client.list_blobs(BUCKET, prefix=blob.name)] == [blob.name]
    fresh.delete()
    assert not fresh.exists()


def test_googles_client_streams_and_transfers_with_the_token_in_its_address(
    client: Any, tmp_path: Path
) -> None:
    from google.cloud.storage import transfer_manager

    bucket = client.bucket(BUCKET)
    with bucket.blob("stream").open("wb", chunk_size=256 * 1024) as stream:
        stream.write(bytes(600_000))
    with bucket.blob("stream").open("rb") as stream:
        assert stream.read() == bytes(600_000)
    target = tmp_path / "chunks"
    transfer_manager.download_chunks_concurrently(
        bucket.get_blob("stream"), str(target), chunk_size=1 << 18, worker_type="thread"
    )
    assert target.read_bytes() == bytes(600_000)
    # Chunks go up through the XML API.
    transfer_manager.upload_chunks_concurrently(
        str(target), bucket.blob("chunks"), chunk_size=8 << 20, worker_type="thread"
    )
    assert bucket.blob("chunks").download_as_bytes() == bytes(600_000)


def test_our_store_works_with_the_token_in_its_address_and_never_tells_it(
    url: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(100))
    store = GcsStore("project", with_token(url))
    store.check_writable(f"gs://{BUCKET}")
    stored = store.put(file, f"gs://{BUCKET}/ours").stored
    store.get(stored, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    with pytest.raises(NotFound) as missing:
        store.list("gs://no-such-bucket/x")
    store.close()
    wrong = GcsStore("project", with_token(url, "wrong-secret"))
    with pytest.raises(Refused) as refused:
        wrong.check_writable(f"gs://{BUCKET}")
    wrong.close()
    assert refused.value.kind is RefusalKind.CREDENTIALS
    assert "orchestrator sandbox env" in str(refused.value)
    assert TOKEN not in str(missing.value)
    assert "wrong-secret" not in str(refused.value)
