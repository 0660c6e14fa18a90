"""Files of repos on the Hub as objects: listed at one commit, fetched as they were found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import Corrupt, InputError, NotFound
from orchestrator.stores.base import StoredObject
from orchestrator.stores.hub_objects import HubObjects, HubUri
from tests.services.vertex_bench import TestClock
from tests.stores.hub_stage import WEIGHTS, HubStage, hub_stage

REPO = "alice/router-candidates"
ROOT = f"hf://models/{REPO}@run-1"
FILES = {
    "attempt-1/final/adapter_model.safetensors": WEIGHTS,
    "attempt-1/final/adapter_config.json": b'{"r": 16}',
    "attempt-1/metrics.jsonl": b'{"step": 1}\n{"step": 2}\n',
    "attempt-10/metrics.jsonl": b"",
}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[HubStage]:
    with hub_stage(tmp_path) as opened:
        opened.put(REPO, FILES, revision="run-1")
        yield opened


@pytest.fixture
def store(stage: HubStage) -> HubObjects:
    return HubObjects(stage.url, "hf_alice", clock=TestClock())


def stat(store: HubObjects, uri: str) -> StoredObject:
    stored = store.stat(uri)
    assert stored is not None
    return stored


def test_all_files_below_a_prefix_are_listed_by_the_names_that_were_asked_for(
    store: HubObjects,
) -> None:
    found = store.list(f"{ROOT}/attempt-1/")
    assert {one.uri: one.size_bytes for one in found} == {
        f"{ROOT}/attempt-1/final/adapter_config.json": 9,
        f"{ROOT}/attempt-1/final/adapter_model.safetensors": len(WEIGHTS),
        f"{ROOT}/attempt-1/metrics.jsonl": 24,
    }
    assert [one.uri for one in found] == sorted(one.uri for one in found)


def test_a_prefix_may_end_in_the_middle_of_a_name(store: HubObjects) -> None:
    assert len(store.list(f"{ROOT}/attempt-1")) == 4
    assert len(store.list(f"{ROOT}/attempt-10")) == 1
    assert len(store.list(f"{ROOT}/attempt-1/final/adapter_m")) == 1
    assert [one.uri for one in store.list(ROOT)] == [one.uri for one in store.list(f"{ROOT}/")]


def test_data_sets_and_main_are_read_too(stage: HubStage, store: HubObjects) -> None:
    stage.put("alice/rows", {"staged/a.jsonl": b"{}\n"}, kind="dataset")
    (stored,) = store.list("hf://datasets/alice/rows/staged/")
    assert stored.uri == "hf://datasets/alice/rows/staged/a.jsonl"
    assert store.read(stored.uri, max_bytes=10) == b"{}\n"


def test_where_nothing_is_nothing_is_found(store: HubObjects) -> None:
    for uri in (f"hf://models/{REPO}@run-2/a", "hf://models/alice/none/a", f"{ROOT}/none/a"):
        assert store.list(uri) == []
        assert store.stat(uri) is None
        with pytest.raises(NotFound):
            store.read(uri, max_bytes=10)
    assert store.stat(f"{ROOT}/attempt-1/final") is None, "a folder is no file"
    assert store.stat(ROOT) is None


def test_files_are_fetched_checked_and_counted(store: HubObjects, tmp_path: Path) -> None:
    for number, stored in enumerate(store.list(f"{ROOT}/")):
        moved: list[int] = []
        file = tmp_path / str(number)
        store.get(stored, file, moved.append)
        path = stored.uri.removeprefix(f"{ROOT}/")
        if path in FILES:
            assert file.read_bytes() == FILES[path]
            assert sum(moved) == stored.size_bytes


def test_what_was_listed_is_fetched_even_if_the_branch_has_moved_on(
    stage: HubStage, store: HubObjects, tmp_path: Path
) -> None:
    listed = {one.uri: one for one in store.list(f"{ROOT}/")}
    metrics = listed[f"{ROOT}/attempt-1/metrics.jsonl"]
    stage.put(
        REPO,
        {"attempt-1/metrics.jsonl": b"other\n"},
        revision="run-1",
        delete=("attempt-1/final/adapter_config.json",),
    )
    store.get(metrics, tmp_path / "metrics")
    store.get(listed[f"{ROOT}/attempt-1/final/adapter_config.json"], tmp_path / "config")

    assert (tmp_path / "metrics").read_bytes() == FILES["attempt-1/metrics.jsonl"]
    assert (tmp_path / "config").read_bytes() == FILES["attempt-1/final/adapter_config.json"]
    assert store.read_range(metrics, 0, 5) == FILES["attempt-1/metrics.jsonl"][:5]
    assert store.read(metrics.uri, max_bytes=100) == b"other\n"


def test_a_list_is_of_one_commit_even_if_the_branch_moves_meanwhile(
    stage: HubStage, store: HubObjects
) -> None:
    stage.before[("GET", "/tree/")] = lambda: stage.put(
        REPO, {"attempt-1/late.json": b"1"}, revision="run-1"
    )
    assert f"{ROOT}/attempt-1/late.json" not in {one.uri for one in store.list(ROOT)}
    assert f"{ROOT}/attempt-1/late.json" in {one.uri for one in store.list(ROOT)}


def test_a_place_is_pinned_to_its_commit(stage: HubStage, store: HubObjects) -> None:
    pinned = store.pin(f"{ROOT}/attempt-1")
    commit = stage.api.model_info(REPO, revision="run-1").sha
    assert pinned == f"hf://models/{REPO}@{commit}/attempt-1"
    assert store.pin(pinned) == pinned
    stage.put(REPO, {"attempt-1/late.json": b"1"}, revision="run-1")
    assert len(store.list(f"{pinned}/")) == 3
    assert store.pin(f"{ROOT}/attempt-1") != pinned
    absent = f"hf://models/{REPO}@run-2/attempt-1"
    assert store.pin(absent) == absent


def test_the_number_of_a_file_changes_with_its_content_alone(
    stage: HubStage, store: HubObjects
) -> None:
    uri = f"{ROOT}/attempt-1/metrics.jsonl"
    before = stat(store, uri)
    stage.put(REPO, {"attempt-1/late.json": b"1"}, revision="run-1")
    assert stat(store, uri) == before
    stage.put(REPO, {"attempt-1/metrics.jsonl": b"other\n"}, revision="run-1")
    assert stat(store, uri).generation != before.generation


def test_an_object_that_was_put_down_is_found_again_while_it_is_the_same(
    stage: HubStage, store: HubObjects, tmp_path: Path
) -> None:
    found = stat(store, f"{ROOT}/attempt-1/metrics.jsonl")
    kept = StoredObject(found.uri, found.size_bytes, found.crc32c, found.generation)
    store.get(kept, tmp_path / "metrics")
    assert (tmp_path / "metrics").read_bytes() == FILES["attempt-1/metrics.jsonl"]
    with pytest.raises(NotFound, match="another content"):
        store.get(replace(kept, generation=1), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("start", "size_bytes"), [(0, 5), (5, 5), (len(WEIGHTS) - 3, 10), (len(WEIGHTS) + 5, 5), (3, 0)]
)
@pytest.mark.parametrize("path", ["final/adapter_model.safetensors", "metrics.jsonl"])
def test_parts_are_read_as_far_as_they_go(
    store: HubObjects, path: str, start: int, size_bytes: int
) -> None:
    stored = stat(store, f"{ROOT}/attempt-1/{path}")
    content = FILES[f"attempt-1/{path}"]
    assert store.read_range(stored, start, size_bytes) == content[start : start + size_bytes]


def test_a_file_that_is_too_large_to_be_read_whole_is_not_fetched(
    stage: HubStage, store: HubObjects
) -> None:
    with pytest.raises(Corrupt, match="more than 10"):
        store.read(f"{ROOT}/attempt-1/metrics.jsonl", max_bytes=10)
    assert not any("/resolve/" in path for _, path in stage.requests)


def test_nothing_is_written_or_removed(store: HubObjects, tmp_path: Path) -> None:
    stored = stat(store, f"{ROOT}/attempt-1/metrics.jsonl")
    for change in (
        lambda: store.put(tmp_path, stored.uri),
        lambda: store.delete(stored),
        lambda: store.check_writable(stored.uri),
    ):
        with pytest.raises(InputError, match="by commits"):
            change()


@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket/a",
        "hf://spaces/a/b/c",
        "hf://models/a",
        "hf://models/a/b@/c",
        "hf://models/../b",
    ],
)
def test_what_is_no_uri_is_an_input_error(uri: str) -> None:
    with pytest.raises(InputError, match="does not name files"):
        HubUri.of(uri)


def test_a_revision_with_a_slash_is_quoted() -> None:
    uri = HubUri.of("hf://models/a/b@refs%2Fpr%2F1/c/d")
    assert (uri.revision, uri.path) == ("refs/pr/1", "c/d")
    assert uri.at("refs/pr/2") == "hf://models/a/b@refs%2Fpr%2F2/c/d"
    assert HubUri.of("hf://models/a/b").at("main") == "hf://models/a/b@main"
