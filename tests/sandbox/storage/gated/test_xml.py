"""The XML API by raw requests: what no client at hand asks for, and what must be told apart."""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import requests

from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.app import storage_app
from tests.sandbox.storage.gated.stage import BUCKET, GatedStorage


def send(
    face: GatedStorage, method: str, path: str, body: bytes = b"", /, **headers: str
) -> requests.Response:
    """A request to a path below the bucket; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{face.url}/{BUCKET}{path}"
    return requests.request(method, url, data=body, headers=face.bearer | named, timeout=10)


def parsed(answer: requests.Response) -> ET.Element:
    return ET.fromstring(answer.content)  # noqa: S314 (our own server)


def code(answer: requests.Response) -> str | None:
    assert answer.headers["content-type"] == "application/xml; charset=UTF-8"
    root = parsed(answer)
    assert root.tag == "Error"
    return root.findtext("Code")


def texts(answer: requests.Response, tag: str) -> list[str | None]:
    """The text of every element of this name, whatever its namespace."""
    assert answer.status_code == 200, answer.text
    return [e.text for e in parsed(answer).iter() if e.tag.endswith(f"}}{tag}")]


def b64md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def test_a_write_says_what_was_stored_and_a_read_says_it_again(face: GatedStorage) -> None:
    put = send(face, "PUT", "/x", b"123", content_type="text/plain", x_goog_meta_run="r-1")
    stored = face.disk.need(BUCKET, "x")
    expected = {
        "etag": '"202cb962ac59075b964b07152d234b70"',
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": "1",
        "x-goog-hash": f"crc32c={stored.crc32c},md5={stored.md5}",
        "x-goog-stored-content-length": "3",
    }
    assert (put.status_code, put.content) == (200, b"")
    assert expected.items() <= dict(put.headers).items()
    for method, body in (("GET", b"123"), ("HEAD", b"")):
        got = send(face, method, "/x")
        assert (got.status_code, got.content) == (200, body)
        more = {"content-length": "3", "content-type": "text/plain", "x-goog-meta-run": "r-1"}
        assert (expected | more).items() <= dict(got.headers).items()


def test_ranges_are_answered_as_http_says(face: GatedStorage) -> None:
    send(face, "PUT", "/x", b"0123456789")
    part = send(face, "GET", "/x", range="bytes=2-4")
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    beyond = send(face, "GET", "/x", range="bytes=10-")
    assert (beyond.status_code, code(beyond)) == (416, "InvalidRange")
    assert beyond.headers["content-range"] == "bytes */10"


def test_what_is_missing_is_named(face: GatedStorage) -> None:
    nothing = send(face, "GET", "/nothing")
    assert (nothing.status_code, code(nothing)) == (404, "NoSuchKey")
    assert f"{BUCKET}/nothing" in nothing.text
    url = f"{face.url}/no-such-bucket"
    for answer in (
        requests.get(url, headers=face.bearer, timeout=10),
        requests.put(f"{url}/x", b"1", headers=face.bearer, timeout=10),
        requests.post(f"{url}/x?uploads", headers=face.bearer, timeout=10),
    ):
        assert (answer.status_code, code(answer)) == (404, "NoSuchBucket")
    assert send(face, "DELETE", "/nothing").status_code == 404
    assert send(face, "HEAD", "/nothing").status_code == 404


def test_a_write_under_a_condition_happens_only_if_it_holds(face: GatedStorage) -> None:
    etag = send(face, "PUT", "/x", b"1", x_goog_if_generation_match="0").headers["etag"]
    generation = str(face.disk.need(BUCKET, "x").generation)
    for condition in (
        {"x_goog_if_generation_match": "0"},
        {"x_goog_if_metageneration_match": "2"},
        {"if_match": '"other"'},
        {"if_none_match": "*"},
        {"if_none_match": etag},
        {"if_match": etag, "x_goog_if_metageneration_match": "2"},
    ):
        refusal = send(face, "PUT", "/x", b"2", **condition)
        assert (refusal.status_code, code(refusal)) == (412, "PreconditionFailed"), condition
        refusal = send(face, "DELETE", "/x", **condition)
        assert (refusal.status_code, code(refusal)) == (412, "PreconditionFailed"), condition
    assert send(face, "GET", "/x").content == b"1"
    held = {"if_match": f'"other", {etag}', "x_goog_if_generation_match": generation}
    assert send(face, "PUT", "/x", b"2", **held).status_code == 200
    assert send(face, "DELETE", "/x", if_match="*").status_code == 204
    assert send(face, "PUT", "/x", b"3", if_match="*").status_code == 412
    assert face.disk.list(BUCKET) == []


def test_a_read_under_a_condition_tells_unchanged_from_changed(face: GatedStorage) -> None:
    etag = send(face, "PUT", "/x", b"1").headers["etag"]
    for condition, status in (
        ({"if_none_match": etag}, 304),
        ({"if_none_match": '"other"'}, 200),
        ({"if_match": '"other"'}, 412),
        ({"x_goog_if_generation_match": "1"}, 412),
        ({"if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
        ({"if_unmodified_since": "Fri, 01 Jan 1999 00:00:00 GMT"}, 412),
        ({"if_modified_since": "no date"}, 200),
    ):
        assert send(face, "GET", "/x", **condition).status_code == status, condition


def test_bytes_that_do_not_have_their_checksum_are_not_stored(face: GatedStorage) -> None:
    for sums, expected in (
        ({"content_md5": b64md5(b"other")}, "BadDigest"),
        ({"x_goog_hash": f"md5={b64md5(b'other')}"}, "BadDigest"),
        ({"x_goog_hash": "crc32c=AAAAAA=="}, "BadDigest"),
        ({"content_md5": "nonsense"}, "InvalidDigest"),
    ):
        refusal = send(face, "PUT", "/x", b"123", **sums)
        assert (refusal.status_code, code(refusal)) == (400, expected)
    assert face.disk.list(BUCKET) == []
    right = {"content_md5": b64md5(b"123"), "x_goog_hash": f"md5={b64md5(b'123')}"}
    assert send(face, "PUT", "/x", b"123", **right).status_code == 200


def test_a_copy_keeps_or_replaces_what_is_known_of_its_source(face: GatedStorage) -> None:
    send(face, "PUT", "/a%20b", b"1", content_type="text/plain", x_goog_meta_run="r-1")
    source = {"x_goog_copy_source": f"/{BUCKET}/a%20b"}
    etag = send(face, "HEAD", "/a%20b").headers["etag"]
    copied = send(face, "PUT", "/kept", **source)
    assert parsed(copied).findtext("ETag") == etag
    replaced = {"x_goog_metadata_directive": "REPLACE", "content_type": "text/csv"}
    send(face, "PUT", "/replaced", **source, **replaced, x_goog_meta_step="7")
    kept, other = face.disk.need(BUCKET, "kept"), face.disk.need(BUCKET, "replaced")
    assert (kept.content_type, kept.metadata) == ("text/plain", {"run": "r-1"})
    assert (other.content_type, other.metadata) == ("text/csv", {"step": "7"})


def test_a_copy_depends_on_its_source(face: GatedStorage) -> None:
    etag = send(face, "PUT", "/a", b"1").headers["etag"]
    source = {"x_goog_copy_source": f"{BUCKET}/a"}
    for condition, status in (
        ({"x_goog_copy_source_if_match": '"other"'}, 412),
        ({"x_goog_copy_source_if_none_match": etag}, 412),
        ({"x_goog_copy_source_if_generation_match": "1"}, 412),
        ({"x_goog_copy_source_generation": "1"}, 404),
        ({"x_goog_copy_source_if_match": etag}, 200),
    ):
        assert send(face, "PUT", "/b", **source, **condition).status_code == status, condition


def test_both_lists_page_through_names_and_prefixes(face: GatedStorage) -> None:
    for name in ("a", "d/1", "d/2", "e/1", "z"):
        face.disk.insert(BUCKET, name, b"")
    for first, following in (
        ("?delimiter=/&max-keys=2", "marker={}"),
        ("?list-type=2&delimiter=/&max-keys=2", "continuation-token={}"),
    ):
        page = send(face, "GET", first)
        assert (texts(page, "Key"), texts(page, "IsTruncated")) == (["a"], ["true"])
        [token] = texts(page, "NextMarker") or texts(page, "NextContinuationToken")
        page = send(face, "GET", f"{first}&{following.format(token)}")
        assert (texts(page, "Key"), texts(page, "IsTruncated")) == (["z"], ["false"])
        assert [p for p in texts(page, "Prefix") if p] == ["e/"]
    after = send(face, "GET", "/?list-type=2&start-after=d/1&max-keys=3")
    assert texts(after, "Key") == ["d/2", "e/1", "z"]
    assert texts(send(face, "GET", "?prefix=d/"), "Size") == ["0", "0"]


def test_a_list_may_start_within_a_prefix(face: GatedStorage) -> None:
    for name in ("d/1", "d/2", "e/1"):
        face.disk.insert(BUCKET, name, b"")
    page = send(face, "GET", "?delimiter=/&marker=d/1")
    assert [p for p in texts(page, "Prefix") if p] == ["d/", "e/"]


@pytest.mark.parametrize("name", ["a\x01b", "<&>", "ü/日本", "a//b", "../up", "dir/"])
def test_an_odd_name_is_listed_and_read_as_it_is(face: GatedStorage, name: str) -> None:
    face.disk.insert(BUCKET, name, b"1")
    path = "/" + quote(name, safe="")
    assert send(face, "GET", path).content == b"1"
    [key] = texts(send(face, "GET", "?encoding-type=url"), "Key")
    assert unquote(str(key)) == name


def test_a_name_that_the_service_refuses_is_refused(face: GatedStorage) -> None:
    for path in ("/a%0Ab", "/" + "x" * 1025, "/a%ff"):
        refusal = send(face, "PUT", path, b"1")
        assert (refusal.status_code, code(refusal)) == (400, "InvalidArgument")


def test_what_is_not_served_says_so_and_changes_nothing(face: GatedStorage) -> None:
    send(face, "PUT", "/x", b"1")
    for method, path in (
        ("PUT", "/x?acl"),
        ("GET", "/x?tagging"),
        ("POST", "?delete"),
        ("PUT", ""),
        ("GET", "?versions"),
        ("POST", "/x"),
        ("PUT", "/x?upload_id=1"),
        ("DELETE", "/x?upload_id=1"),
    ):
        refusal = send(face, method, path, b"2")
        assert refusal.status_code == 501, (method, path)
    for path, method in (("/x", "PUT"), ("/x", "GET"), ("/x?uploads", "POST")):
        encrypted = send(face, method, path, b"2", x_goog_encryption_algorithm="AES256")
        assert (encrypted.status_code, code(encrypted)) == (501, "NotImplemented")
    assert send(face, "GET", "/x").content == b"1"


def test_the_paths_of_the_json_api_are_no_buckets(face: GatedStorage) -> None:
    for path in ("/storage/v1/nothing", "/upload/storage/v1/nothing", "/batch/nothing"):
        answer = requests.get(face.url + path, headers=face.bearer, timeout=10)
        assert answer.headers["content-type"].startswith("application/json"), path


def test_an_upload_id_opens_no_bucket_named_like_a_path_of_the_json_api(face: GatedStorage) -> None:
    face.disk.create_bucket("upload")
    version = face.disk.insert("upload", "x", b"1")
    for method in ("PUT", "DELETE"):
        answer = requests.request(method, f"{face.url}/upload/x?upload_id=1", data=b"2", timeout=10)
        assert answer.status_code in (401, 501)
    assert face.disk.list("upload") == [version]


def test_metadata_may_be_utf_8(face: GatedStorage) -> None:
    url = f"{face.url}/{BUCKET}/x"
    sent = {"x-goog-meta-note": "größe".encode()}
    requests.put(url, b"1", headers={**face.bearer, **sent}, timeout=10)
    assert face.disk.need(BUCKET, "x").metadata == {"note": "größe"}
    got = requests.get(url, headers=face.bearer, timeout=10).headers["x-goog-meta-note"]
    assert got.encode("latin-1").decode() == "größe"


def test_what_headers_say_of_an_object_is_what_the_json_api_shows(face: GatedStorage) -> None:
    send(
        face,
        "PUT",
        "/x",
        b"1",
        x_goog_custom_time="2026-01-02T03:04:05.678901Z",
        x_goog_storage_class="NEARLINE",
        cache_control="no-store",
        content_disposition="inline",
    )
    url = f"{face.url}/storage/v1/b/{BUCKET}/o/x"
    shown = requests.get(url, headers=face.bearer, timeout=10).json()
    expected = {
        "customTime": "2026-01-02T03:04:05.678901Z",
        "storageClass": "NEARLINE",
        "cacheControl": "no-store",
        "contentDisposition": "inline",
    }
    assert expected.items() <= shown.items()
    got = send(face, "HEAD", "/x").headers
    assert (got["x-goog-storage-class"], got["cache-control"]) == ("NEARLINE", "no-store")
    assert got["x-goog-custom-time"] == expected["customTime"]
    assert send(face, "PUT", "/y", b"1", x_goog_custom_time="soon").status_code == 400


def test_permissions_that_were_not_granted_are_missed(tmp_path: Path) -> None:
    disk = ObjectDisk(tmp_path / "disk")
    disk.create_bucket(BUCKET)
    disk.insert(BUCKET, "x", b"1")
    app = storage_app(disk, permissions=frozenset({"storage.objects.get"}))
    with AppServer(app) as server:
        face = GatedStorage(server.url, disk)
        assert send(face, "GET", "/x").content == b"1"
        for method, path in (
            ("PUT", "/x"),
            ("DELETE", "/x"),
            ("GET", ""),
            ("GET", "?uploads"),
            ("POST", "/x?uploads"),
        ):
            refusal = send(face, method, path, b"2")
            assert (refusal.status_code, code(refusal)) == (403, "AccessDenied"), path
    assert disk.need(BUCKET, "x").size_bytes == 1


def test_an_object_under_a_hold_is_not_replaced(face: GatedStorage) -> None:
    face.disk.insert(BUCKET, "x", b"1")
    url = f"{face.url}/storage/v1/b/{BUCKET}/o/x"
    requests.patch(url, json={"temporaryHold": True}, headers=face.bearer, timeout=10)
    for method in ("PUT", "DELETE"):
        refusal = send(face, method, "/x", b"2")
        assert (refusal.status_code, code(refusal)) == (403, "AccessDenied")
    assert send(face, "GET", "/x").content == b"1"
