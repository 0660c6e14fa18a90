"""The conditions of a request, on every kind of request that may carry them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from orchestrator.sandbox.objects.disk import StoredVersion
from tests.sandbox.storage.stage import BUCKET, StorageFace, storage_client

UNIT = 256 * 1024


Conditions = dict[str, str]
Write = Callable[[StorageFace, Conditions], requests.Response]


def _item(face: StorageFace, action: str = "") -> str:
    return f"{face.url}/storage/v1/b/{BUCKET}/o/x{action}"


def _upload(face: StorageFace, kind: str, conditions: Conditions, **more: Any) -> requests.Response:
    return requests.post(
        f"{face.url}/upload/storage/v1/b/{BUCKET}/o",
        params={"uploadType": kind, "name": "x", **conditions},
        timeout=10,
        **more,
    )


def _media(face: StorageFace, conditions: Conditions) -> requests.Response:
    return _upload(face, "media", conditions, data=b"new")


def _multipart(face: StorageFace, conditions: Conditions) -> requests.Response:
    body = b"--b\r\n\r\n{}\r\n--b\r\n\r\nnew\r\n--b--"
    headers = {"content-type": "multipart/related; boundary=b"}
    return _upload(face, "multipart", conditions, data=body, headers=headers)


def _resumable(face: StorageFace, conditions: Conditions) -> requests.Response:
    started = _upload(face, "resumable", conditions)
    if started.status_code != 200:
        return started
    return requests.put(started.headers["location"], b"new", timeout=10)


def _compose(face: StorageFace, conditions: Conditions) -> requests.Response:
    face.disk.insert(BUCKET, "part", b"new")
    body = {"sourceObjects": [{"name": "part"}]}
    return requests.post(_item(face, "/compose"), params=conditions, json=body, timeout=10)


def _rewrite(face: StorageFace, conditions: Conditions) -> requests.Response:
    face.disk.insert(BUCKET, "part", b"new")
    url = f"{face.url}/storage/v1/b/{BUCKET}/o/part/rewriteTo/b/{BUCKET}/o/x"
    return requests.post(url, params=conditions, timeout=10)


def _copy(face: StorageFace, conditions: Conditions) -> requests.Response:
    face.disk.insert(BUCKET, "part", b"new")
    url = f"{face.url}/storage/v1/b/{BUCKET}/o/part/copyTo/b/{BUCKET}/o/x"
    return requests.post(url, params=conditions, timeout=10)


def _patch(face: StorageFace, conditions: Conditions) -> requests.Response:
    return requests.patch(_item(face), params=conditions, json={"metadata": {}}, timeout=10)


def _update(face: StorageFace, conditions: Conditions) -> requests.Response:
    return requests.put(_item(face), params=conditions, json={"metadata": {}}, timeout=10)


def _delete(face: StorageFace, conditions: Conditions) -> requests.Response:
    return requests.delete(_item(face), params=conditions, timeout=10)


CREATES = [_media, _multipart, _resumable, _compose, _rewrite, _copy]
WRITES = [*CREATES, _patch, _update, _delete]


def _conditions(version: StoredVersion) -> tuple[list[Conditions], list[Conditions]]:
    """Conditions that hold of a version, and others that do not."""
    there, other = str(version.generation), str(version.generation + 1)
    meta, other_meta = str(version.metageneration), str(version.metageneration + 1)
    return [
        {"ifGenerationMatch": there},
        {"ifGenerationNotMatch": other},
        {"ifGenerationNotMatch": "0"},
        {"ifMetagenerationMatch": meta},
        {"ifMetagenerationNotMatch": other_meta},
        {"ifGenerationMatch": there, "ifMetagenerationMatch": meta},
    ], [
        {"ifGenerationMatch": other},
        {"ifGenerationMatch": "0"},
        {"ifGenerationNotMatch": there},
        {"ifMetagenerationMatch": other_meta},
        {"ifMetagenerationNotMatch": meta},
        {"ifGenerationMatch": there, "ifMetagenerationMatch": other_meta},
    ]


@pytest.mark.parametrize("write", WRITES)
def test_a_write_happens_if_its_conditions_hold_and_not_otherwise(
    face: StorageFace, write: Write
) -> None:
    for number in range(6):
        version = face.disk.insert(BUCKET, "x", b"old")
        holds, fails = _conditions(version)
        refused = write(face, fails[number])
        # The service documents 304 for "not match", on writes too.
        unchanged = any("NotMatch" in name for name in fails[number])
        assert refused.status_code == (304 if unchanged else 412), fails[number]
        if unchanged:
            assert refused.content == b""
        else:
            assert refused.json()["error"]["errors"][0]["reason"] == "conditionNotMet"
        assert face.disk.get(BUCKET, "x") == version
        assert write(face, holds[number]).status_code in (200, 204), holds[number]
        assert face.disk.get(BUCKET, "x") != version


@pytest.mark.parametrize("create", CREATES)
def test_an_object_is_created_once(face: StorageFace, create: Write) -> None:
    assert create(face, {"ifGenerationNotMatch": "0"}).status_code == 304
    assert create(face, {"ifGenerationMatch": "7"}).status_code == 412
    assert create(face, {"ifMetagenerationMatch": "1"}).status_code == 412
    assert face.disk.get(BUCKET, "x") is None
    assert create(face, {"ifGenerationMatch": "0"}).status_code == 200
    made = face.disk.need(BUCKET, "x")
    assert create(face, {"ifGenerationMatch": "0"}).status_code == 412
    assert face.disk.need(BUCKET, "x") == made
    assert made.path.read_bytes() == b"new"


@pytest.mark.parametrize("media", [False, True])
def test_a_read_tells_apart_what_changed_and_what_did_not(face: StorageFace, media: bool) -> None:
    version = face.disk.insert(BUCKET, "x", b"old")
    holds, fails = _conditions(version)
    alt = {"alt": "media"} if media else {}
    for conditions in holds:
        assert requests.get(_item(face), {**conditions, **alt}, timeout=10).status_code == 200
    for conditions in fails:
        unchanged = any("NotMatch" in name for name in conditions)
        answer = requests.get(_item(face), {**conditions, **alt}, timeout=10)
        assert answer.status_code == (304 if unchanged else 412), conditions
        assert not (unchanged and answer.content)


@pytest.mark.parametrize("name", ["ifGenerationMatch", "ifMetagenerationNotMatch"])
@pytest.mark.parametrize("value", ["", "one", "1.5"])
def test_a_condition_that_is_no_number_is_refused(face: StorageFace, name: str, value: str) -> None:
    assert _media(face, {name: value}).status_code == 400
    assert face.disk.list(BUCKET) == []


def test_the_conditions_of_a_session_are_checked_when_it_ends(face: StorageFace) -> None:
    version = face.disk.insert(BUCKET, "x", b"old")
    for conditions in _conditions(version)[0]:
        started = _upload(face, "resumable", conditions)
        assert started.status_code == 200
    # The last one asked for this generation and metageneration.
    face.disk.insert(BUCKET, "x", b"newer")
    address = started.headers["location"]
    assert requests.put(address, b"late", timeout=10).status_code == 412
    assert face.disk.need(BUCKET, "x").path.read_bytes() == b"newer"


def test_chunks_may_be_posted_to_the_address_of_a_session(face: StorageFace) -> None:
    address = _upload(face, "resumable", {"fields": "size"}).headers["location"]
    first = {"content-range": f"bytes 0-{UNIT - 1}/*"}
    assert requests.post(address, bytes(UNIT), headers=first, timeout=10).status_code == 308
    last = {"content-range": f"bytes {UNIT}-{UNIT}/{UNIT + 1}"}
    answer = requests.post(address, b"1", headers=last, timeout=10)
    # The address remembers what was asked for at the start.
    assert answer.json() == {"size": str(UNIT + 1)}
    asked = requests.post(address, headers={"content-range": "bytes */*"}, timeout=10)
    assert asked.json() == {"size": str(UNIT + 1)}


def test_an_upload_id_that_nobody_gave_out_opens_nothing(face: StorageFace) -> None:
    url = f"{face.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x&upload_id=made-up"
    for method in ("POST", "PUT", "DELETE"):
        assert requests.request(method, url, data=b"content", timeout=10).status_code == 404
    assert face.disk.list(BUCKET) == []


def test_what_an_object_is_called_does_not_matter_to_its_conditions(face: StorageFace) -> None:
    names = [
        "a//b",
        "../up",
        "/etc/passwd",
        "x/compose",
        "ünï/日本 🚲",
        "%2F%00?#&",
        "~",
        "a" * 1024,
    ]
    with storage_client(face.url) as client:
        bucket = client.bucket(BUCKET)
        for name in names:
            blob = bucket.blob(name)
            blob.upload_from_string(name.encode(), if_generation_match=0)
            copy = bucket.copy_blob(blob, bucket, f"copy of {name}"[:1024], if_generation_match=0)
            assert copy.download_as_bytes(if_generation_match=copy.generation) == name.encode()
            bucket.blob(name).delete(if_generation_match=blob.generation)
        assert len(list(bucket.list_blobs())) == len(names)
