"""A repo is brought back to a tag: by one commit, whole, and not over somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from orchestrator.digests import git_blob_oid
from orchestrator.errors import Ambiguous, Conflict, Corrupt, InputError, NotFound
from orchestrator.rollback import Rollback, plan_rollback, roll_back, was_rolled_back
from orchestrator.stores.hub_remote import RemoteFile
from orchestrator.stores.hub_requests import Kind
from orchestrator.stores.hub_trees import HubTrees
from tests.manual_clock import ManualClock
from tests.stores.hub_stage import WEIGHTS, HubStage, hub_stage

REPO = "alice/adapter"
CARD = b"---\nlicense: mit\n---\n# Card\n"
OLD = {
    "README.md": CARD,
    "adapter_config.json": b'{"r": 8}',
    "adapter_model.safetensors": WEIGHTS,
    "d/notes.txt": b"kept",
}
NEW = {
    "README.md": CARD + b"new\n",
    "adapter_config.json": b'{"r": 16}',
    "adapter_model.safetensors": WEIGHTS + b"new",
    "model.safetensors": b"other weights" * 9,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStage]:
    with hub_stage(tmp_path_factory.mktemp("rollback")) as made:
        yield made


@pytest.fixture
def stage(served: HubStage) -> HubStage:
    """A repo with the tag v1, and another version on main since."""
    for kind in ("model", "dataset"):
        served.api.delete_repo(REPO, repo_type=kind, missing_ok=True)
        served.put(REPO, OLD, kind=kind)
        served.api.create_tag(REPO, tag="v1", repo_type=kind)
        served.put(REPO, NEW, kind=kind, delete=("d/notes.txt",))
        served.api.create_tag(REPO, tag="v2", repo_type=kind)
    served.lose.clear()
    served.before.clear()
    served.requests.clear()
    return served


def trees(stage: HubStage, kind: Kind = "model") -> HubTrees:
    return HubTrees(stage.url, "hf_alice", clock=ManualClock(), kind=kind)


def tree(stage: HubStage, revision: str, kind: str = "model") -> dict[str, str | None]:
    items = stage.api.list_repo_tree(REPO, revision=revision, repo_type=kind, recursive=True)
    return {item.path: item.blob_id for item in items if isinstance(item, RepoFile)}


def history(api: HfApi, kind: str = "model") -> list[str]:
    return [one.title for one in api.list_repo_commits(REPO, repo_type=kind)]


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_main_becomes_the_tree_of_the_tag_by_one_commit(stage: HubStage, kind: Kind) -> None:
    before = len(history(stage.api, kind))
    change = plan_rollback(trees(stage, kind), REPO, "v1")
    assert [file.path for file in change.restored] == sorted(OLD)
    assert change.deleted == ("model.safetensors",)
    revision = roll_back(change, trees(stage, kind))
    assert tree(stage, "main", kind) == tree(stage, "v1", kind)
    titles = history(stage.api, kind)
    assert (len(titles), titles[0]) == (before + 1, "Roll back to v1")
    assert stage.api.repo_info(REPO, repo_type=kind).sha == revision


def test_what_lfs_holds_is_neither_fetched_nor_sent_for_it(stage: HubStage) -> None:
    change = plan_rollback(trees(stage), REPO, "v1")
    stage.requests.clear()
    trees(stage).bring_back(
        REPO,
        [file.path for file in change.restored],
        source=change.target,
        delete=change.deleted,
        message="m",
        description="d",
        parent_commit=change.head,
    )
    assert not [one for one in stage.requests if "lfs" in one[1] or "safetensors" in one[1]]


def test_every_file_of_the_tag_is_read_back(stage: HubStage) -> None:
    change = plan_rollback(trees(stage), REPO, "v1")
    stage.requests.clear()
    revision = roll_back(change, trees(stage))
    read = {
        path for way, path in stage.requests if way == "GET" and f"/resolve/{revision}/" in path
    }
    assert read == {f"/{REPO}/resolve/{revision}/{name}" for name in OLD}


def test_attributes_of_files_stay_as_they_are(stage: HubStage, tmp_path: Path) -> None:
    stage.put(REPO, {"x.odd": WEIGHTS, ".gitattributes": b"*.odd filter=lfs\n"})
    change = plan_rollback(trees(stage), REPO, "v1")
    assert set(change.deleted) == {"model.safetensors", "x.odd"}
    revision = roll_back(change, trees(stage))
    trees(stage).download(REPO, revision, ".gitattributes", tmp_path / "attributes")
    # What LFS holds is tracked there by the Hub itself, whenever it is committed.
    assert (tmp_path / "attributes").read_bytes().startswith(b"*.odd filter=lfs\n")


def test_what_is_as_in_the_tag_gets_no_commit(stage: HubStage) -> None:
    hub = trees(stage)
    before = history(stage.api)
    change = plan_rollback(hub, REPO, "v2")
    assert not change.is_needed
    assert roll_back(change, hub) == change.head
    assert history(stage.api) == before
    assert not was_rolled_back(change, hub)


def test_a_rollback_is_known_again_as_one(stage: HubStage) -> None:
    hub = trees(stage)
    roll_back(plan_rollback(hub, REPO, "v1"), hub)
    again = plan_rollback(hub, REPO, "v1")
    assert not again.is_needed
    assert was_rolled_back(again, hub)
    assert not was_rolled_back(plan_rollback(hub, REPO, "v2"), hub)


def test_a_tag_that_is_not_there_is_refused_and_those_there_are_named(stage: HubStage) -> None:
    with pytest.raises(InputError, match="has no tag v3") as caught:
        plan_rollback(trees(stage), REPO, "v3")
    assert caught.value.hint == "Its tags: v1, v2"
    for not_a_tag in ("main", stage.api.model_info(REPO).sha or ""):
        with pytest.raises(InputError, match="has no tag"):
            plan_rollback(trees(stage), REPO, not_a_tag)
    with pytest.raises(NotFound):
        plan_rollback(trees(stage), "alice/none", "v1")


def test_a_race_is_lost_and_nothing_has_changed(stage: HubStage) -> None:
    hub = trees(stage)
    change = plan_rollback(hub, REPO, "v1")
    theirs = stage.put(REPO, {"theirs.txt": b"t"})
    with pytest.raises(Conflict, match="somebody else committed"):
        roll_back(change, hub)
    assert stage.api.model_info(REPO).sha == theirs
    # It is not even tried: where the files are equal by chance, the client would compare no parent.
    assert sum("/commit/main" in path for _, path in stage.requests) == 1


def test_a_race_that_is_lost_at_the_last_moment_changes_nothing_either(stage: HubStage) -> None:
    hub = trees(stage)
    change = plan_rollback(hub, REPO, "v1")
    theirs: list[str] = []
    commit = ("POST", f"/api/models/{REPO}/commit/main")
    stage.before[commit] = lambda: theirs.append(stage.put(REPO, {"theirs.txt": b"t"}))
    with pytest.raises(Conflict):
        roll_back(change, hub)
    assert stage.api.model_info(REPO).sha == theirs[0]


def test_a_commit_whose_answer_was_lost_is_found_again(stage: HubStage) -> None:
    hub = trees(stage)
    stage.lose.append(("POST", f"/api/models/{REPO}/commit/main"))
    revision = roll_back(plan_rollback(hub, REPO, "v1"), hub)
    assert stage.api.model_info(REPO).sha == revision
    assert history(stage.api).count("Roll back to v1") == 1


def test_an_earlier_rollback_is_not_taken_for_one_whose_answer_was_lost(stage: HubStage) -> None:
    hub = trees(stage)
    roll_back(plan_rollback(hub, REPO, "v1"), hub)
    roll_back(plan_rollback(hub, REPO, "v2"), hub)
    change = plan_rollback(hub, REPO, "v1")

    def lost() -> str:
        raise Ambiguous("lost")

    with pytest.raises(Ambiguous):
        hub.sent_or_found(REPO, change.marker, lost)


def test_other_bytes_than_those_of_the_tag_are_told(stage: HubStage) -> None:
    class Spoiling(HubTrees):
        def serves(self, repo_id: str, revision: str, expected: RemoteFile, *_: object) -> bool:
            return expected.path != "adapter_config.json"

    hub = Spoiling(stage.url, "hf_alice")
    with pytest.raises(Corrupt, match=r"differs from v1 in: adapter_config\.json"):
        roll_back(plan_rollback(hub, REPO, "v1"), hub)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_content_is_told_apart_by_every_byte(stage: HubStage, tmp_path: Path, name: str) -> None:
    hub = trees(stage)
    described = hub.files(REPO, "v1")[name]
    assert hub.serves(REPO, "v1", described)
    changed = bytes([OLD[name][0] ^ 1]) + OLD[name][1:]
    file = tmp_path / "changed"
    file.write_bytes(changed)
    wrong = RemoteFile(
        name, len(changed), "0" * 64 if described.sha256 else None, git_blob_oid(file)
    )
    assert not hub.serves(REPO, "v1", wrong)


def test_a_file_in_the_place_of_a_folder_comes_back(stage: HubStage) -> None:
    stage.put(REPO, {"d": b"a file now"})
    roll_back(plan_rollback(trees(stage), REPO, "v1"), trees(stage))
    assert tree(stage, "main") == tree(stage, "v1")


def test_the_purpose_does_not_depend_on_the_head() -> None:
    one = Rollback(REPO, "v1", "a" * 40, "b" * 40, (), (), ())
    other = Rollback(REPO, "v1", "a" * 40, "c" * 40, (), (), ())
    assert one.purpose == other.purpose
    assert one.marker != other.marker
