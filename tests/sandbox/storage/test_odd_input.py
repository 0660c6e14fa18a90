"""Requests that no client sends by itself: each is refused, and none does harm to later ones."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.sandbox.storage.stage import BUCKET, StorageFace


def _upload(face: StorageFace, resource: bytes) -> requests.Response:
    body = b"--b\r\n\r\n" + resource + b"\r\n--b\r\n\r\ncontent\r\n--b--"
    return requests.post(
        f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart",
        data=body,
        headers={"content-type": "multipart/related; boundary=b"},
        timeout=10,
    )


def _get(face: StorageFace, path: str, **headers: str) -> requests.Response:
    return requests.get(face.url + path, headers=headers, timeout=10)


@pytest.mark.parametrize(
    "resource",
    [
        b'{"name": "\\ud800"}',
        b'{"name": "x", "metadata": {"k": "\\ud800"}}',
        b'{"name": "x", "metadata": {"\\udc00": "v"}}',
        b'{"name": 5}',
        b'{"name": "x", "storageClass": {}}',
        b'{"name": "x", "contexts": {"custom": {"k": {"value": NaN}}}}',
        b'{"name": "x", "contexts": {"custom": {"k": {"value": 1e999}}}}',
        b'{"name": "x", "contexts": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["name", "value", "key", "number", "class", "nan", "infinity", "deep"],
)
def test_what_no_answer_could_say_is_not_stored(face: StorageFace, resource: bytes) -> None:
    assert _upload(face, resource).status_code == 400
    assert _get(face, f"/storage/v1/b/{BUCKET}/o").json() == {"kind": "storage#objects"}


def test_a_bucket_with_settings_that_no_answer_could_say_is_not_made(face: StorageFace) -> None:
    body = b'{"name": "other", "lifecycle": {"rule": [NaN]}}'
    answer = requests.post(f"{face.url}/storage/v1/b?project=p", data=body, timeout=10)
    assert answer.status_code == 400
    assert len(_get(face, "/storage/v1/b?project=p").json()["items"]) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/upload/storage/v1/b/{bucket}/o?uploadType=media&name=%ff",
        "/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=a%c3",
        "/storage/v1/b/{bucket}/o/x/rewriteTo/b/{bucket}/o/%fe",
    ],
)
def test_a_name_that_is_not_utf_8_is_refused(face: StorageFace, path: str) -> None:
    face.disk.insert(BUCKET, "x", b"")
    answer = requests.post(face.url + path.format(bucket=BUCKET), timeout=10)
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["error"]["message"]
    assert [version.name for version in face.disk.list(BUCKET)] == ["x"]


def test_parameters_of_the_xml_api_are_utf_8_too(face: StorageFace) -> None:
    for query in ("prefix=%ff", "list-type=2&continuation-token=%ff"):
        assert _get(face, f"/{BUCKET}?{query}").status_code == 400


@pytest.mark.parametrize("place", ['["a", Infinity]', '["a", "b"]', '["a"]', "7"])
def test_a_page_token_that_nobody_gave_out_is_refused(face: StorageFace, place: str) -> None:
    token = quote(base64.urlsafe_b64encode(place.encode()))
    assert _get(face, f"/storage/v1/b/{BUCKET}/o?pageToken={token}").status_code == 400


def test_a_continuation_token_that_is_no_token_is_refused(face: StorageFace) -> None:
    for token in ("é", "%", "AA", "gA=="):
        path = f"/{BUCKET}?list-type=2&continuation-token={quote(token)}"
        assert _get(face, path).status_code == 400, token


def test_a_range_with_thousands_of_digits_is_no_bug(face: StorageFace) -> None:
    face.disk.insert(BUCKET, "x", b"content")
    digits = "9" * 5000
    for path in (f"/storage/v1/b/{BUCKET}/o/x?alt=media", f"/{BUCKET}/x"):
        answer = _get(face, path, range=f"bytes=0-{digits}")
        assert (answer.status_code, answer.content) == (200, b"content")
    started = requests.post(
        f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=y", timeout=10
    )
    answer = requests.put(
        started.headers["location"],
        b"1",
        headers={"content-range": f"bytes 0-0/{digits}"},
        timeout=10,
    )
    assert answer.status_code == 400


def test_metadata_never_breaks_out_of_its_header(face: StorageFace) -> None:
    metadata: dict[str, Any] = {
        "lines": "one\r\nx-added: two",
        "bad key\r\nx-added": "three",
        "ends": " spaced\t",
        "plain": "größe",
    }
    face.disk.insert(BUCKET, "x", b"content", metadata=metadata)
    answer = _get(face, f"/{BUCKET}/x")
    assert answer.status_code == 200
    named = {k: v for k, v in answer.headers.items() if k.startswith(("x-goog-meta-", "x-added"))}
    assert named == {
        "x-goog-meta-lines": "one  x-added: two",
        "x-goog-meta-ends": "spaced",
        "x-goog-meta-plain": "größe".encode().decode("latin-1"),
    }
    told = _get(face, f"/storage/v1/b/{BUCKET}/o/x").json()
    assert told["metadata"] == metadata


@pytest.mark.parametrize(
    "instant", ["2026-11-21\r10:00:00", "2026-11-21", "20261121T100000", "now"]
)
def test_a_custom_time_is_an_instant(face: StorageFace, instant: str) -> None:
    resource = f'{{"name": "x", "customTime": "{instant}"}}'.replace("\r", "\\r")
    assert _upload(face, resource.encode()).status_code == 400
    answer = requests.put(
        f"{face.url}/{BUCKET}/x",
        headers={"x-goog-custom-time": instant.replace("\r", "x")},
        timeout=10,
    )
    assert answer.status_code == 400
    assert face.disk.list(BUCKET) == []


def test_metadata_has_the_limit_of_the_service(face: StorageFace) -> None:
    most = "ü" * 4095 + "v"
    fits, exceeds = f'{{"k": "{most}"}}', f'{{"k": "{most}v"}}'
    assert _upload(face, f'{{"name": "x", "metadata": {exceeds}}}'.encode()).status_code == 400
    assert face.disk.list(BUCKET) == []
    assert _upload(face, f'{{"name": "x", "metadata": {fits}}}'.encode()).status_code == 200
    item = f"{face.url}/storage/v1/b/{BUCKET}/o/x"
    more = {"metadata": {"l": ""}}
    assert requests.patch(item, json=more, timeout=10).status_code == 400
    assert len(_get(face, f"/{BUCKET}/x").headers["x-goog-meta-k"].encode("latin-1")) == 8191
    sent = {"x-goog-meta-k": "v" * 8192}
    answer = requests.put(f"{face.url}/{BUCKET}/y", headers=sent, timeout=10)
    assert (answer.status_code, "MetadataTooLarge" in answer.text) == (400, True)


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
def test_an_entity_tag_is_no_condition_of_a_write_that_is_ignored(
    face: StorageFace, header: str
) -> None:
    version = face.disk.insert(BUCKET, "x", b"content")
    item = f"{face.url}/storage/v1/b/{BUCKET}/o/x"
    upload = f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x"
    for method, url in (("DELETE", item), ("PATCH", item), ("POST", upload)):
        answer = requests.request(method, url, headers={header: "*"}, json={}, timeout=10)
        assert answer.status_code == 501, method
    assert face.disk.need(BUCKET, "x") == version
    assert _get(face, f"/storage/v1/b/{BUCKET}/o/x", **{header: '"other"'}).status_code in (
        200,
        412,
    )
