"""The Cloud Storage store, through Google's client, against the face."""

from __future__ import annotations

import http.client
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import requests
import urllib3
from google import resumable_media
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as gcs

from orchestrator.errors import (
    Ambiguous,
    Conflict,
    Corrupt,
    InputError,
    NotFound,
    RefusalKind,
    Refused,
    RemoteError,
)
from orchestrator.stores.base import ObjectStore, StoredObject
from orchestrator.stores.gcs import GcsStore, remote_error
from tests.sandbox.storage.stage import (
    BUCKET,
    DROP_AFTER,
    ERROR_AFTER,
    FaceServer,
    StorageFace,
    fault,
    retry_at_once,
)

URI = f"gs://{BUCKET}/folder/rows.jsonl"
LARGE = (17 << 20) + 5


@pytest.fixture(scope="module")
def server() -> Iterator[FaceServer]:
    with FaceServer() as server:
        yield server


@pytest.fixture
def face(server: FaceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageFace:
    retry_at_once(monkeypatch)
    return server.face(tmp_path / "disk")


@pytest.fixture
def store(face: StorageFace) -> Iterator[GcsStore]:
    store = GcsStore(None, face.url, timeout_s=10)
    yield store
    store.close()


def _file(tmp_path: Path, content: bytes = b"{}\n") -> Path:
    file = tmp_path / "local.jsonl"
    file.write_bytes(content)
    return file


def test_it_is_an_object_store(store: GcsStore) -> None:
    contract: ObjectStore = store
    assert contract.list(f"gs://{BUCKET}") == []


@pytest.mark.parametrize("size_bytes", [0, 3, LARGE])
def test_a_file_is_stored_described_and_fetched(
    store: GcsStore, face: StorageFace, tmp_path: Path, size_bytes: int
) -> None:
    file = _file(tmp_path, bytes(range(256)) * (size_bytes // 256) + bytes(size_bytes % 256))
    put = store.put(file, URI)
    assert put.created
    assert store.stat(URI) == put.stored
    assert (put.stored.uri, put.stored.size_bytes) == (URI, size_bytes)
    moved: list[int] = []
    target = tmp_path / "new folder" / "fetched"
    store.get(put.stored, target, moved.append)
    assert target.read_bytes() == file.read_bytes()
    assert sum(moved) == size_bytes
    assert [path.name for path in target.parent.iterdir()] == ["fetched"]


def test_the_same_bytes_are_not_sent_again(
    store: GcsStore, face: StorageFace, tmp_path: Path
) -> None:
    first = store.put(_file(tmp_path), URI)
    second = store.put(_file(tmp_path), URI)
    assert not second.created
    assert second.stored == first.stored
    assert face.uploads() == 1


def test_other_bytes_under_the_name_are_a_conflict(
    store: GcsStore, face: StorageFace, tmp_path: Path
) -> None:
    store.put(_file(tmp_path, b"one"), URI)
    with pytest.raises(Conflict, match=URI):
        store.put(_file(tmp_path, b"two"), URI)
    assert store.read(URI, max_bytes=10) == b"one"
    assert face.uploads() == 1


@pytest.mark.parametrize("lost", [ERROR_AFTER, DROP_AFTER], ids=["error", "drop"])
@pytest.mark.parametrize("size_bytes", [3, LARGE])
def test_a_lost_answer_counts_as_success_when_the_bytes_are_equal(
    store: GcsStore, face: StorageFace, tmp_path: Path, lost: dict[str, Any], size_bytes: int
) -> None:
    method = "POST" if size_bytes < 8 << 20 else "PUT"
    last_chunk = 1 if method == "POST" else 2
    face.faults.add(fault(method, "/upload/", nth=last_chunk, **lost))
    put = store.put(_file(tmp_path, b"x" * size_bytes), URI)
    assert [injection.hidden_status for injection in face.faults.injected] == [200]
    # A resumable upload answers again; a whole one finds that its first try was stored.
    assert put.created is (method == "PUT")
    assert [version.generation for version in face.disk.list(BUCKET)] == [put.stored.generation]


def test_a_writer_who_was_faster_decides(
    store: GcsStore, face: StorageFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and our upload another writer stores the name."""
    upload = store._upload
    for theirs, ours in ((b"same", b"same"), (b"other", b"ours!")):
        uri = f"gs://{BUCKET}/{theirs.decode()}"

        def raced(*args: Any, uri: str = uri, theirs: bytes = theirs) -> StoredObject:
            face.disk.insert(BUCKET, uri.rpartition("/")[2], theirs)
            return upload(*args)

        monkeypatch.setattr(store, "_upload", raced)
        if theirs == ours:
            assert not store.put(_file(tmp_path, ours), uri).created
        else:
            with pytest.raises(Conflict):
                store.put(_file(tmp_path, ours), uri)
            assert store.read(uri, max_bytes=9) == theirs


def test_a_missing_bucket_is_named_with_the_way_to_create_it(
    store: GcsStore, tmp_path: Path
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.check_writable("gs://no-such-bucket/folder"),
        lambda: store.put(_file(tmp_path), "gs://no-such-bucket/x"),
        lambda: store.put(_file(tmp_path, bytes(9 << 20)), "gs://no-such-bucket/x"),
        lambda: store.list("gs://no-such-bucket/folder"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="gs://no-such-bucket") as caught:
            call()
        assert "gcloud storage buckets create gs://no-such-bucket" in caught.value.hint
    assert store.stat("gs://no-such-bucket/x") is None


def test_a_writable_bucket_is_checked_without_a_trace(store: GcsStore, face: StorageFace) -> None:
    store.check_writable(f"gs://{BUCKET}")
    store.check_writable(f"gs://{BUCKET}/folder")
    assert face.disk.list(BUCKET) == []
    assert face.count("POST", "") == 0


def test_permissions_that_are_missing_are_named(
    store: GcsStore, face: StorageFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.storage import Bucket

    # The face grants everything, as the sandbox has no accounts.
    monkeypatch.setattr(Bucket, "test_iam_permissions", lambda *_, **__: ["storage.objects.get"])
    with pytest.raises(
        Refused, match=r"storage\.objects\.create, storage\.objects\.list"
    ) as caught:
        store.check_writable(URI)
    assert caught.value.kind is RefusalKind.PERMISSION


def test_a_listing_is_in_order_and_keeps_odd_names(store: GcsStore, face: StorageFace) -> None:
    for name in ["b", "a//b", "a/../c", "conf/inner", "conf", "dir/", "ü?#"]:
        face.disk.insert(BUCKET, name, name.encode())
    listed = store.list(f"gs://{BUCKET}")
    assert [stored.uri.removeprefix(f"gs://{BUCKET}/") for stored in listed] == [
        "a/../c",
        "a//b",
        "b",
        "conf",
        "conf/inner",
        "dir/",
        "ü?#",
    ]
    assert store.list(f"gs://{BUCKET}/") == listed
    assert [stored.uri for stored in store.list(f"gs://{BUCKET}/conf/")] == [
        f"gs://{BUCKET}/conf/inner"
    ]
    for stored in listed:
        assert store.stat(stored.uri) == stored
        content = store.read(stored.uri, max_bytes=100)
        assert stored.uri == f"gs://{BUCKET}/{content.decode()}"


def test_a_download_takes_the_generation_that_was_listed(
    store: GcsStore, face: StorageFace, tmp_path: Path
) -> None:
    listed = store.put(_file(tmp_path, b"one"), URI).stored
    face.disk.insert(BUCKET, "folder/rows.jsonl", b"two")
    with pytest.raises(NotFound, match=str(listed.generation)):
        store.get(listed, tmp_path / "out" / "rows")
    assert list((tmp_path / "out").iterdir()) == []


def test_damaged_bytes_never_reach_their_place(
    store: GcsStore, face: StorageFace, tmp_path: Path
) -> None:
    listed = store.put(_file(tmp_path, b"one"), URI).stored
    target = tmp_path / "out" / "rows"
    target.parent.mkdir()
    target.write_bytes(b"before")
    face.disk.list(BUCKET)[0].path.write_bytes(b"0ne")
    with pytest.raises(Corrupt):
        store.get(listed, target)
    with pytest.raises(Corrupt):
        store.read(URI, max_bytes=10)
    assert [(path.name, path.read_bytes()) for path in target.parent.iterdir()] == [
        ("rows", b"before")
    ]


def test_bytes_that_are_not_the_promised_ones_are_corrupt_even_if_the_service_vouches_for_them(
    store: GcsStore, tmp_path: Path
) -> None:
    stored = store.put(_file(tmp_path, b"one"), URI).stored
    promised = StoredObject(stored.uri, 3, "AAAAAA==", stored.generation)
    with pytest.raises(Corrupt, match="AAAAAA=="):
        store.get(promised, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_answer_that_breaks_off_is_continued(
    store: GcsStore, face: StorageFace, tmp_path: Path
) -> None:
    stored = store.put(_file(tmp_path, b"x" * 500_000), URI).stored
    face.faults.add(fault("GET", "alt=media", times=2, **DROP_AFTER))
    store.get(stored, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == 500_000
    assert len(face.faults.injected) == 2


def test_a_large_object_is_not_read_into_memory(store: GcsStore, tmp_path: Path) -> None:
    store.put(_file(tmp_path, b"12345"), URI)
    assert store.read(URI, max_bytes=5) == b"12345"
    with pytest.raises(Corrupt, match="5 bytes; at most 4"):
        store.read(URI, max_bytes=4)
    with pytest.raises(NotFound, match=r"gs://training-data/nothing"):
        store.read(f"gs://{BUCKET}/nothing", max_bytes=4)


@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        (400, Refused, RefusalKind.INVALID),
        (401, Refused, RefusalKind.CREDENTIALS),
        (403, Refused, RefusalKind.PERMISSION),
        (501, Refused, RefusalKind.INVALID),
    ],
)
def test_a_refusal_says_which(
    store: GcsStore, face: StorageFace, status: int, expected: type[Refused], kind: RefusalKind
) -> None:
    face.faults.add(fault("GET", "/o/", status=status))
    with pytest.raises(expected, match=URI) as caught:
        store.stat(URI)
    assert caught.value.kind is kind
    assert len(face.faults.injected) == 1


def test_a_service_that_does_not_recover_leaves_the_outcome_open(
    face: StorageFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.storage import retry

    # Two minutes of tries, without the minutes.
    monkeypatch.setattr(retry.DEFAULT_RETRY, "_timeout", 0.0)
    face.faults.add(fault("GET", "/o/", times=None))
    store = GcsStore("project", face.url)
    with pytest.raises(Ambiguous, match=URI):
        store.put(_file(tmp_path), URI)
    store.close()


def test_a_server_that_is_not_there_leaves_the_outcome_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from google.cloud.storage import retry

    monkeypatch.setattr(retry.DEFAULT_RETRY, "_timeout", 0.0)
    store = GcsStore("project", "http://127.0.0.1:9", timeout_s=5)
    with pytest.raises(Ambiguous):
        store.check_writable(URI)
    store.close()


def test_without_credentials_the_way_to_sign_in_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CLOUDSDK_CONFIG", raising=False)
    with pytest.raises(Refused, match="checking gs://training-data") as caught:
        GcsStore("project").check_writable(URI)
    assert caught.value.kind is RefusalKind.CREDENTIALS
    assert "gcloud auth application-default login" in caught.value.hint


@pytest.mark.parametrize("uri", ["", "gs://", "s3://bucket/x", "/local/file", f"gs://{BUCKET}"])
def test_an_address_that_is_none_is_refused(store: GcsStore, uri: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"not a Cloud Storage address|names a bucket") as caught:
        store.put(_file(tmp_path), uri)
    assert caught.value.kind is RefusalKind.INVALID


def test_a_local_file_that_cannot_be_used_is_named(store: GcsStore, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        store.put(tmp_path / "nothing", URI)
    assert str(tmp_path / "nothing") in str(caught.value)
    stored = store.put(_file(tmp_path), URI).stored
    with pytest.raises(InputError) as caught:
        store.get(stored, tmp_path / "local.jsonl" / "below a file")
    assert "below a file" in str(caught.value)


def test_the_checksum_is_base64_of_the_big_endian_crc32c(store: GcsStore, tmp_path: Path) -> None:
    # The check value by which catalogues of checksums identify CRC-32C.
    assert store.put(_file(tmp_path, b"123456789"), URI).stored.crc32c == "4waSgw=="
    assert google_crc32c.value(b"123456789") == 0xE3069283


def _subclasses(base: type[Exception]) -> set[type[Exception]]:
    below = {cls for child in base.__subclasses__() for cls in _subclasses(child)}
    return {base} | below


def _sdk_classes() -> list[type[Exception]]:
    """Every exception class that the client and what it builds on define."""
    modules = [
        "google.api_core.exceptions",
        "google.auth.exceptions",
        "google.cloud.storage.exceptions",
        "google.resumable_media.common",
        "requests.exceptions",
        "urllib3.exceptions",
        "http.client",
    ]
    defined = {
        value
        for name in modules
        for value in vars(importlib.import_module(name)).values()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and not issubclass(value, Warning)
        # Raised by asyncio transports for an argument that they lack: a bug, and not used here.
        and value is not api.AsyncRestUnsupportedParameterError
        and value.__module__.split(".")[0] in ("google", "requests", "urllib3", "http")
    }
    for base in (api.GoogleAPIError, auth.GoogleAuthError, requests.RequestException):
        defined |= {cls for cls in _subclasses(base) if not issubclass(cls, Warning)}
    return sorted(defined, key=lambda cls: (cls.__module__, cls.__name__))


def _instance(cls: Any) -> Exception:
    """An instance, however its constructor is called: only its class and code count."""
    response = requests.Response()
    response.status_code = 503
    arguments: tuple[Any, ...] | None = None
    if issubclass(cls, resumable_media.InvalidResponse | resumable_media.DataCorruption):
        arguments = (response, "text")
    elif issubclass(cls, urllib3.exceptions.IncompleteRead):
        arguments = (1, 2)
    elif cls is urllib3.exceptions.InvalidChunkLength:
        arguments = (urllib3.HTTPResponse(b""), b"x")
    elif cls is api.RetryError:
        arguments = ("text", None)
    elif issubclass(cls, api.GoogleAPICallError | http.client.IncompleteRead):
        arguments = ("text",)
    error: Exception = cls.__new__(cls, "text") if arguments is None else cls(*arguments)
    return error


@pytest.mark.parametrize("cls", _sdk_classes(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_exception_of_the_client_becomes_one_of_ours(cls: type[Exception]) -> None:
    error = _instance(cls)
    if isinstance(error, auth.GoogleAuthError):
        error._retryable = False
    ours = remote_error(error, f"storing {URI}")
    assert isinstance(ours, RemoteError)
    assert URI in str(ours)
    code = getattr(error, "code", None)
    if isinstance(error, api.GoogleAPICallError) and code is not None:
        is_open = code in (308, 499) or (code >= 500 and code != 501)
        assert isinstance(ours, Ambiguous) is is_open
    elif issubclass(cls, auth.DefaultCredentialsError | auth.RefreshError):
        assert isinstance(ours, Refused)
        assert ours.kind is RefusalKind.CREDENTIALS


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (api.NotFound("x"), NotFound),
        (api.PreconditionFailed("x"), Conflict),
        (api.Conflict("x"), Conflict),
        (api.BadGateway("x"), Ambiguous),
        (api.RetryError("x", cause=api.TooManyRequests("y")), Ambiguous),
        (auth.TransportError("x"), Ambiguous),
        (auth.RefreshError("x", retryable=True), Ambiguous),
        (gcs.DataCorruption(None, "x"), Corrupt),
        (requests.ReadTimeout("x"), Ambiguous),
        (requests.exceptions.MissingSchema("x"), Refused),
        (urllib3.exceptions.ProtocolError("x"), Ambiguous),
        (http.client.IncompleteRead(b""), Ambiguous),
        (ConnectionResetError("x"), Ambiguous),
        (TimeoutError("x"), Ambiguous),
    ],
)
def test_an_exception_says_whether_there_was_an_effect(
    error: Exception, expected: type[RemoteError]
) -> None:
    assert type(remote_error(error, "doing")) is expected


def test_a_rate_limit_is_a_quota_and_carries_how_long_to_wait() -> None:
    response = requests.Response()
    response.headers["Retry-After"] = "17"
    slow = remote_error(api.TooManyRequests("x", response=response), "doing")
    assert isinstance(slow, Refused)
    assert (slow.kind, slow.retry_after_s) == (RefusalKind.QUOTA, 17.0)
    limited = api.Forbidden("x", errors=[{"reason": "rateLimitExceeded"}])
    ours = remote_error(limited, "doing")
    assert isinstance(ours, Refused)
    assert ours.kind is RefusalKind.QUOTA


def test_a_bug_stays_a_bug() -> None:
    assert remote_error(KeyError("x"), "doing") is None
    assert remote_error(FileNotFoundError("x"), "doing") is None
