"""Google Cloud Storage as a store, through Google's own client, which retries by itself."""

from __future__ import annotations

import io
import mimetypes
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from orchestrator.endpoints import check_listening, without_user_info
from orchestrator.errors import (
    Ambiguous,
    Conflict,
    Corrupt,
    NotFound,
    RefusalKind,
    Refused,
    RemoteError,
)
from orchestrator.stores.base import Progress, Put, StoredObject
from orchestrator.stores.checked import CheckedSink, CountedFile, Sums, local_errors, sums_of

if TYPE_CHECKING:
    from google.cloud import storage

# The client holds one chunk of a resumable upload in memory; its own default is 100 MiB.
_CHUNK_BYTES = 16 << 20
_PERMISSIONS = ("storage.objects.create", "storage.objects.get", "storage.objects.list")
_LOGIN = "Sign in: gcloud auth application-default login"
_QUOTA_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"}

_Missing = Callable[[str], NotFound]


class GcsStore:
    """Objects in Cloud Storage, named `gs://bucket/name`. Safe for threads.

    `endpoint` None is the real service with application default credentials; another endpoint is
    used without credentials. `timeout_s` is for each request; the client retries for 120 s.
    """

    def __init__(
        self, project: str | None, endpoint: str | None = None, timeout_s: float = 60.0
    ) -> None:
        self._project = project
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._made: storage.Client | None = None

    def check_writable(self, uri: str) -> None:
        """Raise unless the bucket exists and objects may be created, read and listed there."""
        bucket, _ = _split(uri)
        check_listening(self._endpoint)
        with _mapped(f"checking gs://{bucket}", missing=_no_bucket(bucket)):
            granted = (
                self._client()
                .bucket(bucket)
                .test_iam_permissions(list(_PERMISSIONS), timeout=self._timeout_s)
            )
        denied = [name for name in _PERMISSIONS if name not in granted]
        if denied:
            raise Refused(
                f"these credentials may not use gs://{bucket}: {', '.join(denied)} not granted",
                kind=RefusalKind.PERMISSION,
                hint=f"Ask for the role roles/storage.objectUser on gs://{bucket}.",
            )

    def put(self, file: Path, uri: str, progress: Progress | None = None) -> Put:
        """Store a file under a name that nothing else uses; see `ObjectStore.put`."""
        sums = sums_of(file)
        there = self.stat(uri)
        if there is not None:
            return _same_or_conflict(there, sums)
        try:
            stored = self._upload(file, uri, sums, progress)
        except Conflict:
            # Another writer, or our own upload: its answer was lost and the client sent it again.
            there = self.stat(uri)
            if there is None:
                raise
            return _same_or_conflict(there, sums)
        if (stored.size_bytes, stored.crc32c) != (sums.size_bytes, sums.crc32c):
            raise Corrupt(
                f"{uri} was stored with {_words(stored)}, but {file} had {_words(sums)}",
                hint=f"The file changed while it was sent. Remove {uri} and try again.",
            )
        return Put(stored, created=True)

    def pin(self, uri: str) -> str:
        """The URI itself: a bucket has no revisions."""
        return uri

    def stat(self, uri: str) -> StoredObject | None:
        """Describe an object; None if there is none, or no such bucket."""
        bucket, name = _split_object(uri)
        with _mapped(f"looking at {uri}"):
            blob = self._client().bucket(bucket).get_blob(name, timeout=self._timeout_s)
        return None if blob is None else _stored(uri, blob)

    def get(self, stored: StoredObject, file: Path, progress: Progress | None = None) -> None:
        """Download this generation to `file`, checked; a partial file never stays behind."""
        part = file.with_name(f".{uuid.uuid4().hex}.part")
        with local_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("xb") as stream:
                    self._download(stored, stream, progress)
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)

    def read(self, uri: str, *, max_bytes: int) -> bytes:
        """The content of a small object; raises `Corrupt` if it is larger than `max_bytes`."""
        stored = self.stat(uri)
        if stored is None:
            raise NotFound(f"{uri} does not exist")
        if stored.size_bytes > max_bytes:
            raise Corrupt(f"{uri} has {stored.size_bytes} bytes; at most {max_bytes} were expected")
        content = io.BytesIO()
        self._download(stored, content, None)
        return content.getvalue()

    def read_range(self, stored: StoredObject, start: int, size_bytes: int) -> bytes:
        """Bytes of this generation from `start` on; see `ObjectStore.read_range`."""
        if size_bytes <= 0 or start >= stored.size_bytes:
            return b""  # the service refuses a range that holds nothing
        bucket, name = _split_object(stored.uri)
        with _mapped(f"reading {stored.uri}"):
            blob = self._client().bucket(bucket).blob(name, generation=stored.generation)
            content: bytes = blob.download_as_bytes(
                start=start,
                end=start + size_bytes - 1,
                raw_download=True,
                checksum=None,
                timeout=self._timeout_s,
            )
        return content

    def delete(self, stored: StoredObject) -> bool:
        """Remove this generation; see `ObjectStore.delete`."""
        bucket, name = _split_object(stored.uri)
        try:
            with _mapped(f"removing {stored.uri}"):
                self._client().bucket(bucket).blob(name).delete(
                    if_generation_match=stored.generation, timeout=self._timeout_s
                )
        except NotFound:
            # Gone, or removed by a request of ours whose answer was lost.
            return False
        return True

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _upload(self, file: Path, uri: str, sums: Sums, progress: Progress | None) -> StoredObject:
        """Send a file; raises `Conflict` if there is an object of this name."""
        bucket, name = _split_object(uri)
        with _mapped(f"storing {uri}", missing=_no_bucket(bucket)), local_errors(file):
            blob = self._client().bucket(bucket).blob(name, chunk_size=_CHUNK_BYTES)
            with CountedFile(file, progress) as stream:
                blob.upload_from_file(
                    stream,
                    size=os.fstat(stream.fileno()).st_size,
                    content_type=mimetypes.guess_type(file.name)[0],
                    if_generation_match=0,
                    checksum="crc32c",
                    crc32c_checksum_value=sums.crc32c,
                    timeout=self._timeout_s,
                )
            return _stored(uri, blob)

    def _download(self, stored: StoredObject, stream: IO[bytes], progress: Progress | None) -> None:
        """Write one generation to a stream; raises `Corrupt` if it is not what was promised."""
        bucket, name = _split_object(stored.uri)
        sink = CheckedSink(stream, progress)

        def missing(_: str) -> NotFound:
            return NotFound(f"{stored.uri} is gone, or is not in generation {stored.generation}")

        with _mapped(f"downloading {stored.uri}", missing=missing):
            blob = self._client().bucket(bucket).blob(name, generation=stored.generation)
            # Raw: the stored bytes are those that the checksum is of.
            blob.download_to_file(
                sink, raw_download=True, checksum="crc32c", timeout=self._timeout_s
            )
        # The client does not check a download that it had to continue.
        if sink.sums != Sums(stored.size_bytes, stored.crc32c):
            raise Corrupt(f"{stored.uri}: {_words(sink.sums)} came, not {_words(stored)}")

    def _client(self) -> storage.Client:
        with self._lock:
            if self._made is None:
                self._made = _new_client(self._project, self._endpoint)
            return self._made

    # Last in the class: below it, annotations could not say list.
    def list(self, prefix: str) -> list[StoredObject]:
        """All objects whose URI starts with `prefix`, in order of their names."""
        bucket, name = _split(prefix)
        with _mapped(f"listing {prefix}", missing=_no_bucket(bucket)):
            blobs = self._client().list_blobs(bucket, prefix=name or None, timeout=self._timeout_s)
            return [_stored(f"gs://{bucket}/{blob.name}", blob) for blob in blobs]


def remote_error(
    error: Exception, doing: str, missing: _Missing | None = None
) -> RemoteError | None:
    """The error of ours for one of the client's or of what it builds on; None for any other.

    `doing` says what was attempted; `missing` words a 404 better than the client does.
    """
    import http.client

    import requests
    import urllib3
    from google import resumable_media
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud.storage import exceptions as gcs

    text = without_user_info(f"{doing}: {error}")
    if isinstance(error, api.GoogleAPICallError):
        return _by_status(error.code, error, text, missing)
    if isinstance(error, resumable_media.InvalidResponse | gcs.InvalidResponse):
        return _by_status(getattr(error.response, "status_code", None), error, text, missing)
    if isinstance(error, resumable_media.DataCorruption | gcs.DataCorruption):
        return Corrupt(text)
    if isinstance(error, auth.TransportError | auth.TimeoutError | auth.ResponseError):
        return Ambiguous(text)
    if isinstance(error, auth.InvalidOperation):
        # So the client ends who calls without credentials, and is told that some are needed.
        return Refused(
            f"{doing}: the token in the storage address is missing or wrong",
            kind=RefusalKind.CREDENTIALS,
            hint='For a sandbox: eval "$(orchestrator sandbox env)"',
        )
    if isinstance(error, auth.GoogleAuthError):
        if error.retryable:
            return Ambiguous(text)
        return Refused(text, kind=RefusalKind.CREDENTIALS, hint=_LOGIN)
    wrong_address = (
        requests.exceptions.InvalidURL,
        requests.exceptions.MissingSchema,
        requests.exceptions.InvalidSchema,
        urllib3.exceptions.ProxySchemeUnsupported,
        gcs.InvalidPathError,
    )
    if isinstance(error, wrong_address):
        return Refused(text, kind=RefusalKind.INVALID, hint="Check the endpoint and the address.")
    no_answer = (
        api.GoogleAPIError,  # RetryError among them: an earlier try may have had its effect
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    )
    return Ambiguous(text) if isinstance(error, no_answer) else None


_REFUSALS = {
    401: (RefusalKind.CREDENTIALS, _LOGIN),
    403: (RefusalKind.PERMISSION, "Ask for the role roles/storage.objectUser on the bucket."),
    429: (RefusalKind.QUOTA, "Try again later."),
}


def _by_status(status: int | None, error: Any, text: str, missing: _Missing | None) -> RemoteError:
    """What an HTTP status means: did the request have its effect?"""
    response = getattr(error, "response", None)
    retry_after = str((getattr(response, "headers", None) or {}).get("Retry-After", ""))
    retry_after_s = float(retry_after) if retry_after.isdecimal() else None
    # A timeout, a cancelled call, an upload that is not complete, or the service's own failure.
    if status is None or status in (308, 408, 499) or (status >= 500 and status != 501):
        return Ambiguous(text, retry_after_s=retry_after_s)
    if status == 404:
        return missing(text) if missing else NotFound(text)
    if status in (409, 412):
        return Conflict(text)
    details = getattr(error, "errors", None) or []
    reasons = {detail.get("reason") for detail in details if isinstance(detail, Mapping)}
    if status == 403 and reasons & _QUOTA_REASONS:
        status = 429
    kind, hint = _REFUSALS.get(status, (RefusalKind.INVALID, ""))
    return Refused(text, kind=kind, hint=hint, retry_after_s=retry_after_s)


@contextmanager
def _mapped(doing: str, missing: _Missing | None = None) -> Iterator[None]:
    """Turn the client's exceptions into ours."""
    try:
        yield
    except Exception as error:
        ours = remote_error(error, doing, missing)
        if ours is None:
            raise
        raise ours from error


def _no_bucket(bucket: str) -> _Missing:
    hint = f"Create it (gcloud storage buckets create gs://{bucket}) or check its name."
    return lambda _: NotFound(f"the bucket gs://{bucket} does not exist", hint=hint)


def _new_client(project: str | None, endpoint: str | None) -> storage.Client:
    # Without it the client asks for the bucket once, in a thread of its own.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    # Objects need no project; without one the client would refuse to start.
    project = project or "none"
    if endpoint is None:
        return storage.Client(project=project)
    return storage.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": endpoint},
    )


def _same_or_conflict(there: StoredObject, sums: Sums) -> Put:
    if (there.size_bytes, there.crc32c) == (sums.size_bytes, sums.crc32c):
        return Put(there, created=False)
    raise Conflict(
        f"{there.uri} exists with other content: {_words(there)}, not {_words(sums)}",
        hint="Nothing was overwritten. Remove that object, or use another name.",
    )


def _words(content: StoredObject | Sums) -> str:
    return f"{content.size_bytes} bytes with CRC32C {content.crc32c}"


def _stored(uri: str, blob: Any) -> StoredObject:
    return StoredObject(
        uri=uri,
        size_bytes=int(blob.size),
        crc32c=str(blob.crc32c),
        generation=int(blob.generation),
        created_at=blob.time_created,
    )


def _split(uri: str) -> tuple[str, str]:
    """Bucket and name, or the beginning of one; names are taken as they are."""
    scheme, _, rest = uri.partition("://")
    bucket, _, name = rest.partition("/")
    if scheme != "gs" or not bucket:
        raise Refused(
            f"{uri!r} is not a Cloud Storage address",
            kind=RefusalKind.INVALID,
            hint="Write it as gs://bucket/name",
        )
    return bucket, name


def _split_object(uri: str) -> tuple[str, str]:
    bucket, name = _split(uri)
    if not name:
        raise Refused(
            f"{uri!r} names a bucket, not an object",
            kind=RefusalKind.INVALID,
            hint="Write it as gs://bucket/name",
        )
    return bucket, name
