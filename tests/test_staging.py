"""Staging against the Cloud Storage face, through Google's client."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Conflict, InputError, NotFound
from orchestrator.staging import StagedFile, stage
from orchestrator.stores.base import ObjectStore, Progress, Put
from orchestrator.stores.gcs import GcsStore
from tests.sandbox.storage.stage import (
    BUCKET,
    ERROR_AFTER,
    FaceServer,
    StorageFace,
    fault,
    retry_at_once,
)

ROOT = f"gs://{BUCKET}/folder"


@pytest.fixture(scope="module")
def server() -> Iterator[FaceServer]:
    with FaceServer() as server:
        yield server


@pytest.fixture
def face(server: FaceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageFace:
    retry_at_once(monkeypatch)
    return server.face(tmp_path / "disk")


@pytest.fixture
def store(face: StorageFace) -> Iterator[ObjectStore]:
    store = GcsStore(None, face.url, timeout_s=10)
    yield store
    store.close()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    files = {"train": tmp_path / "train.jsonl", "validation": tmp_path / "validation.jsonl"}
    files["train"].write_bytes(b'{"prompt": "a"}\n' * 1000)
    files["validation"].write_bytes(b'{"prompt": "b"}\n')
    return files


def test_a_file_is_stored_under_its_digest(
    store: ObjectStore, face: StorageFace, files: dict[str, Path]
) -> None:
    staged = stage(store, files, ROOT)
    sha256 = hashlib.sha256(files["train"].read_bytes()).hexdigest()
    assert list(staged) == ["train", "validation"]
    assert staged["train"] == StagedFile(
        uri=f"{ROOT}/staged/{sha256}.jsonl", size_bytes=16_000, sha256=sha256, uploaded=True
    )
    version = face.disk.get(BUCKET, f"folder/staged/{sha256}.jsonl")
    assert version is not None
    assert version.path.read_bytes() == files["train"].read_bytes()


def test_staging_again_sends_nothing(
    store: ObjectStore, face: StorageFace, files: dict[str, Path]
) -> None:
    first = stage(store, files, ROOT)
    second = stage(store, files, ROOT + "/")
    assert face.uploads() == 2
    assert [staged.uploaded for staged in second.values()] == [False, False]
    assert {k: s.uri for k, s in second.items()} == {k: s.uri for k, s in first.items()}


def test_one_changed_byte_is_one_upload(
    store: ObjectStore, face: StorageFace, files: dict[str, Path]
) -> None:
    first = stage(store, files, ROOT)
    changed = bytearray(files["train"].read_bytes())
    changed[500] ^= 1
    files["train"].write_bytes(changed)
    second = stage(store, files, ROOT)
    assert face.uploads() == 3
    assert [staged.uploaded for staged in second.values()] == [True, False]
    assert first["train"].uri != second["train"].uri
    assert len(store.list(f"{ROOT}/staged/")) == 3


def test_the_same_content_under_two_names_is_sent_once(
    store: ObjectStore, face: StorageFace, files: dict[str, Path]
) -> None:
    files["validation"].write_bytes(files["train"].read_bytes())
    staged = stage(store, files, ROOT)
    assert staged["train"].uri == staged["validation"].uri
    assert face.uploads() == 1


def test_a_lost_answer_makes_no_second_generation(
    store: ObjectStore, face: StorageFace, files: dict[str, Path]
) -> None:
    face.faults.add(fault("POST", "/upload/", **ERROR_AFTER))
    staged = stage(store, {"train": files["train"]}, ROOT)
    assert [injection.hidden_status for injection in face.faults.injected] == [200]
    assert face.uploads() == 2
    assert staged["train"].uploaded is False  # the second try found what the first had stored
    (stored,) = store.list(ROOT)
    assert stored.uri == staged["train"].uri
    assert stage(store, {"train": files["train"]}, ROOT)["train"].uploaded is False
    assert store.list(ROOT) == [stored]


def test_other_bytes_under_the_digest_are_a_conflict(
    store: ObjectStore, face: StorageFace, files: dict[str, Path]
) -> None:
    sha256 = hashlib.sha256(files["train"].read_bytes()).hexdigest()
    face.disk.insert(BUCKET, f"folder/staged/{sha256}.jsonl", b"planted")
    with pytest.raises(Conflict, match=sha256):
        stage(store, files, ROOT)
    assert face.uploads() == 0


def test_a_missing_bucket_is_not_found(store: ObjectStore, files: dict[str, Path]) -> None:
    with pytest.raises(NotFound, match="gs://no-such-bucket"):
        stage(store, files, "gs://no-such-bucket/folder")


def test_a_missing_file_is_named(store: ObjectStore, face: StorageFace, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        stage(store, {"train": tmp_path / "nothing.jsonl"}, ROOT)
    assert "nothing.jsonl" in str(caught.value)
    assert face.uploads() == 0


def test_a_file_that_changes_meanwhile_is_an_error(
    store: ObjectStore, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put

    def rewritten(file: Path, uri: str, progress: Progress | None = None) -> Put:
        file.write_bytes(b"other rows\n")
        return put(file, uri, progress)

    monkeypatch.setattr(store, "put", rewritten)
    with pytest.raises(InputError, match="changed while it was staged") as caught:
        stage(store, files, ROOT)
    assert f"{ROOT}/staged/" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("rows", ""), ("rows.csv", ".csv"), ("rows.tar.gz", ".gz"), ("rows.a b", ""), (".hidden", "")],
)
def test_only_a_plain_suffix_is_kept(
    store: ObjectStore, face: StorageFace, tmp_path: Path, name: str, suffix: str
) -> None:
    (tmp_path / name).write_bytes(b"1")
    staged = stage(store, {"x": tmp_path / name}, f"gs://{BUCKET}")["x"]
    assert staged.uri == f"gs://{BUCKET}/staged/{staged.sha256}{suffix}"


def test_neither_staging_nor_the_store_imports_google_before_it_is_used() -> None:
    script = (
        "import sys, orchestrator.staging, orchestrator.stores.gcs as gcs\n"
        "gcs.GcsStore('project')\n"
        "heavy = ('google.cloud.storage', 'google.api_core', 'google.auth', 'requests')\n"
        "found = [name for name in sys.modules if name.startswith(heavy)]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
