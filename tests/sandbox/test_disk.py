"""The object store below the faces."""

from __future__ import annotations

import base64
import re
import threading
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.sandbox.objects.disk import (
    BucketMissing,
    ObjectDisk,
    ObjectMissing,
    PreconditionFailed,
    Preconditions,
    StoredVersion,
)

BUCKET = "b-one"
ODD_NAMES = [
    "a//b",
    "../up",
    "../../../../../../tmp/up",
    "/etc/passwd",
    "dir/",
    "conf",
    "conf/inner",
    "ünïcode/日本語 🚲",
    "with space?and#more&%2F%",
    "C:\\windows",
    "a" * 1024,
    "~",
    "a/../b",
    "bucket.json",
]


class SteppingClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 11, 21, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def elapsed_s(self) -> float:
        return self.instant.timestamp()

    def sleep(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


@pytest.fixture
def disk(tmp_path: Path) -> ObjectDisk:
    disk = ObjectDisk(tmp_path / "disk")
    disk.create_bucket(BUCKET)
    return disk


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_checksums_are_those_of_the_published_test_vector(disk: ObjectDisk) -> None:
    version = disk.insert(BUCKET, "nine", b"123456789")
    # The check value by which catalogues of checksums identify CRC-32C.
    assert base64.b64decode(version.crc32c).hex() == "e3069283"
    assert base64.b64decode(version.md5).hex() == "25f9e794323b453885f5181f1b624d0b"
    assert version.size_bytes == 9


def test_bytes_and_files_come_back_after_a_restart(disk: ObjectDisk, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"{}\n" * 1000)
    from_file = disk.insert(BUCKET, "rows", file, content_type="text/x", metadata={"k": "v"})
    disk.insert(BUCKET, "bytes", b"")
    again = ObjectDisk(disk.root)
    assert again.buckets() == [BUCKET]
    assert again.get(BUCKET, "rows") == from_file
    assert again.list(BUCKET) == disk.list(BUCKET)
    assert from_file.path.read_bytes() == file.read_bytes()
    assert again.bucket_created(BUCKET) == disk.bucket_created(BUCKET)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_never_becomes_a_path(disk: ObjectDisk, tmp_path: Path, name: str) -> None:
    version = disk.insert(BUCKET, name, b"odd")
    assert [v.name for v in ObjectDisk(disk.root).list(BUCKET)] == [name]
    assert _files(tmp_path) == _files(disk.root)
    for file in _files(disk.root):
        assert re.fullmatch(r"(bucket|[0-9a-f]{64})\.json|[0-9a-f]{64}\.\d+\.bin", file.name)
    assert version.path.read_bytes() == b"odd"


def test_odd_names_live_side_by_side_in_order(disk: ObjectDisk) -> None:
    for name in ODD_NAMES:
        disk.insert(BUCKET, name, name.encode())
    assert [v.name for v in disk.list(BUCKET)] == sorted(ODD_NAMES)
    assert [v.name for v in disk.list(BUCKET, "conf")] == ["conf", "conf/inner"]
    assert all(v.path.read_bytes() == v.name.encode() for v in disk.list(BUCKET))


def test_replacing_makes_a_new_generation_and_keeps_one_content(disk: ObjectDisk) -> None:
    first = disk.insert(BUCKET, "x", b"one")
    second = disk.insert(BUCKET, "x", b"two")
    assert second.generation > first.generation
    assert disk.get(BUCKET, "x", first.generation) is None
    assert disk.get(BUCKET, "x", second.generation) == second
    assert not first.path.exists()


def test_generations_grow_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    clock = SteppingClock()
    disk = ObjectDisk(tmp_path, clock)
    disk.create_bucket(BUCKET)
    first = disk.insert(BUCKET, "x", b"1")
    clock.instant -= timedelta(days=1)
    assert disk.insert(BUCKET, "x", b"2").generation == first.generation + 1
    assert ObjectDisk(tmp_path, clock).insert(BUCKET, "y", b"3").generation > first.generation + 1


def test_one_of_many_racing_writers_creates_the_object(disk: ObjectDisk) -> None:
    start = threading.Barrier(8)
    won: list[bytes] = []

    def write(content: bytes) -> None:
        start.wait()
        try:
            disk.insert(BUCKET, "race", content, if_generation_match=0)
        except PreconditionFailed:
            return
        won.append(content)

    threads = [threading.Thread(target=write, args=(bytes([n]) * 50_000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    version = disk.get(BUCKET, "race")
    assert version is not None
    assert version.path.read_bytes() == won[0]


def test_a_failed_precondition_leaves_the_store_as_it_was(disk: ObjectDisk) -> None:
    version = disk.insert(BUCKET, "x", b"one")
    before = _files(disk.root)
    with pytest.raises(PreconditionFailed):
        disk.insert(BUCKET, "x", b"two", if_generation_match=version.generation + 1)
    with pytest.raises(PreconditionFailed):
        disk.delete(BUCKET, "x", if_generation_match=version.generation + 1)
    assert _files(disk.root) == before
    assert disk.get(BUCKET, "x") == version


@pytest.mark.parametrize(
    ("conditions", "there", "absent"),
    [
        (Preconditions(), True, True),
        (Preconditions(generation_match=0), False, True),
        (Preconditions(generation_match=7), True, False),
        (Preconditions(generation_match=8), False, False),
        (Preconditions(generation_not_match=0), True, False),
        (Preconditions(generation_not_match=7), False, True),
        (Preconditions(metageneration_match=2), True, False),
        (Preconditions(metageneration_match=1), False, False),
        (Preconditions(metageneration_not_match=2), False, True),
        (Preconditions(generation_match=7, metageneration_match=1), False, False),
    ],
)
def test_preconditions_hold_of_an_object_and_of_none(
    disk: ObjectDisk, conditions: Preconditions, there: bool, absent: bool
) -> None:
    version = replace(disk.insert(BUCKET, "x", b""), generation=7, metageneration=2)
    assert _holds(conditions, version) is there
    assert _holds(conditions, None) is absent


def _holds(conditions: Preconditions, version: StoredVersion | None) -> bool:
    try:
        conditions.check(version)
    except PreconditionFailed:
        return False
    return True


def test_an_update_changes_the_metageneration_alone(disk: ObjectDisk) -> None:
    version = disk.insert(BUCKET, "x", b"one")
    changed = disk.update(BUCKET, "x", lambda old: replace(old, metadata={"a": "b"}))
    assert (changed.generation, changed.metageneration) == (version.generation, 2)
    assert changed.path.read_bytes() == b"one"
    assert ObjectDisk(disk.root).get(BUCKET, "x") == changed


def test_a_deleted_object_is_gone_after_a_restart_too(disk: ObjectDisk) -> None:
    disk.insert(BUCKET, "x", b"one")
    disk.delete(BUCKET, "x")
    assert disk.get(BUCKET, "x") is None
    assert ObjectDisk(disk.root).list(BUCKET) == []
    with pytest.raises(ObjectMissing):
        disk.delete(BUCKET, "x")


def test_what_a_crash_left_is_removed_at_the_next_start(disk: ObjectDisk) -> None:
    version = disk.insert(BUCKET, "x", b"one")
    before = _files(disk.root)
    orphan = version.path.with_name(version.path.name.replace(str(version.generation), "9" * 16))
    orphan.write_bytes(b"content that was never recorded")
    (disk.root / "drafts" / "abc").write_bytes(b"half an upload")
    version.path.with_name("x.json.1.new").write_bytes(b"half a record")
    assert ObjectDisk(disk.root).get(BUCKET, "x") == version
    assert _files(disk.root) == before


def test_content_that_is_open_stays_readable_when_it_is_replaced(disk: ObjectDisk) -> None:
    disk.insert(BUCKET, "x", b"one")
    _, file = disk.open(BUCKET, "x")
    with file:
        disk.insert(BUCKET, "x", b"two")
        assert file.read() == b"one"


def test_a_missing_bucket_is_not_an_empty_one(disk: ObjectDisk) -> None:
    with pytest.raises(BucketMissing):
        disk.insert("b-two", "x", b"")
    with pytest.raises(BucketMissing):
        disk.list("b-two")
    assert disk.get("b-two", "x") is None
    assert _files(disk.root / "drafts") == []


def test_buckets_are_made_once_and_removed_when_empty(disk: ObjectDisk) -> None:
    assert disk.create_bucket("b-two")
    assert not disk.create_bucket("b-two")
    disk.insert("b-two", "x", b"")
    assert not disk.delete_bucket("b-two")
    disk.delete("b-two", "x")
    assert disk.delete_bucket("b-two")
    assert ObjectDisk(disk.root).buckets() == [BUCKET]


def test_a_large_file_is_stored_in_little_memory(disk: ObjectDisk, tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as stream:
        stream.truncate(64 << 20)
    tracemalloc.start()
    try:
        disk.insert(BUCKET, "large", file)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20
