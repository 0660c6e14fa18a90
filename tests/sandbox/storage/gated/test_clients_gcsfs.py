"""The storage face, judged by gcsfs, with the token in the address."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.storage.gated.stage import BUCKET, GatedStorage

gcsfs = pytest.importorskip("gcsfs")
# The class that `GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false` chooses: the other one asks Google's
# gRPC service for the kind of every bucket, whatever its endpoint is.
core = pytest.importorskip("gcsfs.core")


def filesystem(address: str, **options: Any) -> Any:
    return core.GCSFileSystem(
        project="sandbox",
        token="anon",
        endpoint_url=address,
        skip_instance_cache=True,
        use_listings_cache=False,
        **options,
    )


@pytest.fixture
def fs(face: GatedStorage) -> Any:
    return filesystem(face.address)


def test_a_file_is_written_in_blocks_and_read_back(fs: Any, face: GatedStorage) -> None:
    content = os.urandom((5 << 20) + 1000)
    with fs.open(f"{BUCKET}/big", "wb", block_size=1 << 20) as file:
        for start in range(0, len(content), 300_000):
            file.write(content[start : start + 300_000])
    assert fs.size(f"{BUCKET}/big") == len(content)
    with fs.open(f"{BUCKET}/big", "rb", block_size=1 << 20) as file:
        file.seek(2 << 20)
        assert file.read(10) == content[2 << 20 :][:10]
        file.seek(0)
        assert file.read() == content


def test_a_small_file_is_written_in_one_request(fs: Any, face: GatedStorage) -> None:
    # The line ends of gcsfs' multipart bodies are LF; what looks like one in the content stays.
    content = b"\n--==0==\r\n\r\nrow\r\n"
    fs.pipe_file(
        f"{BUCKET}/small", content, content_type="application/jsonl", fixed_key_metadata={}
    )
    assert fs.cat_file(f"{BUCKET}/small") == content
    assert face.disk.need(BUCKET, "small").content_type == "application/jsonl"


def test_text_is_appended_line_by_line(fs: Any) -> None:
    with fs.open(f"{BUCKET}/lines", "w", newline="") as file:
        file.writelines(f"{number}\r\n" for number in range(3))
    with fs.open(f"{BUCKET}/lines", "r", newline="") as file:
        assert list(file) == ["0\r\n", "1\r\n", "2\r\n"]


def test_a_write_that_may_not_replace_does_not(fs: Any) -> None:
    fs.pipe_file(f"{BUCKET}/x", b"first", mode="create")
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{BUCKET}/x", b"second", mode="create")
    assert fs.cat_file(f"{BUCKET}/x") == b"first"


def test_ranges_of_many_files_are_exact(fs: Any) -> None:
    content = os.urandom(5000)
    fs.pipe({f"{BUCKET}/a": content, f"{BUCKET}/b": content[::-1]})
    assert fs.cat_file(f"{BUCKET}/a", start=10, end=20) == content[10:20]
    assert fs.cat_file(f"{BUCKET}/a", start=-7) == content[-7:]
    ranges = fs.cat_ranges([f"{BUCKET}/a", f"{BUCKET}/b"], [0, 4990], [3, 5000])
    assert ranges == [content[:3], content[::-1][4990:]]


def test_folders_are_listed_found_and_matched(fs: Any) -> None:
    for name in ("top", "d/1", "d/2", "d/e/3"):
        fs.pipe_file(f"{BUCKET}/{name}", name.encode())
    assert sorted(fs.ls(BUCKET)) == [f"{BUCKET}/d", f"{BUCKET}/top"]
    assert sorted(fs.ls(f"{BUCKET}/d")) == [f"{BUCKET}/d/1", f"{BUCKET}/d/2", f"{BUCKET}/d/e"]
    assert fs.find(f"{BUCKET}/d") == [f"{BUCKET}/d/1", f"{BUCKET}/d/2", f"{BUCKET}/d/e/3"]
    assert fs.glob(f"{BUCKET}/d/*") == [f"{BUCKET}/d/1", f"{BUCKET}/d/2", f"{BUCKET}/d/e"]
    assert fs.glob(f"{BUCKET}/**/3") == [f"{BUCKET}/d/e/3"]
    assert fs.isdir(f"{BUCKET}/d")
    assert fs.isfile(f"{BUCKET}/d/1")
    assert fs.du(f"{BUCKET}/d") == sum(map(len, ("d/1", "d/2", "d/e/3")))
    assert [name for _, _, names in fs.walk(BUCKET) for name in names] == ["top", "1", "2", "3"]


def test_more_files_than_a_page_are_found(fs: Any, face: GatedStorage) -> None:
    for number in range(1005):
        face.disk.insert(BUCKET, f"many/{number:04}", b"")
    assert len(fs.find(f"{BUCKET}/many")) == 1005


def test_files_are_copied_moved_and_removed(fs: Any) -> None:
    fs.pipe_file(f"{BUCKET}/d/1", b"1")
    fs.pipe_file(f"{BUCKET}/d/2", b"2")
    fs.cp(f"{BUCKET}/d/1", f"{BUCKET}/copy")
    fs.mv(f"{BUCKET}/d", f"{BUCKET}/moved", recursive=True)
    assert fs.find(BUCKET) == [f"{BUCKET}/copy", f"{BUCKET}/moved/1", f"{BUCKET}/moved/2"]
    assert fs.cat_file(f"{BUCKET}/moved/2") == b"2"
    fs.rm(f"{BUCKET}/moved", recursive=True)
    fs.rm_file(f"{BUCKET}/copy")
    assert fs.find(BUCKET) == []
    with pytest.raises(FileNotFoundError):
        fs.cat_file(f"{BUCKET}/copy")


def test_parts_are_merged(fs: Any) -> None:
    fs.pipe({f"{BUCKET}/1": b"one ", f"{BUCKET}/2": b"two"})
    fs.merge(f"{BUCKET}/both", [f"{BUCKET}/1", f"{BUCKET}/2"])
    assert fs.cat_file(f"{BUCKET}/both") == b"one two"


def test_whole_folders_go_up_and_down(fs: Any, tmp_path: Path) -> None:
    (tmp_path / "up" / "deep").mkdir(parents=True)
    (tmp_path / "up" / "a").write_bytes(b"a")
    (tmp_path / "up" / "deep" / "b").write_bytes(b"b" * 1000)
    fs.put(f"{tmp_path}/up", f"{BUCKET}/folder", recursive=True)
    fs.get(f"{BUCKET}/folder", f"{tmp_path}/down", recursive=True)
    assert (tmp_path / "down" / "a").read_bytes() == b"a"
    assert (tmp_path / "down" / "deep" / "b").read_bytes() == b"b" * 1000


def test_metadata_is_set_and_taken_away(fs: Any) -> None:
    fs.pipe_file(f"{BUCKET}/x", b"1")
    fs.setxattrs(f"{BUCKET}/x", content_type="text/plain", run="r-1", step="7")
    fs.setxattrs(f"{BUCKET}/x", step=None)
    assert fs.info(f"{BUCKET}/x")["contentType"] == "text/plain"
    assert fs.getxattr(f"{BUCKET}/x", "run") == "r-1"
    assert fs.info(f"{BUCKET}/x")["metadata"] == {"run": "r-1"}


def test_old_generations_of_a_versioned_bucket_can_be_read(face: GatedStorage) -> None:
    fs = filesystem(face.address, version_aware=True)
    fs.mkdir("versioned", enable_versioning=True)
    fs.pipe_file("versioned/x", b"first")
    first = fs.info("versioned/x")["generation"]
    fs.pipe_file("versioned/x", b"second")
    second = fs.info("versioned/x")["generation"]
    assert fs.cat_file("versioned/x") == b"second"
    assert fs.cat_file(f"versioned/x#{first}") == b"first"
    listed = fs.ls("versioned", versions=True)
    assert listed == [f"versioned/x#{first}", f"versioned/x#{second}"]
    fs.rm_file(f"versioned/x#{first}")
    assert fs.ls("versioned", versions=True) == [f"versioned/x#{second}"]


def test_a_bucket_is_made_and_removed(fs: Any) -> None:
    fs.mkdir("another-bucket")
    assert "another-bucket" in [name.rstrip("/") for name in fs.ls("")]
    fs.pipe_file("another-bucket/x", b"1")
    fs.rm("another-bucket", recursive=True)
    assert not fs.exists("another-bucket")


@pytest.mark.parametrize("name", ["ünïcode/日本語 🚲", "with space&more%2F%+", "a'b\"c", "~a<&>"])
def test_an_odd_name_is_a_name_like_any_other(fs: Any, face: GatedStorage, name: str) -> None:
    fs.pipe_file(f"{BUCKET}/{name}", name.encode())
    assert [version.name for version in face.disk.list(BUCKET)] == [name]
    assert fs.find(BUCKET) == [f"{BUCKET}/{name}"]
    assert fs.cat_file(f"{BUCKET}/{name}") == name.encode()
    fs.rm_file(f"{BUCKET}/{name}")
    assert face.disk.list(BUCKET) == []


def test_the_emulator_variable_leads_here_too(
    face: GatedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", face.address)
    fs = core.GCSFileSystem(token="anon", skip_instance_cache=True)
    fs.pipe_file(f"{BUCKET}/x", b"1")
    assert fs.cat_file(f"{BUCKET}/x") == b"1"


def test_without_the_token_nothing_is_served(face: GatedStorage) -> None:
    with pytest.raises(gcsfs.retry.HttpError) as refusal:
        filesystem(face.url).pipe_file(f"{BUCKET}/x", b"1")
    assert refusal.value.code == 401
    assert face.disk.list(BUCKET) == []
