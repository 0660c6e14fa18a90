"""Many calls in one request."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from google.api_core import exceptions as api

from tests.sandbox.storage.stage import (
    BUCKET,
    StorageFace,
)


def _post(face: StorageFace, body: str, boundary: str = "b") -> requests.Response:
    return requests.post(
        f"{face.url}/batch/storage/v1",
        data=body.encode(),
        headers={"content-type": f'multipart/mixed; boundary="{boundary}"'},
        timeout=10,
    )


def test_a_batch_does_what_its_calls_do_alone(client: Any, bucket: Any) -> None:
    blobs = [bucket.blob(f"dir {n}/ü%2F") for n in range(3)]
    for blob in blobs:
        blob.upload_from_string(b"")
    with client.batch():
        for blob in blobs[:2]:
            blob.metadata = {"in": "a batch"}
            blob.patch()
        blobs[2].delete()
    assert [blob.metadata for blob in blobs[:2]] == [{"in": "a batch"}] * 2
    seen = {blob.name: blob.metadata for blob in bucket.list_blobs()}
    assert seen == {blob.name: {"in": "a batch"} for blob in blobs[:2]}


def test_a_call_that_fails_does_not_stop_the_others(client: Any, bucket: Any) -> None:
    bucket.blob("there").upload_from_string(b"")
    with client.batch(raise_exception=False) as batch:
        bucket.blob("missing").delete()
        bucket.blob("there").delete()
    assert [answer.status_code for answer in batch._responses] == [404, 204]
    assert batch._responses[0].json()["error"]["errors"][0]["reason"] == "notFound"
    assert not bucket.blob("there").exists()
    with pytest.raises(api.NotFound), client.batch():
        bucket.blob("missing").delete()


def test_conditions_hold_for_each_call(client: Any, bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"")
    with pytest.raises(api.PreconditionFailed), client.batch():
        blob.delete(if_generation_match=blob.generation + 1)
    assert bucket.blob("x").exists()


def test_answers_are_named_after_their_calls(face: StorageFace) -> None:
    face.disk.insert(BUCKET, "x", b"")
    call = (
        "--b\nContent-Type: application/http\nContent-ID: <{id}>\n\n"
        f"GET {{root}}/storage/v1/b/{BUCKET}/o/x?fields=name HTTP/1.1\n\n\n"
    )
    body = call.format(id="one+1", root="") + call.format(id="two", root=face.url) + "--b--"
    text = _post(face, body).text
    assert "Content-ID: <response-one+1>\r\n" in text
    assert "Content-ID: <response-two>\r\n" in text
    assert text.count('{"name":"x"}') == 2


def test_a_batch_has_a_hundred_calls_at_most(client: Any, bucket: Any) -> None:
    def delete_many(count: int) -> None:
        with client.batch(raise_exception=False):
            for n in range(count):
                bucket.blob(str(n)).delete()

    delete_many(100)
    with pytest.raises(api.BadRequest, match="100"):
        delete_many(101)


@pytest.mark.parametrize(
    "call",
    [
        f"POST /upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x HTTP/1.1\n\ncontent",
        f"GET /storage/v1/b/{BUCKET}/o/x?alt=media HTTP/1.1\n\n",
        "POST /batch/storage/v1 HTTP/1.1\n\n",
        "GET //[ HTTP/1.1\n\n",
        "nothing",
    ],
)
def test_what_cannot_be_in_a_batch_is_refused(face: StorageFace, call: str) -> None:
    answer = _post(face, f"--b\nContent-Type: application/http\n\n{call}\n--b--")
    assert answer.status_code == 400
    assert face.disk.list(BUCKET) == []


def test_a_batch_that_is_refused_has_no_effect_at_all(face: StorageFace) -> None:
    face.disk.insert(BUCKET, "x", b"")
    part = "--b\nContent-Type: application/http\n\n{} HTTP/1.1\n\n\n"
    calls = [
        f"DELETE /storage/v1/b/{BUCKET}/o/x",
        f"POST /upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=y",
    ]
    answer = _post(face, "".join(part.format(call) for call in calls) + "--b--")
    assert answer.status_code == 400
    assert [version.name for version in face.disk.list(BUCKET)] == ["x"]


def test_a_body_that_is_no_batch_is_refused(face: StorageFace) -> None:
    assert _post(face, "nothing at all").status_code == 400
