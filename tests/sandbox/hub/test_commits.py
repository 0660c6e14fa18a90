"""What goes into the Hub face's commits: ignored files, LFS rules, copies, folders."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)

from tests.sandbox.hub.stage import WEIGHTS, Stage, put

ALICE = {"authorization": "Bearer hf_alice"}


@pytest.fixture
def api(one: HfApi) -> HfApi:
    return one


def preupload(stage: Stage, files: dict[str, bytes], **body: Any) -> httpx2.Response:
    announced = [
        {"path": path, "size": len(content), "sample": base64.b64encode(content[:512]).decode()}
        for path, content in files.items()
    ]
    return httpx2.post(
        f"{stage.url}/api/models/alice/one/preupload/main",
        json={"files": announced, **body},
        headers=ALICE,
    )


def modes(stage: Stage, files: dict[str, bytes], **body: Any) -> dict[str, str]:
    found = preupload(stage, files, **body).json()["files"]
    return {one["path"]: "ignored" if one["shouldIgnore"] else one["uploadMode"] for one in found}


def text_of(api: HfApi, folder: Path, path: str) -> str:
    """The text of a file, through a cache of its own."""
    return Path(api.hf_hub_download("alice/one", path, cache_dir=folder)).read_text()


def files_of(api: HfApi) -> set[str]:
    return set(api.list_repo_files("alice/one")) - {".gitattributes"}


def test_what_gitignore_names_is_not_committed(api: HfApi, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    (folder / "cache").mkdir(parents=True)
    for name in ("a.txt", "b.log", "keep.log", "w.bin", "cache/x.bin"):
        (folder / name).write_bytes(name.encode() + b"\0")
    (folder / ".gitignore").write_text("*.log\n!keep.log\ncache/\n")
    api.upload_folder(repo_id="alice/one", folder_path=folder)
    assert files_of(api) == {".gitignore", "a.txt", "keep.log", "w.bin"}
    # From now on the file in the repository counts.
    put(api, "alice/one", {"late.log": b"x", "cache/y.txt": b"y", "late.txt": b"z"})
    assert files_of(api) == {".gitignore", "a.txt", "keep.log", "late.txt", "w.bin"}


def test_rules_sent_with_the_question_come_before_those_in_the_repo(
    stage: Stage, api: HfApi
) -> None:
    put(api, "alice/one", {".gitignore": b"*.log\n"})
    files = {"a.log": b"a", "a.tmp": b"a", "w.bin": b"\1", "t.text": b"t"}
    assert modes(stage, files)["a.log"] == "ignored"
    assert modes(stage, files, gitIgnore="*.tmp\n", gitAttributes="*.text filter=lfs\n") == {
        "a.log": "regular",
        "a.tmp": "ignored",
        "w.bin": "regular",
        "t.text": "lfs",
    }


def test_the_way_of_a_file_follows_gitattributes_its_size_and_its_bytes(
    stage: Stage, api: HfApi
) -> None:
    large = b"x" * (10 * 1024 * 1024)
    files = {"w.safetensors": b"\1", "a.txt": b"text", "image": b"\x89PNG\0", "large.txt": large}
    assert modes(stage, files | {"empty.bin": b""}) == {
        "w.safetensors": "lfs",
        "a.txt": "regular",
        "image": "lfs",
        "large.txt": "lfs",
        "empty.bin": "regular",
    }
    put(api, "alice/one", {".gitattributes": b"*.txt filter=lfs\n*.safetensors -filter\n"})
    assert modes(stage, {"a.txt": b"text", "w.safetensors": b"text"}) == {
        "a.txt": "lfs",
        "w.safetensors": "regular",
    }


def test_files_that_are_there_come_with_their_ids(stage: Stage, api: HfApi) -> None:
    put(api, "alice/one", {"a.txt": b"hello", "w.bin": WEIGHTS})
    found = {
        one["path"]: one for one in preupload(stage, {"a.txt": b"x", "n": b"n"}).json()["files"]
    }
    assert found["a.txt"]["oid"] == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"
    assert "oid" not in found["n"]


@pytest.mark.parametrize(
    "files",
    [
        None,
        [{"path": "a"}],
        [{"path": "../up", "size": 1, "sample": ""}],
        [{"path": "a", "size": -1, "sample": ""}],
        [{"path": "a", "size": 1, "sample": "%"}],
        [1],
        [{"path": f"{number}", "size": 1, "sample": ""} for number in range(1001)],
    ],
    ids=range(7),
)
def test_a_question_that_makes_no_sense_is_refused(stage: Stage, api: HfApi, files: Any) -> None:
    reply = httpx2.post(
        f"{stage.url}/api/models/alice/one/preupload/main", json={"files": files}, headers=ALICE
    )
    assert reply.status_code in (400, 422)
    assert reply.json()["error"]


def test_gitattributes_names_every_lfs_file(api: HfApi, tmp_path: Path) -> None:
    put(api, "alice/one", {"image": b"\x89PNG\0", "my file [1]": b"\0", "w.bin": b"\0"})
    text = text_of(api, tmp_path, ".gitattributes")
    assert "image filter=lfs diff=lfs merge=lfs -text\n" in text
    assert "my[[:space:]]file[[:space:]]\\[1\\] filter=lfs" in text
    assert "w.bin" not in text
    # A second commit has nothing to add.
    put(api, "alice/one", {"image": b"\x89PNG\0\1"})
    assert text_of(api, tmp_path, ".gitattributes") == text


def test_files_of_both_kinds_are_copied(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    put(api, "alice/one", {"w.bin": WEIGHTS, "a.txt": b"first"})
    api.create_tag("alice/one", tag="v1")
    put(api, "alice/one", {"a.txt": b"second"})
    sent = len([path for method, path in stage.requests if method == "PUT"])
    api.create_commit(
        "alice/one",
        [
            CommitOperationCopy("w.bin", "copies/w.bin"),
            CommitOperationCopy("a.txt", "copies/new.txt"),
            CommitOperationCopy("a.txt", "copies/old.txt", src_revision="v1"),
        ],
        commit_message="copy",
    )
    assert len([path for method, path in stage.requests if method == "PUT"]) == sent
    folder = Path(api.snapshot_download("alice/one", cache_dir=tmp_path))
    assert (folder / "copies/w.bin").read_bytes() == WEIGHTS
    assert (folder / "copies/new.txt").read_bytes() == b"second"
    assert (folder / "copies/old.txt").read_bytes() == b"first"


def test_a_regular_file_is_copied_from_another_repo(api: HfApi, tmp_path: Path) -> None:
    api.create_repo("two", private=True)
    put(api, "alice/two", {"a.txt": b"from two"})
    copy = CommitOperationCopy("a.txt", "b.txt", src_repo_id="alice/two", src_repo_type="model")
    api.create_commit("alice/one", [copy], commit_message="copy")
    assert text_of(api, tmp_path, "b.txt") == "from two"


def test_a_folder_is_replaced_in_one_commit(api: HfApi) -> None:
    put(api, "alice/one", {"d/a.txt": b"a", "d/e/b.txt": b"b", "dd.txt": b"c"})
    api.create_commit(
        "alice/one",
        [CommitOperationDelete("d/", is_folder=True), CommitOperationAdd("d/new.txt", b"new")],
        commit_message="replace",
    )
    assert files_of(api) == {"d/new.txt", "dd.txt"}
