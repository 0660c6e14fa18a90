"""Resumable uploads: what a client may do between the first byte and the last."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from google.resumable_media.requests import ResumableUpload

from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.objects.disk import Description
from orchestrator.sandbox.storage.resumable import ResumableUploads
from tests.sandbox.storage.stage import (
    BUCKET,
    DROP_AFTER,
    ERROR_AFTER,
    FaceServer,
    StorageFace,
    fault,
)

UNIT = 256 * 1024


def _content(face: StorageFace, name: str = "x") -> bytes | None:
    version = face.disk.get(BUCKET, name)
    return version.path.read_bytes() if version else None


def _start(face: StorageFace, resource: dict[str, str] | None = None, query: str = "") -> str:
    answer = requests.post(
        f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x{query}",
        json=resource or {},
        timeout=10,
    )
    assert answer.status_code == 200
    return answer.headers["location"]


def _put(url: str, body: bytes, content_range: str, **headers: str) -> requests.Response:
    return requests.put(url, body, headers={"content-range": content_range, **headers}, timeout=10)


def _resumed(url: str, content: bytes, chunk_bytes: int) -> ResumableUpload:
    """An upload as another process picks it up: it knows the URL and has the file."""
    upload = ResumableUpload(url, chunk_bytes, checksum=None)
    upload._resumable_url = url
    upload._stream = io.BytesIO(content)
    upload._total_bytes = len(content)
    upload._content_type = "application/octet-stream"
    upload._invalid = True
    return upload


def test_a_large_file_travels_in_chunks(bucket: Any, face: StorageFace) -> None:
    content = os.urandom((9 << 20) + 17)
    blob = bucket.blob("x", chunk_size=4 << 20)
    blob.upload_from_file(io.BytesIO(content), if_generation_match=0, size=len(content))
    assert _content(face) == content
    assert (face.uploads(), face.count("PUT", "upload_id=")) == (1, 3)


def test_another_process_recovers_an_upload_after_a_restart(
    face: StorageFace, server: FaceServer, tmp_path: Path
) -> None:
    content = os.urandom(3 * UNIT + 5)
    total = len(content)
    url = _start(face)
    assert _put(url, content[: 2 * UNIT], f"bytes 0-{2 * UNIT - 1}/{total}").status_code == 308
    restarted = server.face(tmp_path / "disk")
    with requests.Session() as session:
        upload = _resumed(url, content, UNIT)
        upload.recover(session)
        assert upload.bytes_uploaded == 2 * UNIT
        while not upload.finished:
            upload.transmit_next_chunk(session)
    assert _content(restarted) == content


def test_an_upload_that_has_not_begun_recovers_at_the_beginning(face: StorageFace) -> None:
    with requests.Session() as session:
        upload = _resumed(_start(face), b"x" * UNIT, UNIT)
        upload.recover(session)
        assert upload.bytes_uploaded == 0


@pytest.mark.parametrize("lost", [ERROR_AFTER, DROP_AFTER, {}], ids=["error", "drop", "before"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_lost_answer_to_any_chunk_costs_nothing(
    bucket: Any, face: StorageFace, lost: dict[str, Any], nth: int
) -> None:
    content = os.urandom((9 << 20) + 17)
    face.faults.add(fault("PUT", "upload_id=", nth=nth, **lost))
    blob = bucket.blob("x", chunk_size=4 << 20)
    blob.upload_from_file(io.BytesIO(content), if_generation_match=0, size=len(content))
    assert _content(face) == content
    assert len(face.faults.injected) == 1
    assert blob.generation == face.disk.list(BUCKET)[0].generation


@pytest.mark.parametrize("total", ["*", str(3 * UNIT)])
def test_a_status_query_never_completes_an_upload(face: StorageFace, total: str) -> None:
    url = _start(face)
    answer = _put(url, bytes(UNIT), f"bytes 0-{UNIT - 1}/{3 * UNIT}")
    assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{UNIT - 1}")
    answer = _put(url, b"", f"bytes */{total}")
    assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{UNIT - 1}")
    assert _content(face) is None


def test_a_status_query_of_a_complete_upload_gives_the_object(face: StorageFace) -> None:
    url = _start(face)
    done = _put(url, b"content", "bytes 0-6/7")
    asked = _put(url, b"", "bytes */*")
    assert (done.status_code, asked.status_code) == (200, 200)
    assert asked.json() == done.json()
    assert done.json()["size"] == "7"


def test_an_upload_of_unknown_length_ends_when_the_length_is_told(face: StorageFace) -> None:
    url = _start(face)
    assert _put(url, b"a" * UNIT, f"bytes 0-{UNIT - 1}/*").status_code == 308
    assert _put(url, b"", f"bytes */{UNIT}").status_code == 200
    assert _content(face) == b"a" * UNIT


def test_an_empty_object_may_be_uploaded(face: StorageFace) -> None:
    assert _put(_start(face), b"", "bytes */0").status_code == 200
    assert _content(face) == b""


def test_bytes_that_are_there_already_are_skipped(face: StorageFace) -> None:
    content = os.urandom(2 * UNIT + 9)
    url = _start(face)
    _put(url, content[: 2 * UNIT], f"bytes 0-{2 * UNIT - 1}/*")
    answer = _put(
        url, b"?" * UNIT + content[UNIT * 2 :], f"bytes {UNIT}-{2 * UNIT + 8}/{2 * UNIT + 9}"
    )
    assert answer.status_code == 200
    assert _content(face) == content


def test_only_whole_units_are_kept_until_the_last_chunk(face: StorageFace) -> None:
    url = _start(face)
    answer = _put(url, bytes(UNIT + 1000), f"bytes 0-{UNIT + 999}/{4 * UNIT}")
    assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{UNIT - 1}")
    answer = _put(_start(face), bytes(1000), f"bytes 0-999/{4 * UNIT}")
    assert answer.status_code == 308
    assert "range" not in answer.headers


def test_a_gap_is_not_filled_with_anything(face: StorageFace) -> None:
    url = _start(face)
    assert _put(url, bytes(10), f"bytes {UNIT}-{UNIT + 9}/{UNIT + 10}").status_code == 503
    assert "range" not in _put(url, b"", "bytes */*").headers


@pytest.mark.parametrize(
    ("body", "content_range"),
    [
        (b"12345", "bytes 0-9/10"),
        (b"12345", "bytes 0-3/4"),
        (b"12345", "bytes 5-0/10"),
        (b"12345", "bytes 0-4/3"),
        (b"12345", "octets 0-4/5"),
    ],
)
def test_a_body_that_is_not_what_its_range_says_is_refused(
    face: StorageFace, body: bytes, content_range: str
) -> None:
    url = _start(face)
    assert _put(url, body, content_range).status_code == 400
    assert "range" not in _put(url, b"", "bytes */*").headers
    assert _put(url, b"right", "bytes 0-4/5").status_code == 200
    assert _content(face) == b"right"


def test_what_arrived_of_an_interrupted_body_is_kept_in_whole_units(face: StorageFace) -> None:
    content = os.urandom(4 * UNIT)
    url = _start(face)
    parts = urlsplit(url)
    head = (
        f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Length: {len(content)}\r\nExpect: 100-continue\r\n"
        f"Content-Range: bytes 0-{len(content) - 1}/{len(content)}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
        line.sendall(head.encode())
        # The face asks for the body once it holds the session: the query below comes second.
        assert b"100 Continue" in line.recv(1000)
        line.sendall(content[: 2 * UNIT + 777])
    answer = _put(url, b"", "bytes */*")
    assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{2 * UNIT - 1}")
    rest = _put(url, content[2 * UNIT :], f"bytes {2 * UNIT}-{4 * UNIT - 1}/{4 * UNIT}")
    assert rest.status_code == 200
    assert _content(face) == content


def test_a_cancelled_upload_is_gone(face: StorageFace) -> None:
    url = _start(face)
    _put(url, bytes(UNIT), f"bytes 0-{UNIT - 1}/*")
    assert requests.delete(url, timeout=10).status_code == 499
    assert _put(url, b"", "bytes */*").status_code == 404
    assert requests.delete(url, timeout=10).status_code == 404
    assert list((face.disk.root / "uploads").iterdir()) == []


@pytest.mark.parametrize("where", ["resource", "header"])
def test_a_wrong_checksum_is_refused_at_the_end(face: StorageFace, where: str) -> None:
    url = _start(face, {"crc32c": "AAAAAA=="} if where == "resource" else {})
    headers = {"x-goog-hash": "crc32c=AAAAAA=="} if where == "header" else {}
    answer = _put(url, b"content", "bytes 0-6/7", **headers)
    assert answer.status_code == 400
    assert "CRC32C" in answer.json()["error"]["message"]
    assert _content(face) is None


def test_preconditions_are_checked_at_the_start_and_at_the_end(face: StorageFace) -> None:
    url = _start(face, query="&ifGenerationMatch=0")
    face.disk.insert(BUCKET, "x", b"first")
    for _ in range(2):
        assert _put(url, b"content", "bytes 0-6/7").status_code == 412
    answer = requests.post(
        f"{face.url}/upload/storage/v1/b/{BUCKET}/o"
        "?uploadType=resumable&name=x&ifGenerationMatch=0",
        timeout=10,
    )
    assert answer.status_code == 412
    assert _content(face) == b"first"


@pytest.mark.parametrize("content_range", ["bytes 0-9/10", None])
def test_an_upload_never_ends_with_another_length_than_its_last_request_says(
    face: StorageFace, content_range: str | None
) -> None:
    url = _start(face)
    _put(url, b"a" * UNIT, f"bytes 0-{UNIT - 1}/*")
    headers = {"content-range": content_range} if content_range else {}
    assert requests.put(url, b"1234567890", headers=headers, timeout=10).status_code == 400
    assert _content(face) is None
    assert _put(url, b"", f"bytes */{UNIT}").status_code == 200
    assert _content(face) == b"a" * UNIT


@pytest.mark.parametrize("announced", ["0", "9", "-5"])
def test_the_announced_length_binds_every_request(face: StorageFace, announced: str) -> None:
    answer = requests.post(
        f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x",
        headers={"x-upload-content-length": announced},
        timeout=10,
    )
    if announced == "-5":
        assert answer.status_code == 400
        return
    url = answer.headers["location"]
    assert _put(url, b"12345", "bytes 0-4/5").status_code == 400
    assert requests.put(url, b"12345", timeout=10).status_code == 400
    assert "range" not in _put(url, b"", "bytes */*").headers
    assert _content(face) is None


def _die_before_the_answer_is_recorded(
    monkeypatch: pytest.MonkeyPatch, url: str, content: bytes
) -> None:
    """The end of a process just after an upload became an object."""
    save = ResumableUploads._save

    def dying(self: Any, upload_id: str, session: Any) -> None:
        if session.answer is not None:
            raise SystemError("the process ends here")
        save(self, upload_id, session)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableUploads, "_save", dying)
        assert _put(url, content, f"bytes 0-{len(content) - 1}/{len(content)}").status_code == 500


@pytest.mark.parametrize("query", ["", "&ifGenerationMatch=0"])
def test_an_object_made_just_before_the_process_ended_is_the_answer_after_a_restart(
    server: FaceServer, face: StorageFace, tmp_path: Path, monkeypatch: Any, query: str
) -> None:
    url = _start(face, query=query)
    _die_before_the_answer_is_recorded(monkeypatch, url, b"content")
    made = face.disk.need(BUCKET, "x")
    restarted = server.face(tmp_path / "disk")
    for body, content_range in ((b"", "bytes */*"), (b"content", "bytes 0-6/7")):
        answer = _put(url, body, content_range)
        assert answer.status_code == 200
        assert answer.json()["generation"] == str(made.generation)
    assert restarted.disk.need(BUCKET, "x") == made
    assert [file.suffix for file in (restarted.disk.root / "uploads").iterdir()] == [".json"]


def test_an_upload_that_was_copied_and_replaced_before_its_answer_changes_no_copy(
    server: FaceServer, face: StorageFace, tmp_path: Path, monkeypatch: Any
) -> None:
    url = _start(face)
    _die_before_the_answer_is_recorded(monkeypatch, url, b"content")
    made = face.disk.need(BUCKET, "x")
    face.disk.copy(made, BUCKET, "copy", Description())
    face.disk.insert(BUCKET, "x", b"newer")
    restarted = server.face(tmp_path / "disk")
    assert _put(url, b"content and more", "bytes 0-15/16").status_code == 404
    assert _content(restarted, "copy") == b"content"
    assert _content(restarted, "x") == b"newer"


def test_what_a_crash_left_of_uploads_is_removed_at_the_next_start(
    server: FaceServer, face: StorageFace, tmp_path: Path
) -> None:
    url = _start(face)
    _put(url, bytes(UNIT), f"bytes 0-{UNIT - 1}/*")
    folder = face.disk.root / "uploads"
    before = sorted(folder.iterdir())
    (folder / f"{'0' * 64}.part").write_bytes(b"a session that was never recorded")
    (folder / f"{before[0].stem}.json.1.new").write_bytes(b"half a record")
    (face.disk.root / "rewrites" / f"{'0' * 64}.json.1.new").write_bytes(b"half a record")
    server.face(tmp_path / "disk")
    assert sorted(folder.iterdir()) == before
    assert list((face.disk.root / "rewrites").iterdir()) == []
    assert _put(url, b"", "bytes */*").headers["range"] == f"bytes=0-{UNIT - 1}"


def test_a_session_ends_after_a_week_even_while_the_sandbox_runs(
    server: FaceServer, tmp_path: Path
) -> None:
    clock = SandboxClock()
    face = server.face(tmp_path / "disk", clock=clock)
    url = _start(face)
    clock.advance(7 * 24 * 3600 - 60)
    assert _put(url, b"", "bytes */*").status_code == 308
    clock.advance(61)
    assert _put(url, b"content", "bytes 0-6/7").status_code == 404
    assert _content(face) is None
