"""Faults that a test orders in advance, as the conformance tests of the clients do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api

from orchestrator.sandbox.edge.clock import SandboxClock
from tests.sandbox.storage.stage import (
    BUCKET,
    FaceServer,
    StorageFace,
)

UNIT = 256 * 1024


def _order(face: StorageFace, operation: str, *instructions: str) -> str:
    body = {"instructions": {operation: list(instructions)}}
    answer = requests.post(f"{face.url}/retry_test", json=body, timeout=10)
    assert answer.status_code == 200
    test_id: str = answer.json()["id"]
    return test_id


def _is_over(face: StorageFace, test_id: str) -> bool:
    resource = requests.get(f"{face.url}/retry_test/{test_id}", timeout=10).json()
    return bool(resource["completed"])


@pytest.fixture
def ordered(client: Any, face: StorageFace) -> Any:
    """Order instructions for what the client does from now on; gives the test's id."""

    def order(operation: str, *instructions: str) -> str:
        test_id = _order(face, operation, *instructions)
        client._http.headers["x-retry-test-id"] = test_id
        return test_id

    return order


def test_a_test_is_made_looked_at_listed_and_removed(face: StorageFace) -> None:
    test_id = _order(face, "storage.buckets.list", "return-503")
    url = f"{face.url}/retry_test/{test_id}"
    assert requests.get(url, timeout=10).json() == {
        "id": test_id,
        "instructions": {"storage.buckets.list": ["return-503"]},
        "completed": False,
        "transport": "HTTP",
    }
    listed = requests.get(f"{face.url}/retry_tests", timeout=10).json()["retry_test"]
    assert [test["id"] for test in listed] == [test_id]
    assert requests.delete(url, timeout=10).status_code == 200
    assert requests.get(url, timeout=10).status_code == 404
    headers = {"x-retry-test-id": test_id}
    assert requests.get(f"{face.url}/storage/v1/b", headers=headers, timeout=10).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"instructions": {"storage.buckets.list": ["return-nonsense"]}}, 400),
        ({"instructions": {"storage.buckets.list": "return-503"}}, 400),
        ({"instructions": {"storage.buckets.list": ["return-503"]}, "transport": "GRPC"}, 501),
    ],
)
def test_what_cannot_be_followed_is_not_taken(
    face: StorageFace, body: dict[str, Any], status: int
) -> None:
    assert requests.post(f"{face.url}/retry_test", json=body, timeout=10).status_code == status


def test_only_requests_of_the_test_and_the_operation_meet_its_faults(
    face: StorageFace, client: Any, ordered: Any
) -> None:
    test_id = ordered("storage.buckets.list", "return-400")
    assert requests.get(f"{face.url}/storage/v1/b", timeout=10).status_code == 200
    client.get_bucket(BUCKET)
    assert not _is_over(face, test_id)
    with pytest.raises(api.BadRequest):
        list(client.list_buckets())
    assert _is_over(face, test_id)
    assert [b.name for b in client.list_buckets()] == [BUCKET]


def test_errors_and_resets_come_in_order_and_have_no_effect(
    face: StorageFace, bucket: Any, ordered: Any
) -> None:
    test_id = ordered(
        "storage.objects.insert", "return-503", "return-reset-connection", "return-400"
    )
    with pytest.raises(api.BadRequest):
        bucket.blob("x").upload_from_string(b"content", if_generation_match=0)
    assert _is_over(face, test_id)
    assert face.disk.list(BUCKET) == []
    assert [r.method for r in face.requests if "/upload/" in r.target] == ["POST"] * 3
    bucket.blob("x").upload_from_string(b"content", if_generation_match=0)


def test_a_reset_is_seen_as_one(face: StorageFace) -> None:
    test_id = _order(face, "storage.buckets.list", "return-reset-connection")
    with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
        requests.get(f"{face.url}/storage/v1/b", headers={"x-retry-test-id": test_id}, timeout=10)


@pytest.mark.parametrize(
    ("instruction", "got_bytes"),
    [("return-broken-stream", 4), ("return-broken-stream-after-256K", UNIT)],
)
def test_a_download_breaks_off_and_the_client_goes_on_where_it_was(
    face: StorageFace, bucket: Any, ordered: Any, instruction: str, got_bytes: int
) -> None:
    content = bytes(range(256)) * 4096
    face.disk.insert(BUCKET, "x", content)
    test_id = ordered("storage.objects.get", instruction, instruction)
    assert bucket.blob("x").download_as_bytes() == content
    assert _is_over(face, test_id)
    single = _order(face, "storage.objects.get", instruction)
    answer = requests.get(
        f"{face.url}/download/storage/v1/b/{BUCKET}/o/x?alt=media",
        headers={"x-retry-test-id": single},
        timeout=10,
        stream=True,
    )
    got: list[bytes] = []
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        got.extend(answer.iter_content(4))
    assert b"".join(got) == content[:got_bytes]


def test_an_answer_that_is_too_short_to_break_leaves_the_fault_for_the_next(
    face: StorageFace, bucket: Any, ordered: Any
) -> None:
    face.disk.insert(BUCKET, "short", b"1")
    test_id = ordered("storage.objects.get", "return-broken-stream-after-256K")
    assert bucket.blob("short").download_as_bytes() == b"1"
    assert not _is_over(face, test_id)


@pytest.mark.parametrize("after_kib", [256, 300, 8192, 9216])
def test_a_client_goes_on_with_an_upload_that_was_cut(
    face: StorageFace, bucket: Any, ordered: Any, after_kib: int
) -> None:
    content = bytes(range(256)) * (9 << 12)
    test_id = ordered("storage.objects.insert", f"return-503-after-{after_kib}K")
    blob = bucket.blob("x", chunk_size=len(content))
    blob.upload_from_string(content, if_generation_match=0)
    assert _is_over(face, test_id)
    assert bucket.blob("x").download_as_bytes() == content
    # What was cut, and the same again, of which only what is new is taken.
    assert (face.uploads(), face.count("PUT", "upload_id=")) == (1, 2)


def test_bytes_before_the_cut_need_not_be_sent_again(face: StorageFace) -> None:
    test_id = _order(face, "storage.objects.insert", "return-503-after-512K")
    headers = {"x-retry-test-id": test_id}
    url = f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x"
    session = requests.post(url, headers=headers, timeout=10).headers["location"]
    cut = requests.put(session, bytes(4 * UNIT), headers=headers, timeout=10)
    assert cut.status_code == 503
    asked = requests.put(session, headers={"content-range": "bytes */*"}, timeout=10)
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{2 * UNIT - 1}")
    assert face.disk.list(BUCKET) == []


def test_an_upload_in_one_request_is_cut_without_effect(face: StorageFace) -> None:
    test_id = _order(face, "storage.objects.insert", "return-503-after-256K")
    url = f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x"
    headers = {"x-retry-test-id": test_id}
    assert requests.post(url, bytes(UNIT), headers=headers, timeout=10).status_code == 503
    assert face.disk.list(BUCKET) == []
    assert requests.post(url, bytes(UNIT), headers=headers, timeout=10).status_code == 200


def test_the_answer_to_the_last_chunk_breaks_off_after_its_effect(face: StorageFace) -> None:
    instruction = "return-broken-stream-final-chunk-after-7B"
    test_id = _order(face, "storage.objects.insert", instruction)
    headers = {"x-retry-test-id": test_id}
    url = f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=x"
    session = requests.post(url, headers=headers, timeout=10).headers["location"]
    first = {**headers, "content-range": f"bytes 0-{UNIT - 1}/{2 * UNIT}"}
    assert requests.put(session, bytes(UNIT), headers=first, timeout=10).status_code == 308
    last = {**headers, "content-range": f"bytes {UNIT}-{2 * UNIT - 1}/{2 * UNIT}"}
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.put(session, bytes(UNIT), headers=last, timeout=10)
    assert face.disk.need(BUCKET, "x").size_bytes == 2 * UNIT
    assert _is_over(face, test_id)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_stall_lasts_as_long_as_the_clock_says(
    server: FaceServer, tmp_path: Path, way: str
) -> None:
    clock = SandboxClock()
    face = server.face(tmp_path / "stalling", clock=clock)
    face.disk.insert(BUCKET, "x", bytes(UNIT))
    operation = "storage.objects.insert" if way == "up" else "storage.objects.get"
    test_id = _order(face, operation, "stall-for-3600s-after-100K")
    headers = {"x-retry-test-id": test_id}
    got: list[int] = []

    def transfer() -> None:
        if way == "up":
            url = f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=y"
            answer = requests.post(url, bytes(UNIT), headers=headers, timeout=30)
            got.append(int(answer.json()["size"]))
        else:
            url = f"{face.url}/download/storage/v1/b/{BUCKET}/o/x?alt=media"
            got.append(len(requests.get(url, headers=headers, timeout=30).content))

    thread = threading.Thread(target=transfer)
    thread.start()
    thread.join(0.3)
    assert got == []
    while thread.is_alive():  # the request may only now have come to its stall
        clock.advance(3600)
        thread.join(0.05)
    assert got == [UNIT]
    assert _is_over(face, test_id)
