"""The XML API, judged by object_store (through obstore), which writes and reads with it alone."""

from __future__ import annotations

import os
from typing import Any

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    NotModifiedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import GCSStore

from tests.sandbox.storage.gated.stage import BUCKET, TOKEN, GatedStorage

PART_BYTES = 5 << 20


def store_of(face: GatedStorage, token: str = TOKEN) -> GCSStore:
    return GCSStore(
        BUCKET,
        base_url=face.url,
        bearer_token=token,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


@pytest.fixture
def store(face: GatedStorage) -> GCSStore:
    return store_of(face)


def read(store: GCSStore, name: str) -> bytes:
    return bytes(store.get(name).bytes())


def version_of(result: Any) -> Any:
    return {"e_tag": result["e_tag"], "version": result["version"]}


def test_an_object_comes_back_with_its_size_etag_and_generation(
    store: GCSStore, face: GatedStorage
) -> None:
    put = store.put("a/rows.jsonl", b"{}\n")
    found = store.get("a/rows.jsonl")
    stored = face.disk.need(BUCKET, "a/rows.jsonl")
    assert bytes(found.bytes()) == b"{}\n"
    assert found.meta["size"] == 3
    assert put["version"] == found.meta["version"] == str(stored.generation)
    assert put["e_tag"] == found.meta["e_tag"]
    assert store.head("a/rows.jsonl") == found.meta


def test_attributes_and_metadata_come_back(store: GCSStore, face: GatedStorage) -> None:
    attributes = {
        "Content-Type": "application/jsonl",
        "Cache-Control": "no-store",
        "Content-Language": "en",
        "run": "r-1",
    }
    store.put("x", b"1", attributes=attributes)
    assert store.get("x").attributes == attributes
    stored = face.disk.need(BUCKET, "x")
    assert (stored.content_type, stored.metadata) == ("application/jsonl", {"run": "r-1"})


def test_create_refuses_a_name_that_is_taken(store: GCSStore) -> None:
    store.put("x", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        store.put("x", b"second", mode="create")
    assert read(store, "x") == b"first"


def test_update_writes_only_over_the_version_that_was_read(store: GCSStore) -> None:
    first = store.put("x", b"first")
    store.put("x", b"second", mode=version_of(first))
    with pytest.raises(PreconditionError):
        store.put("x", b"third", mode=version_of(first))
    assert read(store, "x") == b"second"


def test_reads_can_ask_for_an_etag(store: GCSStore) -> None:
    etag = store.put("x", b"1")["e_tag"]
    assert bytes(store.get("x", options={"if_match": etag}).bytes()) == b"1"
    with pytest.raises(PreconditionError):
        store.get("x", options={"if_match": '"other"'})
    with pytest.raises(NotModifiedError):
        store.get("x", options={"if_none_match": etag})


def test_reads_can_ask_for_a_generation(store: GCSStore) -> None:
    version = store.put("x", b"1")["version"]
    assert bytes(store.get("x", options={"version": version}).bytes()) == b"1"
    store.put("x", b"2")
    with pytest.raises(FileNotFoundError):
        store.get("x", options={"version": version})


def test_reads_can_ask_for_what_has_changed_since(store: GCSStore) -> None:
    store.put("x", b"1")
    modified = store.head("x")["last_modified"]
    with pytest.raises(NotModifiedError):
        store.get("x", options={"if_modified_since": modified})
    assert bytes(store.get("x", options={"if_unmodified_since": modified}).bytes()) == b"1"


def test_ranges_are_exact(store: GCSStore) -> None:
    content = os.urandom(100_000)
    store.put("x", content)
    assert bytes(store.get_range("x", start=10, length=5)) == content[10:15]
    ranges = store.get_ranges("x", starts=[0, 50_000, 99_990], ends=[7, 60_000, 100_000])
    assert list(map(bytes, ranges)) == [content[:7], content[50_000:60_000], content[-10:]]
    tail = store.get("x", options={"range": {"suffix": 3}})
    assert (bytes(tail.bytes()), tail.range) == (content[-3:], (99_997, 100_000))


def test_lists_come_in_order_page_after_page(store: GCSStore, face: GatedStorage) -> None:
    names = sorted(f"rows/{number}" for number in range(1203))
    for name in [*names, "other"]:
        face.disk.insert(BUCKET, name, b"")
    assert [found["path"] for found in store.list("rows").collect()] == names
    after = [found["path"] for found in store.list("rows", offset=names[1200]).collect()]
    assert after == names[1201:]


def test_a_list_with_a_delimiter_shows_one_level(store: GCSStore) -> None:
    for name in ("a", "d/1", "d/2", "d/e/3", "f/4"):
        store.put(name, b"")
    top = store.list_with_delimiter()
    assert [found["path"] for found in top["objects"]] == ["a"]
    assert list(top["common_prefixes"]) == ["d", "f"]
    inner = store.list_with_delimiter("d")
    assert [found["path"] for found in inner["objects"]] == ["d/1", "d/2"]
    assert list(inner["common_prefixes"]) == ["d/e"]


def test_copy_and_rename_keep_content_and_metadata(store: GCSStore, face: GatedStorage) -> None:
    store.put("x y", b"1", attributes={"Content-Type": "text/plain", "run": "r-1"})
    store.copy("x y", "z/copy")
    store.rename("x y", "moved")
    assert [found["path"] for found in store.list().collect()] == ["moved", "z/copy"]
    for name in ("moved", "z/copy"):
        stored = face.disk.need(BUCKET, name)
        assert (stored.content_type, stored.metadata) == ("text/plain", {"run": "r-1"})
        assert read(store, name) == b"1"


def test_copy_without_overwrite_refuses_a_name_that_is_taken(store: GCSStore) -> None:
    store.put("x", b"1")
    store.put("taken", b"2")
    with pytest.raises(AlreadyExistsError):
        store.copy("x", "taken", overwrite=False)
    assert read(store, "taken") == b"2"
    with pytest.raises(FileNotFoundError):
        store.copy("nothing", "y")


def test_delete_removes_and_a_missing_object_is_not_found(store: GCSStore) -> None:
    store.put("x", b"1")
    store.delete("x")
    for call in (store.head, store.get, store.delete):
        with pytest.raises(FileNotFoundError):
            call("x")
    assert store.list().collect() == []


def test_a_multipart_upload_is_one_object_without_an_md5(
    store: GCSStore, face: GatedStorage
) -> None:
    content = os.urandom(2 * PART_BYTES + 17)
    put = store.put("big", content, use_multipart=True, chunk_size=PART_BYTES)
    assert read(store, "big") == content
    assert put["e_tag"] == store.head("big")["e_tag"]
    assert face.disk.need(BUCKET, "big").md5 == ""


def test_a_writer_sends_parts_and_closes_them_to_an_object(store: GCSStore) -> None:
    content = os.urandom(PART_BYTES + 3)
    attributes = {"Content-Type": "application/x-rows"}
    with obstore.open_writer(store, "w", attributes=attributes, buffer_size=PART_BYTES) as writer:
        writer.write(content[:PART_BYTES])
        writer.write(content[PART_BYTES:])
    assert read(store, "w") == content
    assert store.get("w").attributes == attributes


@pytest.mark.parametrize(
    "name", ["ünïcode/日本語 🚲", "with space?and#more&%2F%+", "a'b\"c", "~a<&>"]
)
def test_an_odd_name_is_a_name_like_any_other(
    store: GCSStore, face: GatedStorage, name: str
) -> None:
    store.put(name, name.encode())
    stored = [version.name for version in face.disk.list(BUCKET)]
    assert len(stored) == 1
    assert [found["path"] for found in store.list().collect()] == stored
    assert read(store, name) == name.encode()
    store.copy(name, "copy")
    store.delete(name)
    assert [version.name for version in face.disk.list(BUCKET)] == ["copy"]


def test_without_the_token_nothing_is_served(face: GatedStorage) -> None:
    with pytest.raises(UnauthenticatedError):
        store_of(face, "wrong").put("x", b"1")
    assert face.disk.list(BUCKET) == []
