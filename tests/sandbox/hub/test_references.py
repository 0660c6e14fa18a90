"""Branches, tags, squashed histories, and names that repositories had before."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import hub_app
from tests.sandbox.hub.stage import ACCOUNTS, ALICE, WEIGHTS, Stage, put, status_of

REPO = "alice/one"


@pytest.fixture
def api(alice: HfApi) -> HfApi:
    alice.create_repo("one")
    put(alice, REPO, {"a.txt": b"a", "w.bin": WEIGHTS})
    return alice


def branches(api: HfApi) -> dict[str, str]:
    return {one.name: one.target_commit for one in api.list_repo_refs(REPO).branches}


def test_a_branch_begins_where_it_is_told_to(api: HfApi) -> None:
    first, main = [one.commit_id for one in api.list_repo_commits(REPO)][::-1]
    api.create_branch(REPO, branch="here")
    api.create_branch(REPO, branch="there", revision=first)
    api.create_branch(REPO, branch="also/here", revision="here")
    assert branches(api) == {"main": main, "here": main, "there": first, "also/here": main}
    with pytest.raises(RevisionNotFoundError):
        api.create_branch(REPO, branch="nowhere", revision="absent")
    assert status_of(partial(api.create_branch, REPO, branch="here")) == 409
    api.create_branch(REPO, branch="here", exist_ok=True)
    for name in ("refs/pr/1", "a..b", "a b", "x.lock"):
        assert status_of(partial(api.create_branch, REPO, branch=name)) == 400


def test_a_branch_can_begin_empty_and_be_overwritten(api: HfApi, stage: Stage) -> None:
    address = f"{stage.url}/api/models/{REPO}/branch/fresh"
    assert httpx2.post(address, json={"emptyBranch": True}, headers=ALICE).status_code == 200
    assert api.list_repo_files(REPO, revision="fresh") == []
    assert len(api.list_repo_commits(REPO, revision="fresh")) == 1
    put(api, REPO, {"b.txt": b"b"}, revision="fresh")
    assert api.list_repo_files(REPO, revision="fresh") == ["b.txt"]
    reply = httpx2.post(address, json={"overwrite": True}, headers=ALICE)
    assert reply.status_code == 200
    assert branches(api)["fresh"] == branches(api)["main"]


def test_an_annotated_tag_names_the_commit(api: HfApi) -> None:
    head = api.model_info(REPO).sha
    api.create_tag(REPO, tag="v1", tag_message="the first")
    put(api, REPO, {"b.txt": b"b"})
    (tag,) = api.list_repo_refs(REPO).tags
    assert (tag.name, tag.ref, tag.target_commit) == ("v1", "refs/tags/v1", head)
    assert api.model_info(REPO, revision="v1").sha == head
    assert api.list_repo_commits(REPO, revision="v1")[0].commit_id == head


def test_a_squashed_history_is_one_commit_with_the_same_files(api: HfApi) -> None:
    api.create_tag(REPO, tag="v1")
    before = {one.rfilename: one.blob_id for one in files(api)}
    api.create_branch(REPO, branch="side")
    api.super_squash_history(REPO, commit_message="all of it")
    (only,) = api.list_repo_commits(REPO)
    assert only.title == "all of it"
    assert {one.rfilename: one.blob_id for one in files(api)} == before
    assert len(api.list_repo_commits(REPO, revision="side")) == 2
    assert len(api.list_repo_commits(REPO, revision="v1")) == 2
    with pytest.raises(RevisionNotFoundError):
        api.super_squash_history(REPO, branch="absent")
    bob = HfApi(endpoint=api.endpoint, token="hf_bob")
    assert status_of(partial(bob.super_squash_history, REPO)) == 403


def files(api: HfApi) -> list[huggingface_hub.hf_api.RepoSibling]:
    return api.model_info(REPO, files_metadata=True).siblings or []


@pytest.mark.parametrize("shorten", [40, 7])
def test_a_commit_on_a_parent_that_is_no_longer_the_head_is_refused(
    api: HfApi, shorten: int
) -> None:
    old = str(api.model_info(REPO).sha)
    head = put(api, REPO, {"b.txt": b"b"}, parent_commit=old[:shorten])
    assert status_of(partial(put, api, REPO, {"c.txt": b"c"}, parent_commit=old[:shorten])) == 412
    assert api.model_info(REPO).sha == head


def test_the_old_name_of_a_moved_repo_leads_to_it(api: HfApi, stage: Stage, tmp_path: Path) -> None:
    api.create_discussion(REPO, "talk")
    api.create_tag(REPO, tag="v1")
    before = api.model_info(REPO)
    api.move_repo(REPO, "lab/two")
    after = api.model_info(REPO)
    assert (after.id, after.sha, after.created_at) == ("lab/two", before.sha, before.created_at)
    assert api.model_info("lab/two").sha == before.sha
    got = api.hf_hub_download(REPO, "w.bin", cache_dir=tmp_path / "cache", revision="v1")
    assert Path(got).read_bytes() == WEIGHTS
    oid = put(api, REPO, {"b.txt": b"b", "v.bin": WEIGHTS[::-1]})
    assert api.model_info("lab/two").sha == oid
    assert [one.repo_id for one in api.get_repo_discussions(REPO)] == ["lab/two"]
    reply = httpx2.get(f"{stage.url}/api/models/{REPO}/tree/main?recursive=true", headers=ALICE)
    assert reply.status_code == 307
    assert reply.headers["location"] == "/api/models/lab/two/tree/main?recursive=true"
    reply = httpx2.post(f"{stage.url}/{REPO}.git/info/lfs/objects/batch", headers=ALICE)
    assert reply.headers["location"] == "/lab/two.git/info/lfs/objects/batch"
    api.move_repo("lab/two", "lab/three")
    assert {api.model_info(name).id for name in (REPO, "lab/two")} == {"lab/three"}


def test_datasets_are_moved_apart_from_models(api: HfApi, stage: Stage, tmp_path: Path) -> None:
    api.create_repo("one", repo_type="dataset")
    put(api, REPO, {"rows.jsonl": b"{}\n"}, repo_type="dataset")
    api.move_repo(REPO, "alice/rows", repo_type="dataset")
    assert api.dataset_info(REPO).id == "alice/rows"
    assert api.model_info(REPO).id == REPO
    got = api.hf_hub_download(REPO, "rows.jsonl", repo_type="dataset", cache_dir=tmp_path / "cache")
    assert Path(got).read_bytes() == b"{}\n"


def test_a_name_that_is_used_again_leads_nowhere_else(api: HfApi) -> None:
    api.move_repo(REPO, "alice/two")
    api.create_repo("one")
    assert api.model_info(REPO).id == REPO
    api.delete_repo(REPO)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(REPO)
    api.move_repo("alice/two", REPO)
    assert api.model_info(REPO).id == REPO
    assert api.model_info("alice/two").id == REPO


def test_the_new_name_of_a_private_repo_is_not_told_to_strangers(api: HfApi, stage: Stage) -> None:
    api.update_repo_settings(REPO, private=True)
    api.move_repo(REPO, "alice/two")
    for headers, status in (({}, 401), ({"authorization": "Bearer hf_bob"}, 404)):
        reply = httpx2.get(f"{stage.url}/api/models/{REPO}", headers=headers)
        assert (reply.status_code, reply.headers["x-error-code"]) == (status, "RepoNotFound")
        assert "two" not in reply.text


def test_a_repo_moves_only_where_there_is_room_and_a_right(api: HfApi, stage: Stage) -> None:
    api.create_repo("taken")
    for target, status in (
        ("alice/taken", 409),
        ("bob/one", 403),
        ("club/one", 403),
        ("alice/a--b", 400),
    ):
        assert status_of(partial(api.move_repo, REPO, target)) == status
    bob = HfApi(endpoint=stage.url, token="hf_bob")
    assert status_of(partial(bob.move_repo, REPO, "bob/one")) == 403
    with pytest.raises(RepositoryNotFoundError):
        api.move_repo("alice/absent", "alice/two")
    assert api.model_info(REPO).id == REPO


def test_a_copy_has_its_own_future(api: HfApi, stage: Stage, tmp_path: Path) -> None:
    api.create_tag(REPO, tag="v1")
    api.create_discussion(REPO, "talk")
    bob = HfApi(endpoint=stage.url, token="hf_bob")
    url = bob.duplicate_repo(REPO, "copy", private=True)
    assert url.repo_id == "bob/copy"
    assert bob.model_info("bob/copy").sha == api.model_info(REPO).sha
    assert bob.model_info("bob/copy").private is True
    assert [one.name for one in bob.list_repo_refs("bob/copy").tags] == ["v1"]
    assert list(bob.get_repo_discussions("bob/copy")) == []
    put(bob, "bob/copy", {"b.txt": b"b"})
    assert "b.txt" not in api.list_repo_files(REPO)
    api.delete_repo(REPO)
    got = bob.hf_hub_download("bob/copy", "w.bin", cache_dir=tmp_path / "cache")
    assert Path(got).read_bytes() == WEIGHTS
    assert status_of(partial(bob.duplicate_repo, "bob/copy", "bob/copy")) == 409
    assert status_of(partial(bob.duplicate_repo, "bob/copy", "alice/copy")) == 403


def test_a_restart_keeps_moved_and_copied_repos(tmp_path: Path) -> None:
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        api.create_repo("one")
        api.create_branch(REPO, branch="side")
        api.move_repo(REPO, "alice/two")
        api.duplicate_repo("alice/two", "alice/three")
        before = str(api.list_repo_refs("alice/two"))
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        assert api.model_info(REPO).id == "alice/two"
        assert str(api.list_repo_refs(REPO)) == before == str(api.list_repo_refs("alice/three"))
        assert {one.id for one in api.list_models()} == {"alice/two", "alice/three"}


def test_what_a_crash_left_of_a_new_repo_is_gone_after_a_restart(tmp_path: Path) -> None:
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        HfApi(endpoint=server.url, token="hf_alice").create_repo("one")
    (folder,) = (tmp_path / "hub/repos").iterdir()
    (folder / "repo.json").unlink()
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        assert not api.repo_exists(REPO)
        assert list((tmp_path / "hub/repos").iterdir()) == []
        api.create_repo("one")
        assert len(api.list_repo_commits(REPO)) == 1


def test_a_folder_of_the_first_layout_is_still_read(tmp_path: Path) -> None:
    """Folders used to be named by a hash of the repository's name."""
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        HfApi(endpoint=server.url, token="hf_alice").create_repo("one")
    (folder,) = (tmp_path / "hub/repos").iterdir()
    folder.rename(folder.with_name("0" * 64))
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        assert api.list_repo_files(REPO) == [".gitattributes"]
        api.delete_repo(REPO)
        assert list((tmp_path / "hub/repos").iterdir()) == []
