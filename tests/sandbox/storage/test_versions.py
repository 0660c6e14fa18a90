"""Versions of objects, and what protects them from being replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api

from tests.sandbox.storage.stage import (
    BUCKET,
    FaceServer,
    StorageFace,
)


@pytest.fixture
def versioned(client: Any) -> Any:
    bucket = client.get_bucket(BUCKET)
    bucket.versioning_enabled = True
    bucket.patch()
    return bucket


def _generations(client: Any, name: str = "x") -> list[int]:
    found = client.list_blobs(BUCKET, prefix=name, versions=True)
    return [blob.generation for blob in found]


def _write(bucket: Any, *contents: bytes) -> list[int]:
    generations = []
    for content in contents:
        blob = bucket.blob("x")
        blob.upload_from_string(content)
        generations.append(blob.generation)
    return generations


def test_replaced_objects_stay_readable_by_their_generation(client: Any, versioned: Any) -> None:
    first, second = _write(versioned, b"one", b"two")
    assert _generations(client) == [first, second]
    assert [blob.generation for blob in client.list_blobs(BUCKET)] == [second]
    assert versioned.blob("x").download_as_bytes() == b"two"
    assert versioned.blob("x", generation=first).download_as_bytes() == b"one"
    old = versioned.get_blob("x", generation=first)
    assert old.time_deleted is not None
    assert versioned.get_blob("x").time_deleted is None


def test_without_versioning_a_replaced_object_is_gone(client: Any, bucket: Any) -> None:
    first, second = _write(bucket, b"one", b"two")
    assert _generations(client) == [second]
    with pytest.raises(api.NotFound):
        bucket.blob("x", generation=first).download_as_bytes()


def test_a_deleted_object_becomes_noncurrent_and_its_generation_can_be_deleted(
    client: Any, versioned: Any
) -> None:
    first, second = _write(versioned, b"one", b"two")
    versioned.blob("x").delete()
    assert not versioned.blob("x").exists()
    with pytest.raises(api.NotFound):
        versioned.blob("x").delete()
    assert _generations(client) == [first, second]
    versioned.blob("x", generation=first).delete()
    assert _generations(client) == [second]
    with pytest.raises(api.NotFound):
        versioned.blob("x", generation=first).reload()
    with pytest.raises(api.Conflict):
        versioned.delete()
    versioned.blob("x", generation=second).delete()
    versioned.delete()


def test_the_live_version_is_deleted_for_good_by_its_generation(
    client: Any, versioned: Any
) -> None:
    first, second = _write(versioned, b"one", b"two")
    versioned.blob("x", generation=second).delete()
    assert _generations(client) == [first]
    assert not versioned.blob("x").exists()


def test_a_noncurrent_version_can_be_described_anew(client: Any, versioned: Any) -> None:
    first, _ = _write(versioned, b"one", b"two")
    old = versioned.blob("x", generation=first)
    old.metadata = {"kept": "yes"}
    old.patch(if_metageneration_match=1)
    assert (old.metageneration, old.metadata) == (2, {"kept": "yes"})
    assert versioned.get_blob("x").metadata is None
    assert versioned.get_blob("x", generation=first).metadata == {"kept": "yes"}


def test_a_copy_brings_an_old_version_back(client: Any, versioned: Any) -> None:
    first, _ = _write(versioned, b"one", b"two")
    versioned.copy_blob(versioned.blob("x"), versioned, "x", source_generation=first)
    assert versioned.blob("x").download_as_bytes() == b"one"
    assert len(_generations(client)) == 3


def test_versions_survive_a_restart(
    client: Any, versioned: Any, server: FaceServer, tmp_path: Path
) -> None:
    first, second = _write(versioned, b"one", b"two")
    versioned.blob("x").delete()
    server.face(tmp_path / "disk")
    assert _generations(client) == [first, second]
    assert not versioned.blob("x").exists()
    assert versioned.blob("x", generation=first).download_as_bytes() == b"one"
    assert client.get_bucket(BUCKET).versioning_enabled
    third = _write(versioned, b"three")[0]
    assert third > second


def test_a_version_that_was_not_replaced_after_all_is_live_after_a_crash(
    client: Any, versioned: Any, server: FaceServer, face: StorageFace, tmp_path: Path
) -> None:
    (only,) = _write(versioned, b"one")
    version = face.disk.need(BUCKET, "x")
    # The state between keeping the old version and writing the new one.
    live = version.path.with_name(version.path.name.split(".")[0] + ".json")
    live.with_name(f"{live.stem}.{only}.json").write_bytes(live.read_bytes())
    server.face(tmp_path / "disk")
    assert _generations(client) == [only]
    versioned.blob("x", generation=only).delete()
    assert _generations(client) == []


def test_pages_of_versions_begin_where_the_last_one_ended(client: Any, versioned: Any) -> None:
    made = _write(versioned, b"1", b"2", b"3", b"4", b"5")
    pages = client.list_blobs(BUCKET, versions=True, page_size=2).pages
    assert [[blob.generation for blob in page] for page in pages] == [made[:2], made[2:4], made[4:]]


@pytest.mark.parametrize("hold", ["temporary_hold", "event_based_hold"])
def test_a_held_object_is_neither_replaced_nor_deleted(bucket: Any, hold: str) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"one")
    setattr(blob, hold, True)
    blob.patch()
    with pytest.raises(api.Forbidden):
        bucket.blob("x").delete()
    with pytest.raises(api.Forbidden):
        bucket.blob("x").upload_from_string(b"two")
    with pytest.raises(api.Forbidden):
        bucket.move_blob(blob, "y")
    assert not bucket.blob("y").exists()
    setattr(blob, hold, False)
    blob.patch()
    bucket.blob("x").delete()


def test_a_retention_policy_keeps_objects_until_their_time(client: Any, bucket: Any) -> None:
    kept = client.get_bucket(BUCKET)
    kept.retention_period = 3600
    kept.patch()
    blob = bucket.blob("x")
    blob.upload_from_string(b"one")
    assert (blob.retention_expiration_time - blob.time_created).total_seconds() == 3600
    with pytest.raises(api.Forbidden, match="retention policy"):
        blob.delete()
    kept.lock_retention_policy()
    kept.retention_period = 60
    with pytest.raises(api.Forbidden):
        kept.patch()


def test_a_bucket_of_an_earlier_version_of_the_sandbox_is_read(
    face: StorageFace, server: FaceServer, client: Any, tmp_path: Path
) -> None:
    import json

    for file in (tmp_path / "disk" / "buckets").glob("*/bucket.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps({"name": record["name"], "created": record["created"]}))
    server.face(tmp_path / "disk")
    assert client.get_bucket(BUCKET).metageneration == 1


def test_soft_deleted_objects_are_not_served(face: StorageFace) -> None:
    answer = requests.get(
        f"{face.url}/storage/v1/b/{BUCKET}/o", {"softDeleted": "true"}, timeout=10
    )
    assert answer.status_code == 501
