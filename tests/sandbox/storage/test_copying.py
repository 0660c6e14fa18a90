"""Objects made of other objects."""

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

MIB = 1 << 20


def _put(bucket: Any, name: str, content: bytes, **about: Any) -> Any:
    blob = bucket.blob(name)
    for field, value in about.items():
        setattr(blob, field, value)
    blob.upload_from_string(content, content_type="text/x")
    return blob


def _crc32c(content: bytes) -> str:
    import base64

    import google_crc32c

    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def test_a_composite_object_has_a_crc32c_a_count_and_no_md5(bucket: Any) -> None:
    parts = [_put(bucket, f"part/{n}", bytes([n]) * 1000) for n in range(32)]
    whole = bucket.blob("whole")
    whole.content_type = "a/b"
    whole.compose(parts)
    content = b"".join(bytes([n]) * 1000 for n in range(32))
    assert whole.component_count == 32
    assert whole.crc32c == _crc32c(content)
    assert whole.md5_hash is None
    assert whole.content_type == "a/b"
    # The client checks the crc32c that comes with the download.
    assert whole.download_as_bytes() == content
    bucket.blob("more").compose([whole, parts[0]])
    assert bucket.get_blob("more").component_count == 33


def test_a_composition_of_none_or_too_many_is_refused(bucket: Any, face: StorageFace) -> None:
    part = _put(bucket, "part", b"1")
    with pytest.raises(api.BadRequest, match="32"):
        bucket.blob("whole").compose([part] * 33)
    with pytest.raises(api.BadRequest):
        bucket.blob("whole").compose([])
    with pytest.raises(api.NotFound):
        bucket.blob("whole").compose([part, bucket.blob("missing")])
    assert [v.name for v in face.disk.list(BUCKET)] == ["part"]
    assert list((face.disk.root / "drafts").iterdir()) == []


def test_a_composition_honours_every_condition(bucket: Any) -> None:
    one, two = _put(bucket, "one", b"1"), _put(bucket, "two", b"2")
    whole = bucket.blob("whole")
    with pytest.raises(api.PreconditionFailed):
        whole.compose([one, two], if_source_generation_match=[one.generation, 6])
    with pytest.raises(api.PreconditionFailed):
        whole.compose([one, two], if_generation_match=7)
    whole.compose(
        [one, two],
        if_generation_match=0,
        if_source_generation_match=[one.generation, two.generation],
    )
    with pytest.raises(api.PreconditionFailed):
        whole.compose([one, two], if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        whole.compose([one, two], if_metageneration_match=2)
    assert whole.download_as_bytes() == b"12"


def test_an_object_can_be_appended_to(bucket: Any) -> None:
    log, more = _put(bucket, "log", b"one "), _put(bucket, "more", b"two")
    log.compose([log, more], if_generation_match=log.generation)
    assert log.download_as_bytes() == b"one two"


def test_sources_may_be_deleted_after_a_composition(bucket: Any) -> None:
    parts = [_put(bucket, name, name.encode()) for name in "ab"]
    bucket.blob("whole").compose(parts, delete_source_objects=True)
    assert [blob.name for blob in bucket.list_blobs()] == ["whole"]


def test_a_rewrite_goes_on_until_it_is_done_even_over_a_restart(
    bucket: Any, face: StorageFace, server: FaceServer, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (5 * MIB // 512)
    source = _put(bucket, "from", content, metadata={"k": "v"})
    url = f"{face.url}/storage/v1/b/{BUCKET}/o/from/rewriteTo/b/{BUCKET}/o/a%2Fto"
    told: list[tuple[str, str, bool]] = []
    token: dict[str, str] = {}
    while True:
        answer = requests.post(
            url, params={"maxBytesRewrittenPerCall": str(MIB), **token}, timeout=10
        ).json()
        told.append((answer["totalBytesRewritten"], answer["objectSize"], answer["done"]))
        if answer["done"]:
            break
        assert not bucket.blob("a/to").exists()
        token = {"rewriteToken": answer["rewriteToken"]}
        server.face(tmp_path / "disk")
    size = str(len(content))
    assert told == [(str(MIB), size, False), (str(2 * MIB), size, False), (size, size, True)]
    assert "rewriteToken" not in answer
    copy = bucket.get_blob("a/to")
    assert copy.download_as_bytes() == content
    assert (copy.crc32c, copy.md5_hash) == (source.crc32c, source.md5_hash)
    assert (copy.metadata, copy.content_type) == ({"k": "v"}, "text/x")
    assert copy.generation > source.generation


def test_a_rewrite_that_lost_its_source_or_its_token_is_refused(
    bucket: Any, face: StorageFace
) -> None:
    _put(bucket, "from", bytes(2 * MIB))
    url = f"{face.url}/storage/v1/b/{BUCKET}/o/from/rewriteTo/b/{BUCKET}/o"
    one_mib = {"maxBytesRewrittenPerCall": str(MIB)}
    token = requests.post(f"{url}/to", params=one_mib, timeout=10).json()["rewriteToken"]
    more = {**one_mib, "rewriteToken": token}
    assert requests.post(f"{url}/other", params=more, timeout=10).status_code == 400
    wrong = {**one_mib, "rewriteToken": "made-up"}
    assert requests.post(f"{url}/to", params=wrong, timeout=10).status_code == 400
    odd = {"maxBytesRewrittenPerCall": "1000"}
    assert requests.post(f"{url}/to", params=odd, timeout=10).status_code == 400
    _put(bucket, "from", b"another generation")
    assert requests.post(f"{url}/to", params=more, timeout=10).status_code == 404
    assert not bucket.blob("to").exists()


def test_the_loop_of_the_client_changes_the_storage_class(bucket: Any) -> None:
    blob = _put(bucket, "x", b"content")
    blob.update_storage_class("NEARLINE")
    assert bucket.get_blob("x").storage_class == "NEARLINE"
    assert bucket.blob("x").download_as_bytes() == b"content"


def test_a_rewrite_honours_the_conditions_of_both_sides(bucket: Any) -> None:
    source = _put(bucket, "from", b"content")
    target = bucket.blob("to")
    for wrong in (
        {"if_generation_match": 7},
        {"if_source_generation_match": 7},
        {"if_source_metageneration_match": 2},
    ):
        with pytest.raises(api.PreconditionFailed):
            target.rewrite(source, **wrong)
    for unchanged in (
        {"if_source_generation_not_match": source.generation},
        {"if_source_metageneration_not_match": 1},
    ):
        with pytest.raises(api.NotModified):
            target.rewrite(source, **unchanged)
    assert not target.exists()
    target.rewrite(source, if_generation_match=0, if_source_generation_match=source.generation)
    with pytest.raises(api.PreconditionFailed):
        target.rewrite(source, if_generation_match=0)


def test_a_resource_that_is_sent_replaces_the_description_of_the_source(bucket: Any) -> None:
    source = _put(bucket, "from", b"content", metadata={"old": "1"}, cache_control="no-store")
    target = bucket.blob("to")
    target.metadata = {"new": "2"}
    target.content_type = "a/b"
    target.rewrite(source)
    seen = bucket.get_blob("to")
    assert (seen.metadata, seen.content_type, seen.cache_control) == ({"new": "2"}, "a/b", None)


def test_objects_are_copied_between_buckets_and_keep_their_content(
    client: Any, bucket: Any
) -> None:
    other = client.create_bucket("another-bucket")
    source = _put(bucket, "a/b c", b"content", metadata={"k": "v"})
    copy = bucket.copy_blob(source, other, "ünï/code", if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        bucket.copy_blob(source, other, "ünï/code", if_generation_match=0)
    source.delete()
    assert copy.metadata == {"k": "v"}
    assert other.blob("ünï/code").download_as_bytes() == b"content"


def test_a_renamed_or_moved_object_is_gone_from_its_old_name(bucket: Any) -> None:
    blob = _put(bucket, "one", b"content", metadata={"k": "v"})
    bucket.rename_blob(blob, "two", if_generation_match=0)
    moved = bucket.move_blob(bucket.blob("two"), "dir/three", if_generation_match=0)
    assert moved.metadata == {"k": "v"}
    assert [blob.name for blob in bucket.list_blobs()] == ["dir/three"]
    _put(bucket, "four", b"other")
    with pytest.raises(api.PreconditionFailed):
        bucket.move_blob(bucket.blob("four"), "dir/three", if_generation_match=0)
    assert bucket.blob("four").exists()


def test_an_object_cannot_be_moved_onto_itself(bucket: Any) -> None:
    blob = _put(bucket, "one", b"content")
    with pytest.raises(api.BadRequest, match="own name"):
        bucket.move_blob(blob, "one")
    assert bucket.get_blob("one").generation == blob.generation


def test_a_source_that_is_named_twice_is_deleted_once(bucket: Any, face: StorageFace) -> None:
    _put(bucket, "one", b"1")
    answer = requests.post(
        f"{face.url}/storage/v1/b/{BUCKET}/o/joined/compose",
        json={"sourceObjects": [{"name": "one"}] * 2, "deleteSourceObjects": True},
        timeout=10,
    )
    assert answer.status_code == 200
    assert [blob.name for blob in bucket.list_blobs()] == ["joined"]
    assert bucket.blob("joined").download_as_bytes() == b"11"


@pytest.mark.parametrize(
    "body",
    [
        {"sourceObjects": [{"name": "one", "objectPreconditions": "none"}]},
        {"sourceObjects": [{"name": "one"}], "destination": "two"},
        {"sourceObjects": ["one"]},
    ],
)
def test_a_composition_that_means_nothing_is_refused(
    bucket: Any, face: StorageFace, body: dict[str, Any]
) -> None:
    _put(bucket, "one", b"1")
    url = f"{face.url}/storage/v1/b/{BUCKET}/o/joined/compose"
    assert requests.post(url, json=body, timeout=10).status_code == 400
