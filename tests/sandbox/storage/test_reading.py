"""Reading objects: packed content, entity tags, parts of resources, globs."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api

from tests.sandbox.storage.stage import (
    BUCKET,
    StorageFace,
)

ROWS = b'{"prompt": "a"}\n' * 200_000


def _packed(bucket: Any, **about: Any) -> Any:
    blob = bucket.blob("rows.jsonl")
    blob.content_encoding = "gzip"
    for field, value in about.items():
        setattr(blob, field, value)
    blob.upload_from_string(gzip.compress(ROWS), content_type="application/jsonl")
    return blob


def _media(face: StorageFace, name: str, **headers: str) -> requests.Response:
    url = f"{face.url}/download/storage/v1/b/{BUCKET}/o/{name}?alt=media"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(url, headers=sent, timeout=10, stream=True)


def test_packed_content_is_unpacked_for_who_does_not_take_it_packed(
    bucket: Any, face: StorageFace
) -> None:
    blob = _packed(bucket)
    answer = _media(face, "rows.jsonl", accept_encoding="identity")
    assert answer.raw.read(decode_content=False) == ROWS
    assert "content-encoding" not in answer.headers
    assert "content-length" not in answer.headers
    assert answer.headers["x-goog-stored-content-encoding"] == "gzip"
    assert answer.headers["x-goog-stored-content-length"] == str(blob.size)
    # The sums are those of what is stored.
    assert answer.headers["x-goog-hash"] == f"crc32c={blob.crc32c},md5={blob.md5_hash}"
    assert answer.headers["x-guploader-response-body-transformations"] == "gunzipped"


@pytest.mark.parametrize("accepted", ["gzip", "deflate, gzip;q=0.5", "x-gzip"])
def test_packed_content_is_sent_packed_to_who_takes_it(
    bucket: Any, face: StorageFace, accepted: str
) -> None:
    blob = _packed(bucket)
    answer = _media(face, "rows.jsonl", accept_encoding=accepted)
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.raw.read(decode_content=False)) == ROWS
    assert answer.headers["content-length"] == str(blob.size)


@pytest.mark.parametrize("accepted", ["gzip;q=0", "br", ""])
def test_gzip_may_be_refused_in_many_ways(bucket: Any, face: StorageFace, accepted: str) -> None:
    _packed(bucket)
    answer = _media(face, "rows.jsonl", accept_encoding=accepted)
    assert answer.raw.read(decode_content=False) == ROWS


def test_a_range_is_ignored_where_content_is_unpacked(bucket: Any, face: StorageFace) -> None:
    _packed(bucket)
    answer = _media(face, "rows.jsonl", accept_encoding="identity", range="bytes=0-9")
    assert (answer.status_code, answer.raw.read(decode_content=False)) == (200, ROWS)


def test_content_marked_no_transform_is_never_unpacked(bucket: Any, face: StorageFace) -> None:
    _packed(bucket, cache_control="no-transform")
    answer = _media(face, "rows.jsonl", accept_encoding="identity")
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.raw.read(decode_content=False)) == ROWS


def test_the_client_unpacks_or_keeps_packed_content(bucket: Any) -> None:
    blob = _packed(bucket)
    assert blob.download_as_bytes() == ROWS
    assert gzip.decompress(blob.download_as_bytes(raw_download=True)) == ROWS


def test_content_that_unpacks_to_very_much_is_unpacked_in_little_memory(
    bucket: Any, face: StorageFace
) -> None:
    blob = bucket.blob("zeros")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(bytes(64 << 20), 6))
    tracemalloc.start()
    try:
        answer = _media(face, "zeros", accept_encoding="identity")
        received = sum(map(len, answer.iter_content(1 << 20)))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received == 64 << 20
    assert peak_bytes < 16 << 20


def test_a_head_tells_what_a_download_would(bucket: Any, face: StorageFace) -> None:
    bucket.blob("x").upload_from_string(b"content")
    url = f"{face.url}/download/storage/v1/b/{BUCKET}/o/x?alt=media"
    head = requests.head(url, timeout=10)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "7", b"")
    assert head.headers["x-goog-hash"] == requests.get(url, timeout=10).headers["x-goog-hash"]


def test_entity_tags_are_conditions_of_reads(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"one")
    seen = bucket.blob("x")
    for read in (seen.reload, seen.download_as_bytes):
        read(if_etag_match=blob.etag)
        read(if_etag_not_match="another")
        with pytest.raises(api.PreconditionFailed):
            read(if_etag_match="another")
        with pytest.raises(api.NotModified):
            read(if_etag_not_match=blob.etag)
    assert seen.etag == blob.etag
    blob.metadata = {"a": "b"}
    blob.patch()
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("x").reload(if_etag_match=seen.etag)


def test_metagenerations_are_conditions_of_reads(bucket: Any) -> None:
    bucket.blob("x").upload_from_string(b"one")
    blob = bucket.blob("x")
    for read in (blob.reload, blob.download_as_bytes):
        read(if_metageneration_match=1)
        read(if_metageneration_not_match=2)
        with pytest.raises(api.PreconditionFailed):
            read(if_metageneration_match=2)
        with pytest.raises(api.NotModified):
            read(if_metageneration_not_match=1)


def test_only_the_fields_asked_for_are_told(bucket: Any, face: StorageFace) -> None:
    blob = bucket.blob("a/x")
    blob.metadata = {"k": "v", "other": "w"}
    blob.upload_from_string(b"1234")
    bucket.blob("b").upload_from_string(b"")
    one = f"{face.url}/storage/v1/b/{BUCKET}/o/a%2Fx"
    all_ = f"{face.url}/storage/v1/b/{BUCKET}/o"
    for url, fields, told in (
        (one, "name,size", {"name": "a/x", "size": "4"}),
        (one, "metadata/k", {"metadata": {"k": "v"}}),
        (one, "metadata(k), size", {"metadata": {"k": "v"}, "size": "4"}),
        (all_, "items/name", {"items": [{"name": "a/x"}, {"name": "b"}]}),
        (
            all_,
            "items(name,metadata/*),nextPageToken",
            {"items": [{"name": "a/x", "metadata": {"k": "v", "other": "w"}}, {"name": "b"}]},
        ),
        (all_, "kind,nothing", {"kind": "storage#objects"}),
    ):
        assert requests.get(url, {"fields": fields}, timeout=10).json() == told
    for wrong in ("items(name", "items(", "a b,)", "/a", "a,,b", "a/", "é"):
        answer = requests.get(all_, {"fields": wrong}, timeout=10)
        assert answer.status_code == 400, wrong


def test_the_answer_to_an_upload_can_be_cut_to_its_fields(face: StorageFace) -> None:
    url = f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x&fields=generation"
    assert list(requests.post(url, b"1", timeout=10).json()) == ["generation"]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*.json", ["a.json"]),
        ("**.json", ["a.json", "d/b.json", "d/e/c.json"]),
        ("**/*.json", ["a.json", "d/b.json", "d/e/c.json"]),
        ("d/*", ["d/b.json"]),
        ("d/**", ["d/b.json", "d/e/c.json"]),
        ("?.json", ["a.json"]),
        ("**[bc].json", ["d/b.json", "d/e/c.json"]),
        ("**[!a-b].json", ["d/e/c.json"]),
        ("{a,d/b}.json", ["a.json", "d/b.json"]),
        ("f\\*,{x}", ["f*,{x}"][:0]),
        ("f\\*,\\{x\\}", ["f*,{x}"]),
        ("a.jso", []),
    ],
)
def test_a_glob_selects_by_the_whole_name(client: Any, glob: str, found: list[str]) -> None:
    for name in ("a.json", "d/b.json", "d/e/c.json", "f*,{x}"):
        client.bucket(BUCKET).blob(name).upload_from_string(b"")
    assert [b.name for b in client.list_blobs(BUCKET, match_glob=glob)] == found


@pytest.mark.parametrize("glob", ["[a", "{a,b", "[]", "[z-a]", "[!]"])
def test_a_glob_that_means_nothing_is_refused(client: Any, glob: str) -> None:
    with pytest.raises(api.BadRequest):
        list(client.list_blobs(BUCKET, match_glob=glob))


def test_pages_stay_the_same_when_objects_come_and_go(face: StorageFace) -> None:
    for name in "bdfh":
        face.disk.insert(BUCKET, name, b"")
    url = f"{face.url}/storage/v1/b/{BUCKET}/o"
    first = requests.get(url, {"maxResults": "2"}, timeout=10).json()
    face.disk.delete(BUCKET, "d")
    face.disk.insert(BUCKET, "a", b"")
    face.disk.insert(BUCKET, "e", b"")
    token = first["nextPageToken"]
    rest = requests.get(url, {"pageToken": token}, timeout=10).json()
    assert [item["name"] for item in first["items"] + rest["items"]] == ["b", "d", "e", "f", "h"]
    assert requests.get(url, {"pageToken": "!"}, timeout=10).status_code == 400


def test_links_in_answers_lead_back_to_the_object(bucket: Any, face: StorageFace) -> None:
    bucket.blob("a/b c%2F").upload_from_string(b"content")
    seen = bucket.get_blob("a/b c%2F")
    assert requests.get(seen.media_link, timeout=10).content == b"content"
    assert requests.get(seen.self_link, timeout=10).json()["name"] == "a/b c%2F"


def test_links_carry_the_token_that_came_in_the_address(bucket: Any, face: StorageFace) -> None:
    bucket.blob("x").upload_from_string(b"content")
    url = f"{face.url.replace('//', '//sandbox:secret@')}/storage/v1/b/{BUCKET}/o/x"
    link = requests.get(url, timeout=10).json()["mediaLink"]
    assert link.startswith("http://sandbox:secret@127.0.0.1:")
    assert requests.get(link, timeout=10).content == b"content"
