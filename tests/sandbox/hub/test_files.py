"""The Hub face, judged by the Hub's own client: commits, contents, trees, history, cards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)

from orchestrator.digests import git_blob_oid
from tests.sandbox.hub.stage import CARD, WEIGHTS, Stage, put


def safetensors_bytes() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<ff", 1.0, 2.0)


def test_files_come_back_as_they_were_sent(api: HfApi, tmp_path: Path) -> None:
    api.create_repo("one")
    files = {"a.json": b"{}", "deep/w.safetensors": WEIGHTS, "empty.txt": b"", "ü ß.txt": b"x"}
    oid = put(api, "alice/one", files)
    folder = api.snapshot_download("alice/one", cache_dir=tmp_path / "cache")
    assert Path(folder).name == oid
    for path, content in files.items():
        assert (Path(folder) / path).read_bytes() == content
        got = api.hf_hub_download("alice/one", path, cache_dir=tmp_path / "other", revision=oid)
        assert Path(got).read_bytes() == content


def test_datasets_have_addresses_of_their_own(api: HfApi, tmp_path: Path) -> None:
    api.create_repo("rows", repo_type="dataset")
    put(api, "alice/rows", {"train.jsonl": b"{}\n", "x.parquet": WEIGHTS}, repo_type="dataset")
    got = api.hf_hub_download("alice/rows", "x.parquet", repo_type="dataset", cache_dir=tmp_path)
    assert Path(got).read_bytes() == WEIGHTS
    assert api.dataset_info("alice/rows").id == "alice/rows"
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("alice/rows")


def test_weights_go_through_lfs_once_and_text_does_not(api: HfApi, stage: Stage) -> None:
    api.create_repo("one")
    put(api, "alice/one", {"a.safetensors": WEIGHTS, "a.json": b"{}", "image": b"\x89PNG\0\0"})
    info = api.model_info("alice/one", files_metadata=True)
    by_path = {one.rfilename: one for one in info.siblings or []}
    lfs = by_path["a.safetensors"].lfs
    assert lfs is not None
    assert lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert by_path["image"].lfs is not None
    assert by_path["a.json"].lfs is None
    uploads = sum(method == "PUT" for method, _ in stage.requests)
    put(api, "alice/one", {"copy.safetensors": WEIGHTS})
    assert sum(method == "PUT" for method, _ in stage.requests) == uploads == 2


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_ids_are_those_that_git_gives(api: HfApi, tmp_path: Path) -> None:
    api.create_repo("one")
    files = {"a.json": b"{}", "d/b.txt": b"b", "d.txt": b"c", "d/w.bin": WEIGHTS}
    oid = put(api, "alice/one", files)
    work = Path(api.snapshot_download("alice/one", local_dir=tmp_path / "work"))
    second, first = api.list_repo_commits("alice/one")
    lfs_oid = hashlib.sha256(WEIGHTS).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{lfs_oid}\nsize 10240\n"
    (work / "d/w.bin").write_text(pointer)

    def git(*words: str, at: datetime = first.created_at) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_DIR": str(tmp_path / "git")}
        for who in ("AUTHOR", "COMMITTER"):
            env[f"GIT_{who}_NAME"] = "alice"
            env[f"GIT_{who}_EMAIL"] = "alice@users.noreply.huggingface.co"
            env[f"GIT_{who}_DATE"] = f"{int(at.timestamp())} +0000"
        command = ["git", "--work-tree", str(work), *words]
        return subprocess.run(
            command, env=env, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init")
    (tmp_path / "git/info/attributes").write_text("* -text -filter\n")
    git("add", ".gitattributes")
    parent = git("commit-tree", git("write-tree"), "-m", first.title)
    assert parent == first.commit_id
    git("add", *files)
    tree = git("write-tree")
    assert git("commit-tree", tree, "-p", parent, "-m", "add files", at=second.created_at) == oid
    listed = {one.path: one for one in api.list_repo_tree("alice/one", recursive=True)}
    folder = listed["d"]
    assert isinstance(folder, huggingface_hub.hf_api.RepoFolder)
    assert git("rev-parse", f"{tree}:d") == folder.tree_id
    assert git_blob_oid(work / "a.json") == git("rev-parse", f"{tree}:a.json")


def test_unchanged_files_make_no_commit(api: HfApi) -> None:
    api.create_repo("one")
    files = {"a.safetensors": WEIGHTS, "a.json": b"{}"}
    oid = put(api, "alice/one", files)
    assert put(api, "alice/one", files) == oid
    assert len(api.list_repo_commits("alice/one")) == 2


def test_of_two_commits_on_one_parent_one_wins(api: HfApi) -> None:
    parent = api.model_info(api.create_repo("race").repo_id).sha
    start = threading.Barrier(2)

    def attempt(number: int) -> int:
        start.wait()
        try:
            put(api, "alice/race", {f"{number}.txt": b"mine"}, parent_commit=parent)
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == [200, 412]
    assert len(api.list_repo_commits("alice/race")) == 2


def test_a_commit_that_fails_leaves_nothing(api: HfApi) -> None:
    api.create_repo("one")
    head = put(api, "alice/one", {"a.txt": b"a"})
    add, delete = CommitOperationAdd("b.txt", b"b"), CommitOperationDelete("absent.txt")
    with pytest.raises(RemoteEntryNotFoundError):
        api.create_commit("alice/one", [add, delete], commit_message="half")
    assert api.model_info("alice/one").sha == head
    assert not api.file_exists("alice/one", "b.txt")


def test_files_and_folders_can_be_deleted(api: HfApi) -> None:
    api.create_repo("one")
    put(api, "alice/one", {"a.txt": b"a", "d/b.txt": b"b", "d/e/c.txt": b"c"})
    api.delete_file("a.txt", "alice/one")
    api.delete_folder("d", "alice/one")
    assert api.list_repo_files("alice/one") == [".gitattributes"]


def line(key: str, **value: object) -> bytes:
    return json.dumps({"key": key, "value": value}).encode() + b"\n"


HEADER = line("header", summary="s")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        line("file", path="a", content="x"),
        line("header", summary=""),
        HEADER + HEADER,
        HEADER + line("later"),
        HEADER + line("file", path="../up", content="x"),
        HEADER + line("file", path="a", content="%", encoding="base64"),
        HEADER + line("file", path="big", content="x" * (10 * 1024 * 1024 + 1)),
        HEADER + line("lfsFile", path="w", oid="0" * 64, size=1),
        HEADER + line("lfsFile", path="w", oid="../../up"),
        HEADER + line("file", path="README.md", content="---\nlicense: mine\n---\n"),
        HEADER + line("file", path="a", content="x") + line("file", path="a/b", content="x"),
    ],
    ids=range(13),
)
def test_a_commit_that_makes_no_sense_is_refused(api: HfApi, stage: Stage, body: bytes) -> None:
    head = api.model_info(api.create_repo("one").repo_id).sha
    reply = httpx2.post(
        f"{stage.url}/api/models/alice/one/commit/main",
        content=body,
        headers={"authorization": "Bearer hf_alice", "content-type": "application/x-ndjson"},
    )
    assert reply.status_code == 400
    assert reply.json()["error"]
    assert api.model_info("alice/one").sha == head


def test_safetensors_headers_are_read_from_the_first_bytes(api: HfApi) -> None:
    api.create_repo("one")
    put(api, "alice/one", {"adapter_model.safetensors": safetensors_bytes()})
    metadata = api.parse_safetensors_file_metadata("alice/one", "adapter_model.safetensors")
    assert metadata.tensors["w"].shape == [2]


def test_trees_are_listed_by_folder_in_pages_and_with_last_commits(
    stage: Stage, api: HfApi
) -> None:
    api.create_repo("one")
    first = put(api, "alice/one", {"a.txt": b"1", "d/w.bin": WEIGHTS, "d/e/x.txt": b"x"})
    second = put(api, "alice/one", {"d/e/x.txt": b"y"})
    top = {one.path: one for one in api.list_repo_tree("alice/one", expand=True)}
    assert set(top) == {".gitattributes", "a.txt", "d"}
    assert top["a.txt"].last_commit is not None
    assert top["a.txt"].last_commit.oid == first
    assert top["d"].last_commit is not None
    assert top["d"].last_commit.oid == second
    inner = [one.path for one in api.list_repo_tree("alice/one", "d/e")]
    assert inner == ["d/e/x.txt"]
    everything = {one.path for one in api.list_repo_tree("alice/one", recursive=True)}
    assert everything == {".gitattributes", "a.txt", "d", "d/e", "d/e/x.txt", "d/w.bin"}
    paged, address = [], f"{stage.url}/api/models/alice/one/tree/main?recursive=true&limit=2"
    while address:
        reply = httpx2.get(address)
        paged += [one["path"] for one in reply.json()]
        address = reply.links.get("next", {}).get("url", "")
    assert sorted(paged) == sorted(everything)
    assert len(paged) == len(everything)
    found = api.get_paths_info("alice/one", ["d/w.bin", "absent", "d"], expand=True)
    weights, folder = found
    assert isinstance(weights, huggingface_hub.hf_api.RepoFile)
    assert weights.lfs is not None
    assert weights.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert folder.path == "d"


def test_the_history_comes_in_pages(stage: Stage, api: HfApi) -> None:
    api.create_repo("one")
    ids = [put(api, "alice/one", {"a.txt": str(i).encode()}) for i in range(3)]
    api.create_commit(
        "alice/one",
        [CommitOperationAdd("a.txt", b"last")],
        commit_message="title",
        commit_description="a text with a marker",
    )
    history = api.list_repo_commits("alice/one", formatted=True)
    assert [one.commit_id for one in history[1:4]] == ids[::-1]
    assert (history[0].title, history[0].message) == ("title", "a text with a marker")
    seen, address = [], f"{stage.url}/api/models/alice/one/commits/main?limit=2"
    while address:
        reply = httpx2.get(address)
        assert reply.headers["x-total-count"] == "5"
        seen += [one["id"] for one in reply.json()]
        address = reply.links.get("next", {}).get("url", "")
    assert seen == [one.commit_id for one in history]


def test_a_card_is_parsed_and_shown(api: HfApi) -> None:
    api.create_repo("one")
    put(api, "alice/one", {"README.md": CARD.encode()})
    info = api.model_info("alice/one")
    assert info.card_data is not None
    assert info.card_data.base_model == "google/gemma-3-270m"
    assert info.tags is not None
    assert {"router", "license:apache-2.0", "base_model:google/gemma-3-270m"} <= set(info.tags)
    with pytest.raises(ValueError, match="license"):
        put(api, "alice/one", {"README.md": CARD.replace("apache-2.0", "mine").encode()})
    local_path = CARD.replace("google/gemma-3-270m", "/models/base")
    with pytest.raises(ValueError, match="/models/base"):
        put(api, "alice/one", {"README.md": local_path.encode()})
    with pytest.raises(ValueError, match="YAML"):
        put(api, "alice/one", {"README.md": b"---\na: [\n---\n"})
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        put(api, "alice/one", {"README.md": b"# No metadata\n"})
