"""The Cloud Storage face, judged by Google's own client."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud.storage import transfer_manager
from google.cloud.storage.exceptions import DataCorruption

from tests.sandbox.storage.stage import (
    BUCKET,
    DROP_AFTER,
    ERROR_AFTER,
    StorageFace,
    fault,
)

ODD_NAMES = [
    "a//b",
    "../up",
    "a/../b",
    "/etc/passwd",
    "dir/",
    "conf",
    "conf/inner",
    "o/o/o",
    "ünïcode/日本語 🚲",
    "with space?and#more&%2F%+",
    "C:\\windows",
    "b/x/o/y",
    "~a",
]


def test_an_object_and_what_is_known_of_it_come_back(bucket: Any) -> None:
    blob = bucket.blob("rows.jsonl")
    blob.metadata = {"run": "r-1"}
    blob.cache_control = "no-store"
    blob.upload_from_string(b"{}\n", content_type="application/jsonl")
    seen = bucket.get_blob("rows.jsonl")
    assert seen.download_as_bytes() == b"{}\n"
    assert (seen.size, seen.generation, seen.metageneration) == (3, blob.generation, 1)
    assert (seen.content_type, seen.metadata) == ("application/jsonl", {"run": "r-1"})
    assert (seen.crc32c, seen.md5_hash) == (blob.crc32c, blob.md5_hash)
    assert seen.cache_control == "no-store"
    assert seen.time_created == seen.updated


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_is_a_name_like_any_other(bucket: Any, face: StorageFace, name: str) -> None:
    bucket.blob(name).upload_from_string(name.encode())
    assert [blob.name for blob in bucket.list_blobs()] == [name]
    assert bucket.blob(name).exists()
    assert bucket.blob(name).download_as_bytes() == name.encode()
    bucket.blob(name).delete()
    assert face.disk.list(BUCKET) == []


@pytest.mark.parametrize("name", [".", "..", "a\nb", "x" * 1025])
def test_a_name_that_the_service_refuses_is_refused(bucket: Any, name: str) -> None:
    with pytest.raises(api.BadRequest):
        bucket.blob(name).upload_from_string(b"")


@pytest.mark.parametrize("size_bytes", [10, 9 << 20])
def test_an_upload_to_a_missing_bucket_is_not_found(client: Any, size_bytes: int) -> None:
    with pytest.raises(api.NotFound, match="The specified bucket does not exist"):
        client.bucket("no-such-bucket").blob("x").upload_from_file(io.BytesIO(bytes(size_bytes)))


def test_a_missing_object_is_not_found_in_the_words_of_the_service(bucket: Any) -> None:
    with pytest.raises(api.NotFound, match="No such object: training-data/nothing"):
        bucket.blob("nothing").reload()
    with pytest.raises(api.NotFound, match=r"\S+: No such object: training-data/nothing: "):
        bucket.blob("nothing").download_as_bytes()
    assert bucket.get_blob("nothing") is None


def test_errors_have_the_format_of_the_api(face: StorageFace) -> None:
    answer = requests.get(f"{face.url}/storage/v1/b/no-such-bucket", timeout=10)
    message = "The specified bucket does not exist."
    assert answer.status_code == 404
    assert answer.json() == {
        "error": {
            "code": 404,
            "message": message,
            "errors": [{"message": message, "domain": "global", "reason": "notFound"}],
        }
    }


@pytest.mark.parametrize("size_bytes", [10, 9 << 20])
def test_a_second_create_fails_its_precondition(bucket: Any, size_bytes: int) -> None:
    blob = bucket.blob("x")
    blob.upload_from_file(io.BytesIO(bytes(size_bytes)), if_generation_match=0)
    with pytest.raises(api.PreconditionFailed, match="conditionNotMet"):
        bucket.blob("x").upload_from_file(io.BytesIO(b"1" * size_bytes), if_generation_match=0)
    assert bucket.get_blob("x").generation == blob.generation


def test_a_resumable_upload_loses_to_an_object_made_meanwhile(
    bucket: Any, face: StorageFace
) -> None:
    stream = io.BytesIO(bytes(9 << 20))
    upload, transport = bucket.blob("x")._initiate_resumable_upload(
        bucket.client, stream, None, 9 << 20, None, if_generation_match=0, chunk_size=8 << 20
    )
    upload.transmit_next_chunk(transport)
    face.disk.insert(BUCKET, "x", b"first")
    with pytest.raises(Exception, match="412"):
        upload.transmit_next_chunk(transport)
    assert bucket.blob("x").download_as_bytes() == b"first"


def test_writes_and_deletes_honour_the_generation_that_they_name(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"one")
    stale = blob.generation
    blob.upload_from_string(b"two", if_generation_match=stale)
    with pytest.raises(api.NotFound):
        bucket.blob("x", generation=stale).delete()
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("x").delete(if_generation_match=stale)
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("x").upload_from_string(b"three", if_metageneration_match=7)
    with pytest.raises(api.NotModified):
        bucket.blob("x").upload_from_string(b"three", if_generation_not_match=blob.generation)
    bucket.blob("x").delete(if_generation_match=blob.generation)
    assert not bucket.blob("x").exists()


def test_reads_honour_the_generation_that_they_name(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"one")
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("x").reload(if_generation_match=blob.generation + 1)
    with pytest.raises(api.NotModified):
        bucket.blob("x").reload(if_generation_not_match=blob.generation)
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("x").download_as_bytes(if_generation_match=blob.generation + 1)
    with pytest.raises(api.NotModified):
        bucket.blob("x").download_as_bytes(if_generation_not_match=blob.generation)
    with pytest.raises(api.NotFound):
        bucket.blob("x", generation=blob.generation + 1).download_as_bytes()
    assert bucket.blob("x", generation=blob.generation).download_as_bytes() == b"one"


def test_metadata_is_patched_under_a_precondition(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.metadata = {"keep": "1", "drop": "2"}
    blob.upload_from_string(b"one", content_type="text/plain")
    blob.metadata = {"keep": "1", "drop": None, "new": "3"}
    blob.patch(if_metageneration_match=1)
    seen = bucket.get_blob("x")
    assert seen.metadata == {"keep": "1", "new": "3"}
    assert (seen.generation, seen.metageneration) == (blob.generation, 2)
    assert seen.content_type == "text/plain"
    with pytest.raises(api.PreconditionFailed):
        blob.patch(if_metageneration_match=1)


@pytest.mark.parametrize("checksum", ["crc32c", "md5"])
@pytest.mark.parametrize("size_bytes", [10, 9 << 20])
def test_the_client_verifies_uploads_by_the_checksums_that_come_back(
    bucket: Any, checksum: str, size_bytes: int
) -> None:
    content = os.urandom(size_bytes)
    bucket.blob("x").upload_from_file(io.BytesIO(content), checksum=checksum)
    got = bucket.blob("x").download_as_bytes(checksum=checksum)
    assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()


def test_a_multipart_upload_with_a_wrong_checksum_is_refused(face: StorageFace) -> None:
    for field in ("crc32c", "md5Hash"):
        body = (
            b'--b\r\nContent-Type: application/json\r\n\r\n{"name":"x","%s":"AAAAAA=="}\r\n'
            b"--b\r\nContent-Type: text/plain\r\n\r\ncontent\r\n--b--" % field.encode()
        )
        answer = requests.post(
            f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart",
            data=body,
            headers={"content-type": "multipart/related; boundary=b"},
            timeout=10,
        )
        assert answer.status_code == 400
        assert "AAAAAA==" in answer.json()["error"]["message"]
    assert face.disk.list(BUCKET) == []


def test_a_media_upload_is_stored_and_its_checksum_header_checked(face: StorageFace) -> None:
    url = f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=a%2Fb"
    wrong = requests.post(url, b"content", headers={"x-goog-hash": "crc32c=AAAAAA=="}, timeout=10)
    assert wrong.status_code == 400
    assert face.disk.list(BUCKET) == []
    right = requests.post(url, b"content", headers={"content-type": "text/x"}, timeout=10)
    assert right.json()["name"] == "a/b"
    assert right.json()["contentType"] == "text/x"


def test_a_multipart_body_with_bare_line_feeds_is_read(face: StorageFace) -> None:
    body = (
        b'--b\nContent-Type: application/json\n\n{"name":"x"}\n--b\nContent-Type: a/b\n\n1\r\n--b--'
    )
    answer = requests.post(
        f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart",
        data=body,
        headers={"content-type": 'multipart/related; boundary="b"'},
        timeout=10,
    )
    assert answer.status_code == 200
    version = face.disk.get(BUCKET, "x")
    assert version is not None
    assert version.path.read_bytes() == b"1\r"


def test_a_download_that_is_not_what_was_stored_is_noticed(bucket: Any, face: StorageFace) -> None:
    bucket.blob("x").upload_from_string(b"content")
    version = face.disk.get(BUCKET, "x")
    assert version is not None
    version.path.write_bytes(b"c0ntent")
    with pytest.raises(DataCorruption):
        bucket.blob("x").download_as_bytes()


@pytest.mark.parametrize(
    ("header", "status", "content", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=4-2", 200, b"0123456789", None),
    ],
)
def test_a_range_is_cut_out_or_refused(
    face: StorageFace, header: str, status: int, content: bytes | None, content_range: str | None
) -> None:
    version = face.disk.insert(BUCKET, "digits", b"0123456789")
    answer = requests.get(
        f"{face.url}/download/storage/v1/b/{BUCKET}/o/digits?alt=media",
        headers={"range": header},
        timeout=10,
    )
    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    if content is not None:
        assert answer.content == content
        assert answer.headers["x-goog-hash"] == f"crc32c={version.crc32c},md5={version.md5}"


def test_the_client_downloads_ranges_and_empty_objects(bucket: Any) -> None:
    bucket.blob("digits").upload_from_string(b"0123456789")
    bucket.blob("empty").upload_from_string(b"")
    assert bucket.blob("digits").download_as_bytes(start=3, end=5) == b"345"
    assert bucket.blob("empty").download_as_bytes() == b""
    with pytest.raises(api.RequestRangeNotSatisfiable):
        bucket.blob("digits").download_as_bytes(start=10)


def test_a_listing_has_prefixes_and_pages(client: Any, face: StorageFace) -> None:
    for name in ["a/1", "a/2", "b", "c/", "c/d/e", "c/f", "conf", "conf/inner"]:
        face.disk.insert(BUCKET, name, b"")
    assert [b.name for b in client.list_blobs(BUCKET, prefix="c")] == [
        "c/",
        "c/d/e",
        "c/f",
        "conf",
        "conf/inner",
    ]
    top = client.list_blobs(BUCKET, delimiter="/")
    assert [b.name for b in top] == ["b", "conf"]
    assert top.prefixes == {"a/", "c/", "conf/"}
    inside = client.list_blobs(BUCKET, prefix="c/", delimiter="/")
    assert [b.name for b in inside] == ["c/", "c/f"]
    assert inside.prefixes == {"c/d/"}
    with_folders = client.list_blobs(BUCKET, delimiter="/", include_trailing_delimiter=True)
    assert [b.name for b in with_folders] == ["b", "c/", "conf"]
    paged = client.list_blobs(BUCKET, page_size=3)
    assert [[b.name for b in page] for page in paged.pages] == [
        ["a/1", "a/2", "b"],
        ["c/", "c/d/e", "c/f"],
        ["conf", "conf/inner"],
    ]
    paged = client.list_blobs(BUCKET, delimiter="/", page_size=2)
    assert [b.name for b in paged] == ["b", "conf"]
    assert paged.prefixes == {"a/", "c/", "conf/"}
    between = client.list_blobs(BUCKET, start_offset="b", end_offset="c/f")
    assert [b.name for b in between] == ["b", "c/", "c/d/e"]
    with pytest.raises(api.NotFound):
        list(client.list_blobs("no-such-bucket"))


def test_many_files_travel_in_threads(bucket: Any, tmp_path: Path) -> None:
    names = [f"part-{n}/file {n}.bin" for n in range(12)]
    for n, name in enumerate(names):
        (tmp_path / "up" / name).parent.mkdir(parents=True)
        (tmp_path / "up" / name).write_bytes(os.urandom(200_000 * n))
    sent = transfer_manager.upload_many_from_filenames(
        bucket, names, str(tmp_path / "up"), worker_type="thread", raise_exception=True
    )
    assert sent == [None] * 12
    got = transfer_manager.download_many_to_path(
        bucket, names, str(tmp_path / "down"), worker_type="thread", raise_exception=True
    )
    assert got == [None] * 12
    for name in names:
        assert (tmp_path / "up" / name).read_bytes() == (tmp_path / "down" / name).read_bytes()


def test_one_file_is_downloaded_in_parts_at_once(bucket: Any, tmp_path: Path) -> None:
    content = os.urandom(5 << 20)
    blob = bucket.blob("large")
    blob.upload_from_string(content)
    transfer_manager.download_chunks_concurrently(
        blob, str(tmp_path / "large"), chunk_size=1 << 20, worker_type="thread"
    )
    assert (tmp_path / "large").read_bytes() == content


def test_a_writer_may_not_know_the_length_before(bucket: Any) -> None:
    for size_bytes in (0, 100, 256 * 1024, 256 * 1024 * 3 + 1):
        content = os.urandom(size_bytes)
        with bucket.blob("stream").open("wb", chunk_size=256 * 1024) as stream:
            stream.write(content)
        assert bucket.blob("stream").download_as_bytes() == content


def test_a_lost_answer_is_a_second_try_that_finds_the_object(
    bucket: Any, face: StorageFace
) -> None:
    for name, lost in (("x", ERROR_AFTER), ("y", DROP_AFTER)):
        face.faults.add(fault("POST", "uploadType=multipart", **lost))
        with pytest.raises(api.PreconditionFailed):
            bucket.blob(name).upload_from_string(b"content", if_generation_match=0)
        assert bucket.blob(name).download_as_bytes() == b"content"
    assert [injection.hidden_status for injection in face.faults.injected] == [200, 200]
    assert face.uploads() == 4


def test_buckets_are_made_listed_looked_at_and_removed(client: Any) -> None:
    made = client.create_bucket("another-bucket")
    assert [b.name for b in client.list_buckets()] == ["another-bucket", BUCKET]
    with pytest.raises(api.Conflict):
        client.create_bucket("another-bucket")
    with pytest.raises(api.BadRequest):
        client.create_bucket("Not A Name")
    assert client.get_bucket("another-bucket").location == "US"
    assert made.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    made.blob("x").upload_from_string(b"")
    with pytest.raises(api.Conflict):
        made.delete()
    made.delete(force=True)
    assert not client.bucket("another-bucket").exists()
    with pytest.raises(api.NotFound):
        client.bucket("another-bucket").test_iam_permissions(["storage.objects.get"])


def test_the_storage_layout_of_a_bucket_is_told(face: StorageFace) -> None:
    url = f"{face.url}/storage/v1/b/{BUCKET}/storageLayout"
    layout = requests.get(url, timeout=10).json()
    assert layout["hierarchicalNamespace"] == {"enabled": False}
    assert layout["bucket"] == BUCKET


@pytest.mark.parametrize("path", ["b/{b}/anywhereCaches", "b/{b}/o/x/restore", "b/{b}/folders"])
def test_what_is_not_served_says_so(face: StorageFace, path: str) -> None:
    answer = requests.post(f"{face.url}/storage/v1/{path.format(b=BUCKET)}", timeout=10)
    assert answer.status_code == 501
    assert "sandbox does not serve" in answer.json()["error"]["message"]


def test_a_key_of_the_customer_is_refused_rather_than_ignored(bucket: Any) -> None:
    with pytest.raises(api.MethodNotImplemented, match="encryption keys"):
        bucket.blob("x", encryption_key=b"k" * 32).upload_from_string(b"")
    assert not bucket.blob("x").exists()


def test_an_object_may_be_named_like_a_method(bucket: Any) -> None:
    for name in ("x/acl", "x/compose", "x/rewriteTo/b/c/o/d"):
        bucket.blob(name).upload_from_string(name.encode())
        assert bucket.blob(name).download_as_bytes() == name.encode()
        assert bucket.get_blob(name).name == name


def test_a_method_may_be_sent_in_a_header(bucket: Any, face: StorageFace) -> None:
    bucket.blob("x").upload_from_string(b"")
    answer = requests.post(
        f"{face.url}/storage/v1/b/{BUCKET}/o/x",
        json={"metadata": {"a": "b"}},
        headers={"X-HTTP-Method-Override": "PATCH"},
        timeout=10,
    )
    assert answer.json()["metadata"] == {"a": "b"}
