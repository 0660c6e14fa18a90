"""One gibibyte up and down, with an interruption, through servers and clients in processes."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest
import requests
from google.resumable_media.requests import ResumableUpload

from tests.sandbox.storage.stage import BUCKET, storage_client

MIB = 1 << 20
SIZE_BYTES = 1 << 30
CHUNK_BYTES = 32 * MIB

_SERVER = """
import sys
from pathlib import Path
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.storage.app import storage_app

disk = ObjectDisk(Path(sys.argv[1]))
disk.create_bucket(sys.argv[2])
with AppServer(storage_app(disk)) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""

_UPLOADER = """
import sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

url, bucket, file, size_bytes, chunk_bytes = sys.argv[1:]
client = storage.Client(
    project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
)
with open(file, "rb") as stream:
    upload, transport = client.bucket(bucket).blob("large")._initiate_resumable_upload(
        client, stream, None, int(size_bytes), None,
        if_generation_match=0, chunk_size=int(chunk_bytes),
    )
    print(upload.resumable_url, flush=True)
    while not upload.finished:
        upload.transmit_next_chunk(transport)
        print(upload.bytes_uploaded, flush=True)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address of a face in a process of its own, and the number of the process."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(tmp_path / "disk"), BUCKET],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        process.communicate()
    shutil.rmtree(tmp_path / "disk")


@pytest.fixture
def large_file(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A file of one gibibyte that repeats nothing, and its crc32c."""
    file = tmp_path / "large"
    block = bytearray(os.urandom(MIB))
    checksum = google_crc32c.Checksum()
    with file.open("wb") as stream:
        for number in range(SIZE_BYTES // MIB):
            block[:8] = number.to_bytes(8, "big")
            stream.write(block)
            checksum.update(bytes(block))
    yield file, base64.b64encode(checksum.digest()).decode()
    file.unlink()


def _peak_bytes(pid: int) -> int:
    """The most memory that a process ever had (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


def _interrupted_upload(url: str, file: Path) -> str:
    """Kill a process that uploads when a third of the file is there; the upload's address."""
    arguments = [url, BUCKET, str(file), str(SIZE_BYTES), str(CHUNK_BYTES)]
    with subprocess.Popen(
        [sys.executable, "-c", _UPLOADER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true"},
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        while int(process.stdout.readline()) < SIZE_BYTES // 3:
            pass
        process.kill()
    assert process.returncode < 0
    return address


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_gibibyte_goes_up_and_down_in_little_memory_and_over_an_interruption(
    server: tuple[str, int], large_file: tuple[Path, str], tmp_path: Path
) -> None:
    url, pid = server
    file, crc32c = large_file
    with storage_client(url) as client:
        bucket = client.bucket(BUCKET)
        bucket.blob("small").upload_from_string(b"1" * MIB)
        assert len(bucket.blob("small").download_as_bytes()) == MIB
        before_bytes = _peak_bytes(pid)

        address = _interrupted_upload(url, file)
        upload = ResumableUpload(address, CHUNK_BYTES, checksum=None)
        upload._resumable_url = address
        upload._total_bytes = SIZE_BYTES
        upload._content_type = "application/octet-stream"
        upload._invalid = True
        with file.open("rb") as stream, requests.Session() as session:
            upload._stream = stream
            upload.recover(session)
            assert SIZE_BYTES // 3 <= upload.bytes_uploaded < SIZE_BYTES
            assert upload.bytes_uploaded % (256 * 1024) == 0
            while not upload.finished:
                upload.transmit_next_chunk(session)

        blob = bucket.get_blob("large")
        assert (blob.size, blob.crc32c) == (SIZE_BYTES, crc32c)
        # The client checks the checksum of what arrives.
        blob.download_to_filename(str(tmp_path / "down"))
        assert (tmp_path / "down").stat().st_size == SIZE_BYTES
        (tmp_path / "down").unlink()
        assert _peak_bytes(pid) - before_bytes < 64 * MIB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_half_a_gibibyte_in_one_multipart_request_takes_little_memory(
    server: tuple[str, int],
) -> None:
    url, pid = server
    size_bytes = SIZE_BYTES // 2

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Type: application/json\r\n\r\n{"name":"x"}\r\n--b\r\n\r\n'
        for _ in range(size_bytes // MIB):
            yield bytes(MIB)
        yield b"\r\n--b--\r\n"

    before_bytes = _peak_bytes(pid)
    answer = requests.post(
        f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart",
        data=body(),
        headers={"content-type": "multipart/related; boundary=b"},
        timeout=120,
    )
    assert answer.json()["size"] == str(size_bytes)
    assert _peak_bytes(pid) - before_bytes < 64 * MIB
