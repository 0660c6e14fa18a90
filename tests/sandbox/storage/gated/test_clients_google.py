"""The storage face behind its gate, judged by Google's client and its transfer manager."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.exceptions import InvalidOperation
from google.cloud import storage
from google.cloud.storage import transfer_manager
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from tests.sandbox.storage.gated.stage import BUCKET, GatedServer, GatedStorage
from tests.sandbox.storage.stage import retry_at_once

PART_BYTES = 5 << 20
THREADS = {"worker_type": transfer_manager.THREAD, "max_workers": 2}


@pytest.fixture
def face(server: GatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GatedStorage:
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    retry_at_once(monkeypatch)
    face = server.serve(tmp_path / "disk")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", face.address)
    return face


@pytest.fixture
def bucket(face: GatedStorage) -> Iterator[Any]:
    client = storage.Client(project="sandbox")
    yield client.bucket(BUCKET)
    client.close()


def test_many_files_go_up_and_come_down(bucket: Any, tmp_path: Path) -> None:
    names = [f"d{number % 3}/{number}" for number in range(9)]
    for name in names:
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(name.encode())
    up = transfer_manager.upload_many_from_filenames(
        bucket, names, source_directory=str(tmp_path / "up"), **THREADS
    )
    assert up == [None] * 9
    assert sorted(blob.name for blob in bucket.list_blobs()) == sorted(names)
    (tmp_path / "down").mkdir()
    down = transfer_manager.download_many_to_path(
        bucket, names, destination_directory=str(tmp_path / "down"), **THREADS
    )
    assert down == [None] * 9
    assert all((tmp_path / "down" / name).read_bytes() == name.encode() for name in names)


def test_a_second_upload_of_many_can_be_refused(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    pairs = [(str(tmp_path / "x"), bucket.blob("x"))]
    options = THREADS | {"upload_kwargs": {"if_generation_match": 0}}
    assert transfer_manager.upload_many(pairs, **options) == [None]
    again = transfer_manager.upload_many(pairs, skip_if_exists=True, **options)
    assert [getattr(error, "code", None) for error in again] in ([412], [None])
    assert bucket.get_blob("x").metageneration == 1


@pytest.mark.parametrize("size_bytes", [2 * PART_BYTES + 17, 2 * PART_BYTES, 100])
def test_a_file_goes_up_in_parts_at_once(
    bucket: Any, face: GatedStorage, tmp_path: Path, size_bytes: int
) -> None:
    content = os.urandom(size_bytes)
    (tmp_path / "big").write_bytes(content)
    blob = bucket.blob("dir/big file%2F")
    blob.metadata = {"run": "r-1"}
    blob.cache_control = "no-store"
    transfer_manager.upload_chunks_concurrently(
        str(tmp_path / "big"), blob, content_type="text/x-rows", chunk_size=PART_BYTES, **THREADS
    )
    seen = bucket.get_blob("dir/big file%2F")
    assert (seen.size, seen.content_type, seen.metadata) == (
        size_bytes,
        "text/x-rows",
        {"run": "r-1"},
    )
    assert (seen.cache_control, seen.md5_hash) == ("no-store", None)
    assert seen.download_as_bytes() == content
    assert list((face.disk.root / "multipart").iterdir()) == []


def test_a_file_comes_down_in_parts_at_once(bucket: Any, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    bucket.blob("x").upload_from_string(content)
    transfer_manager.download_chunks_concurrently(
        bucket.blob("x"), str(tmp_path / "x"), chunk_size=1_000_000, **THREADS
    )
    assert (tmp_path / "x").read_bytes() == content


def test_a_part_that_was_damaged_on_its_way_is_refused(
    bucket: Any, face: GatedStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"content")
    send = requests.Session.request

    def damage(self: Any, method: str, url: str, data: Any = None, **rest: Any) -> Any:
        return send(self, method, url, data=b"c0ntent" if method == "PUT" else data, **rest)

    monkeypatch.setattr(requests.Session, "request", damage)
    with pytest.raises(DataCorruption, match="BadDigest"):
        transfer_manager.upload_chunks_concurrently(
            str(tmp_path / "x"), bucket.blob("x"), checksum="crc32c", **THREADS
        )
    assert face.disk.list(BUCKET) == []
    assert list((face.disk.root / "multipart").iterdir()) == []


def test_an_upload_in_parts_to_a_missing_bucket_is_not_found(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    with pytest.raises(InvalidResponse, match="404"):
        transfer_manager.upload_chunks_concurrently(
            str(tmp_path / "x"), bucket.client.bucket("nothing").blob("x"), **THREADS
        )


@pytest.mark.parametrize("content", [b"\r\n", b"\n", b"\r\n--==", b"a\r\nb\n--\r\n", b""])
def test_line_ends_at_the_edges_of_a_body_stay(bucket: Any, content: bytes) -> None:
    bucket.blob("x").upload_from_string(content)
    assert bucket.blob("x").download_as_bytes() == content


def test_links_lead_back_through_the_gate(bucket: Any) -> None:
    bucket.blob("x").upload_from_string(b"1" * 9_000_000)
    found = bucket.get_blob("x")
    assert found.download_as_bytes() == b"1" * 9_000_000
    assert requests.get(found.self_link, timeout=10).json()["name"] == "x"
    assert requests.get(found.media_link, timeout=10).content == b"1" * 9_000_000


def test_without_the_token_nothing_is_served(
    face: GatedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", face.url)
    client = storage.Client(project="sandbox")
    # What this client makes of a 401 when it has no credentials to refresh.
    with pytest.raises(InvalidOperation):
        client.bucket(BUCKET).blob("x").upload_from_string(b"1")
    client.close()
    assert face.disk.list(BUCKET) == []
