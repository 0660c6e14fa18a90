"""Rows from Cloud Storage, through Google's client, against the sandbox's storage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator.fetched_files
import orchestrator.fetching
from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.data_addresses import BucketAddress, RemoteRows
from orchestrator.data_rules import resolve_files
from orchestrator.data_sources import resolve_source
from orchestrator.errors import Corrupt, InputError, NotFound, RefusalKind, Refused, RemoteError
from orchestrator.fetching import Fetcher
from orchestrator.settings import Settings
from tests.fetching_bench import ROWS, fetcher_for, settings_for, spec_with
from tests.sandbox.storage.stage import BUCKET, FaceServer, StorageFace, fault, retry_at_once


@pytest.fixture(scope="module")
def server() -> Iterator[FaceServer]:
    with FaceServer() as server:
        yield server


@pytest.fixture
def face(server: FaceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageFace:
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    retry_at_once(monkeypatch)
    face = server.face(tmp_path / "disk")
    for name in ("rows/b.jsonl", "rows/a.jsonl", "rows/deep/c.jsonl", "rows/readme.txt"):
        face.disk.insert(BUCKET, name, name.encode() + ROWS)
    return face


@pytest.fixture
def settings(face: StorageFace, tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home", storage_endpoint=face.url)


@pytest.fixture
def fetcher(settings: Settings) -> Fetcher:
    return fetcher_for(settings)


def one(fetcher: Fetcher, name: str, generation: int | None = None) -> RemoteRows:
    (found,) = fetcher.find(BucketAddress(BUCKET, name, generation))
    return found


def test_an_object_comes_whole_and_only_once(fetcher: Fetcher, face: StorageFace) -> None:
    file = fetcher.bring(one(fetcher, "rows/a.jsonl"))
    assert file.read_bytes() == b"rows/a.jsonl" + ROWS
    assert file.name == "a.jsonl"
    downloads = face.count("GET", "alt=media")
    assert fetcher.bring(one(fetcher, "rows/a.jsonl")) == file
    assert face.count("GET", "alt=media") == downloads == 1


def test_a_new_generation_is_fetched_and_the_old_one_stays_under_its_number(
    fetcher: Fetcher, face: StorageFace
) -> None:
    old = one(fetcher, "rows/a.jsonl")
    pinned = one(fetcher, "rows/a.jsonl", int(old.version))
    first = fetcher.bring(old)
    face.disk.insert(BUCKET, "rows/a.jsonl", b"new")
    new = one(fetcher, "rows/a.jsonl")
    assert new.identity != old.identity
    assert fetcher.bring(new).read_bytes() == b"new"
    assert one(fetcher, "rows/a.jsonl", int(old.version)) == pinned
    assert fetcher.bring(pinned) == first
    with pytest.raises(NotFound, match="is now in generation"):
        one(fetcher, "rows/b.jsonl", 1)


def test_a_pattern_means_its_objects_in_order(
    fetcher: Fetcher, face: StorageFace, tmp_path: Path
) -> None:
    source = resolve_source(
        spec_with(tmp_path, f"  path: gs://{BUCKET}/rows/*.jsonl"), fetch=fetcher
    )
    assert [part.name for part in source.parts] == [
        f"gs://{BUCKET}/rows/a.jsonl",
        f"gs://{BUCKET}/rows/b.jsonl",
    ]
    next(source.iter_files())
    assert face.count("GET", "alt=media") == 1
    nothing = spec_with(tmp_path, f"  path: gs://{BUCKET}/rows/*.csv")
    with pytest.raises(InputError, match="nothing there") as caught:
        resolve_source(nothing, fetch=fetcher)
    assert caught.value.where is not None


def test_a_file_on_the_command_line_may_be_an_object(
    fetcher: Fetcher, face: StorageFace, tmp_path: Path
) -> None:
    loaded = spec_with(tmp_path, "  path: own.jsonl")
    (found,) = resolve_files(loaded, f"gs://{BUCKET}/rows/a.jsonl", fetch=fetcher)
    assert found.name == f"gs://{BUCKET}/rows/a.jsonl"
    assert found.path.read_bytes().endswith(ROWS)


@pytest.mark.parametrize("bucket", [BUCKET, "no-such-bucket"])
def test_what_is_not_there_is_named(fetcher: Fetcher, bucket: str) -> None:
    with pytest.raises(NotFound, match=f"gs://{bucket}/absent"):
        fetcher.find(BucketAddress(bucket, "absent.jsonl"))


def test_bytes_that_changed_on_the_way_are_fetched_once_more(
    fetcher: Fetcher, face: StorageFace, settings: Settings
) -> None:
    rows = one(fetcher, "rows/a.jsonl")
    face.faults.add(fault("GET", "alt=media", effect="corrupt", keep_bytes=3))
    assert fetcher.bring(rows).read_bytes() == b"rows/a.jsonl" + ROWS
    other = one(fetcher, "rows/b.jsonl")
    face.faults.add(fault("GET", "alt=media", effect="corrupt", keep_bytes=3, times=9))
    with pytest.raises(Corrupt):
        fetcher.bring(other)
    assert fetcher._cache.get(other) is None
    assert list(settings.cache_dir.rglob("*.part")) == []


def test_a_connection_that_ends_early_ends_in_a_whole_file(
    fetcher: Fetcher, face: StorageFace
) -> None:
    rows = one(fetcher, "rows/a.jsonl")
    face.faults.add(fault("GET", "alt=media", effect="cut", keep_bytes=5))
    face.faults.add(fault("GET", "alt=media"))
    assert fetcher.bring(rows).read_bytes() == b"rows/a.jsonl" + ROWS


def test_offline_takes_the_last_generation_that_was_fetched(
    fetcher: Fetcher, face: StorageFace, settings: Settings
) -> None:
    fetcher.bring(one(fetcher, "rows/a.jsonl"))
    face.disk.insert(BUCKET, "rows/a.jsonl", b"new")
    asked = len(face.requests)
    offline = fetcher_for(settings, offline=True)
    assert offline.bring(one(offline, "rows/a.jsonl")).read_bytes() == b"rows/a.jsonl" + ROWS
    with pytest.raises(InputError, match=r"offline.*b\.jsonl"):
        one(offline, "rows/b.jsonl")
    assert len(face.requests) == asked


def test_without_credentials_it_is_said_how_to_sign_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator.fetching, "answers_within", lambda *_: True)
    with pytest.raises(Refused, match="credentials") as caught:
        one(fetcher_for(settings_for(tmp_path)), "rows/a.jsonl")
    assert caught.value.kind is RefusalKind.CREDENTIALS
    assert "gcloud auth application-default login" in caught.value.hint


def test_a_disk_without_room_is_noticed_before_a_download(
    fetcher: Fetcher, face: StorageFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = one(fetcher, "rows/a.jsonl")
    usage = shutil.disk_usage
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage(path)._replace(free=rows.size_bytes - 1)
    )
    with pytest.raises(InputError, match="bytes free"):
        fetcher.bring(rows)
    assert face.count("GET", "alt=media") == 0


def test_what_killed_processes_left_goes_with_the_next_download(
    fetcher: Fetcher, settings: Settings
) -> None:
    rows = one(fetcher, "rows/a.jsonl")
    folder = fetcher.bring(rows).parent
    for name, age_s in ((".old.part", 86_400), (".new.part", 60)):
        (folder / name).touch()
        when = SYSTEM_CLOCK.now().timestamp() - age_s
        os.utime(folder / name, (when, when))
    (folder / "a.jsonl").unlink()
    fetcher.bring(rows)
    assert [part.name for part in settings.cache_dir.rglob("*.part")] == [".new.part"]


def test_what_was_fetched_is_used_from_a_cache_that_cannot_be_written(
    fetcher: Fetcher, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fetcher.bring(one(fetcher, "rows/a.jsonl"))
    os.utime(file, (1, 1))

    def refuse(*_: object) -> None:
        raise InputError("read-only")

    monkeypatch.setattr(orchestrator.fetched_files, "write_whole", refuse)
    assert fetcher.bring(one(fetcher, "rows/a.jsonl")) == file


def test_an_address_where_nobody_answers_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry_at_once(monkeypatch)
    fetcher = fetcher_for(settings_for(tmp_path, storage_endpoint="http://127.0.0.1:9"))
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1"):
        one(fetcher, "rows/a.jsonl")
