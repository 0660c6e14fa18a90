"""Multipart uploads of the XML API by raw requests, across restarts and mistakes."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests

from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.xml_multipart import LEAST_PART_BYTES
from orchestrator.sandbox.storage.xml_parts import PartStore, UploadMissing
from tests.sandbox.storage.gated.stage import BUCKET, GatedServer, GatedStorage
from tests.sandbox.storage.gated.test_xml import code, send, texts

FIRST = os.urandom(LEAST_PART_BYTES)


def begin(face: GatedStorage, path: str = "/x", **headers: str) -> str:
    [upload_id] = texts(send(face, "POST", f"{path}?uploads", **headers), "UploadId")
    assert upload_id is not None
    return upload_id


def put(face: GatedStorage, upload_id: str, number: int, content: bytes) -> str:
    answer = send(face, "PUT", f"/x?partNumber={number}&uploadId={upload_id}", content)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


def complete(
    face: GatedStorage, upload_id: str, parts: Sequence[tuple[int, str]]
) -> requests.Response:
    root = ET.Element("CompleteMultipartUpload")
    for number, etag in parts:
        part = ET.SubElement(root, "Part")
        ET.SubElement(part, "PartNumber").text = str(number)
        ET.SubElement(part, "ETag").text = etag
    return send(face, "POST", f"/x?uploadId={upload_id}", ET.tostring(root))


def test_parts_may_come_in_any_order_and_again(face: GatedStorage) -> None:
    upload_id = begin(face, content_type="text/plain", x_goog_meta_run="r-1")
    last = put(face, upload_id, 7, b"last")
    put(face, upload_id, 2, b"replaced below")
    first = put(face, upload_id, 2, FIRST)
    assert face.disk.list(BUCKET) == []
    listed = send(face, "GET", f"/x?uploadId={upload_id}")
    assert (texts(listed, "PartNumber"), texts(listed, "ETag")) == (["2", "7"], [first, last])
    done = complete(face, upload_id, [(2, first), (7, last)])
    stored = face.disk.need(BUCKET, "x")
    [etag] = texts(done, "ETag")
    assert etag == send(face, "HEAD", "/x").headers["etag"]
    assert str(etag).startswith('"-')
    assert done.headers["x-goog-generation"] == str(stored.generation)
    assert (stored.content_type, stored.metadata, stored.md5) == (
        "text/plain",
        {"run": "r-1"},
        "",
    )
    assert send(face, "GET", "/x").content == FIRST + b"last"


def test_parts_survive_a_restart(server: GatedServer, tmp_path: Path) -> None:
    face = server.serve(tmp_path / "disk")
    upload_id = begin(face)
    first = put(face, upload_id, 1, FIRST)
    # What a process leaves that is killed while it takes a part.
    [folder] = (tmp_path / "disk" / "multipart").iterdir()
    (folder / "unrecorded.bin").write_bytes(b"?")
    (folder / "half.new").write_bytes(b"{")
    face = server.serve(tmp_path / "disk")
    assert sorted(file.suffix for file in folder.iterdir()) == [".bin", ".json", ".json"]
    last = put(face, upload_id, 2, b"last")
    assert complete(face, upload_id, [(1, first), (2, last)]).status_code == 200
    assert send(face, "GET", "/x").content == FIRST + b"last"
    assert not folder.exists()


def test_an_upload_that_was_dropped_halfway_is_gone_after_a_restart(
    server: GatedServer, tmp_path: Path
) -> None:
    face = server.serve(tmp_path / "disk")
    upload_id = begin(face)
    [folder] = (tmp_path / "disk" / "multipart").iterdir()
    (folder / "upload.json").unlink()
    face = server.serve(tmp_path / "disk")
    assert not folder.exists()
    assert code(send(face, "GET", f"/x?uploadId={upload_id}")) == "NoSuchUpload"


def test_an_upload_can_be_completed_or_aborted_once(face: GatedStorage) -> None:
    upload_id = begin(face)
    etag = put(face, upload_id, 1, b"1")
    assert complete(face, upload_id, [(1, etag)]).status_code == 200
    aborted = begin(face)
    put(face, aborted, 1, b"1")
    assert send(face, "DELETE", f"/x?uploadId={aborted}").status_code == 204
    for gone in (upload_id, aborted, "../../upload", ""):
        for answer in (
            complete(face, gone, [(1, etag)]),
            send(face, "DELETE", f"/x?uploadId={gone}"),
            send(face, "PUT", f"/x?partNumber=1&uploadId={gone}", b"1"),
        ):
            assert (answer.status_code, code(answer)) == (404, "NoSuchUpload")
    assert len(face.disk.list(BUCKET)) == 1


def test_an_upload_belongs_to_one_object(face: GatedStorage) -> None:
    upload_id = begin(face)
    answer = send(face, "PUT", f"/y?partNumber=1&uploadId={upload_id}", b"1")
    assert (answer.status_code, code(answer)) == (404, "NoSuchUpload")


def test_a_wrong_list_of_parts_makes_no_object_and_keeps_the_parts(face: GatedStorage) -> None:
    upload_id = begin(face)
    small, first = put(face, upload_id, 1, b"small"), put(face, upload_id, 2, FIRST)
    last = put(face, upload_id, 3, b"last")
    for parts, expected in (
        ([(2, last)], "InvalidPart"),
        ([(4, last)], "InvalidPart"),
        ([(3, last), (2, first)], "InvalidPartOrder"),
        ([(2, first), (2, first)], "InvalidPartOrder"),
        ([(1, small), (2, first)], "EntityTooSmall"),
        ([], "MalformedCompleteMultipartUploadRequest"),
    ):
        answer = complete(face, upload_id, parts)
        assert (answer.status_code, code(answer)) == (400, expected), parts
    for body in (
        b"",
        b"<a",
        b"<Other/>",
        b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
    ):
        answer = send(face, "POST", f"/x?uploadId={upload_id}", body)
        assert code(answer) == "MalformedCompleteMultipartUploadRequest"
    assert face.disk.list(BUCKET) == []
    assert complete(face, upload_id, [(2, first.strip('"')), (3, last)]).status_code == 200


@pytest.mark.parametrize("number", ["0", "10001", "x", "-1", ""])
def test_a_part_number_is_from_1_to_10000(face: GatedStorage, number: str) -> None:
    answer = send(face, "PUT", f"/x?partNumber={number}&uploadId={begin(face)}", b"1")
    assert (answer.status_code, code(answer)) == (400, "InvalidArgument")


def test_conditions_are_refused_as_these_uploads_have_none(face: GatedStorage) -> None:
    answer = send(face, "POST", "/x?uploads", x_goog_if_generation_match="0")
    assert (answer.status_code, code(answer)) == (501, "NotImplemented")


def test_parts_are_listed_page_by_page(face: GatedStorage) -> None:
    upload_id = begin(face)
    for number in (1, 2, 3):
        put(face, upload_id, number, b"1")
    page = send(face, "GET", f"/x?uploadId={upload_id}&max-parts=2")
    assert (texts(page, "PartNumber"), texts(page, "NextPartNumberMarker")) == (["1", "2"], ["2"])
    page = send(face, "GET", f"/x?uploadId={upload_id}&max-parts=2&part-number-marker=2")
    assert (texts(page, "PartNumber"), texts(page, "IsTruncated")) == (["3"], ["false"])


def test_unfinished_uploads_are_listed_page_by_page(face: GatedStorage) -> None:
    ids = [begin(face, path) for path in ("/a", "/b", "/b", "/c")]
    whole = send(face, "GET", "?uploads")
    assert (texts(whole, "Key"), sorted(map(str, texts(whole, "UploadId")))) == (
        ["a", "b", "b", "c"],
        sorted(ids),
    )
    seen: list[str | None] = []
    query = ""
    for _ in ids:
        page = send(face, "GET", f"?uploads&max-uploads=1{query}")
        seen += texts(page, "UploadId")
        if texts(page, "IsTruncated") == ["false"]:
            break
        [key] = texts(page, "NextKeyMarker")
        [upload_id] = texts(page, "NextUploadIdMarker")
        query = f"&key-marker={key}&upload-id-marker={upload_id}"
    assert seen == texts(whole, "UploadId")
    assert texts(send(face, "GET", "?uploads&prefix=b"), "Key") == ["b", "b"]


def test_while_an_upload_is_completed_no_part_changes_and_nobody_else_ends_it(
    tmp_path: Path,
) -> None:
    disk = ObjectDisk(tmp_path / "disk")
    disk.create_bucket(BUCKET)
    store = PartStore(disk)
    upload = store.begin(
        BUCKET, "x", content_type="text/plain", metadata={}, properties={}, storage_class=None
    )
    with store.finishing(upload):
        with disk.draft() as draft, pytest.raises(UploadMissing):
            store.add(upload, 1, draft)
        with pytest.raises(UploadMissing), store.finishing(upload):
            pass
    with disk.draft() as draft:
        store.add(upload, 1, draft)
    assert [part.number for part in store.parts(upload)] == [1]
