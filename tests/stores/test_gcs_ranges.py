"""Parts of objects, removal of one generation, and what is told while bytes move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Conflict, NotFound
from orchestrator.stores.base import StoredObject
from orchestrator.stores.gcs import GcsStore
from tests.sandbox.storage.stage import BUCKET, FaceServer, StorageFace, retry_at_once

URI = f"gs://{BUCKET}/folder/log"


@pytest.fixture(scope="module")
def server() -> Iterator[FaceServer]:
    with FaceServer() as server:
        yield server


@pytest.fixture
def face(server: FaceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageFace:
    retry_at_once(monkeypatch)
    return server.face(tmp_path / "disk")


@pytest.fixture
def store(face: StorageFace) -> Iterator[GcsStore]:
    store = GcsStore(None, face.url, timeout_s=10)
    yield store
    store.close()


def put(store: GcsStore, folder: Path, content: bytes) -> StoredObject:
    file = folder / "content"
    file.write_bytes(content)
    return store.put(file, URI).stored


@pytest.mark.parametrize(
    ("start", "size_bytes", "expected"),
    [(0, 4, b"0123"), (8, 100, b"89"), (9, 1, b"9"), (10, 5, b""), (99, 5, b""), (3, 0, b"")],
)
def test_a_part_is_read(
    store: GcsStore, tmp_path: Path, start: int, size_bytes: int, expected: bytes
) -> None:
    assert store.read_range(put(store, tmp_path, b"0123456789"), start, size_bytes) == expected


def test_a_part_of_a_generation_that_is_gone_is_not_found(store: GcsStore, tmp_path: Path) -> None:
    old = put(store, tmp_path, b"0123456789")
    assert store.delete(old)
    put(store, tmp_path, b"abcdefghij")
    with pytest.raises(NotFound):
        store.read_range(old, 0, 5)


def test_deleting_removes_once(store: GcsStore, tmp_path: Path) -> None:
    stored = put(store, tmp_path, b"x")
    assert store.delete(stored) is True
    assert store.stat(URI) is None
    assert store.delete(stored) is False


def test_deleting_leaves_a_younger_generation(store: GcsStore, tmp_path: Path) -> None:
    old = put(store, tmp_path, b"old")
    store.delete(old)
    young = put(store, tmp_path, b"young")
    with pytest.raises(Conflict):
        store.delete(old)
    assert store.stat(URI) == young


def test_an_object_tells_when_it_was_written(store: GcsStore, tmp_path: Path) -> None:
    first = put(store, tmp_path, b"x")
    assert first.created_at is not None
    (listed,) = store.list(URI)
    assert listed.created_at is not None
    assert listed.created_at.tzinfo is not None


@pytest.mark.parametrize("size_bytes", [0, 1, 1 << 20, (16 << 20) + 5])
def test_sending_tells_every_byte_once(store: GcsStore, tmp_path: Path, size_bytes: int) -> None:
    told: list[int] = []
    file = tmp_path / "content"
    file.write_bytes(b"x" * size_bytes)
    assert store.put(file, URI, told.append).created
    assert sum(told) == size_bytes
    assert all(count > 0 for count in told)
    told.clear()
    assert not store.put(file, URI, told.append).created
    assert told == []
