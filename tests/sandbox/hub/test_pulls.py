"""Pull requests on the Hub face, judged by the Hub's own client, and by git for what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DiscussionCommit, HfApi
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import hub_app
from tests.sandbox.hub.stage import ACCOUNTS, WEIGHTS, Stage, put, status_of

REPO = "alice/one"
TEXT = "".join(f"line {number}\n" for number in range(1, 11)).encode()


@pytest.fixture
def api(alice: HfApi) -> HfApi:
    alice.create_repo("one")
    put(alice, REPO, {"text.txt": TEXT, "other.txt": b"other\n"})
    return alice


def read(api: HfApi, path: str, folder: Path, revision: str = "main") -> bytes:
    got = api.hf_hub_download(REPO, path, revision=revision, cache_dir=folder / "cache")
    return Path(got).read_bytes()


def propose(api: HfApi, files: dict[str, bytes], title: str = "proposal", **options: Any) -> int:
    """Open a pull request with some files; returns its number."""
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    done = api.create_commit(REPO, operations, commit_message=title, create_pr=True, **options)
    assert done.pr_num is not None
    return int(done.pr_num)


def test_a_stranger_opens_a_pull_request_with_a_commit(
    api: HfApi, bob: HfApi, stage: Stage, tmp_path: Path
) -> None:
    head = api.model_info(REPO).sha
    operations = [CommitOperationAdd("w.bin", WEIGHTS), CommitOperationAdd("new.txt", b"new\n")]
    done = bob.create_commit(
        REPO,
        operations,
        commit_message="Add weights",
        commit_description="They are better.",
        create_pr=True,
    )
    assert done.pr_url == f"{stage.url}/{REPO}/discussions/1"
    assert (done.pr_num, done.pr_revision) == (1, "refs/pr/1")
    made = api.get_discussion_details(REPO, 1)
    assert (made.title, made.status, made.author) == ("Add weights", "open", "bob")
    assert (made.target_branch, made.git_reference) == ("refs/heads/main", "refs/pr/1")
    assert (made.conflicting_files, made.merge_commit_oid) == ([], None)
    assert [event.type for event in made.events] == ["comment", "commit"]
    assert isinstance(made.events[1], DiscussionCommit)
    assert (made.events[1].oid, made.events[1].summary) == (done.oid, "Add weights")
    assert api.model_info(REPO, revision="refs/pr/1").sha == done.oid
    assert api.model_info(REPO).sha == head
    assert read(api, "w.bin", tmp_path, "refs/pr/1") == WEIGHTS
    (ref,) = api.list_repo_refs(REPO, include_pull_requests=True).pull_requests or []
    assert (ref.ref, ref.target_commit) == ("refs/pr/1", done.oid)
    assert api.list_repo_refs(REPO).pull_requests is None


def test_a_pull_request_goes_into_the_branch_that_was_named(api: HfApi, bob: HfApi) -> None:
    api.create_branch(REPO, branch="next")
    assert propose(bob, {"a.txt": b"a"}, revision="next") == 1
    assert api.get_discussion_details(REPO, 1).target_branch == "refs/heads/next"
    oid = api.model_info(REPO).sha
    with pytest.raises(RevisionNotFoundError):
        propose(bob, {"a.txt": b"a"}, revision=str(oid))


def test_a_pull_request_can_start_from_an_older_commit(api: HfApi, bob: HfApi) -> None:
    older = api.model_info(REPO).sha
    put(api, REPO, {"later.txt": b"later"})
    num = propose(bob, {"a.txt": b"a"}, parent_commit=str(older))
    assert "later.txt" not in api.list_repo_files(REPO, revision=f"refs/pr/{num}")
    api.merge_pull_request(REPO, num)
    assert {"a.txt", "later.txt"} <= set(api.list_repo_files(REPO))


def test_a_draft_takes_commits_is_published_and_merged(api: HfApi, tmp_path: Path) -> None:
    draft = api.create_pull_request(REPO, "My change", description="why")
    assert (draft.status, draft.is_pull_request, draft.diff) == ("draft", True, "")
    revision = draft.git_reference
    assert revision == "refs/pr/1"
    first = put(api, REPO, {"a.txt": b"1"}, revision=revision)
    second = put(api, REPO, {"a.txt": b"2"}, revision=revision, parent_commit=first)
    assert (
        status_of(partial(put, api, REPO, {"a.txt": b"3"}, revision=revision, parent_commit=first))
        == 412
    )
    assert status_of(partial(api.merge_pull_request, REPO, 1)) == 400
    api.change_discussion_status(REPO, 1, "open")
    api.merge_pull_request(REPO, 1, comment="thanks")
    merged = api.get_discussion_details(REPO, 1)
    assert merged.status == "merged"
    assert [event.type for event in merged.events] == [
        *["comment", "status-change", "comment", "status-change", "commit", "commit"]
    ]
    newest, before = api.list_repo_commits(REPO)[:2]
    assert newest.commit_id == merged.merge_commit_oid == api.model_info(REPO).sha
    assert newest.title == "My change (#1)"
    assert first in newest.message
    assert second in newest.message
    assert "Co-authored-by: alice" in newest.message
    assert before.title == "add files"
    assert read(api, "a.txt", tmp_path) == b"2"


def test_only_its_author_and_owners_commit_to_a_pull_request(
    api: HfApi, bob: HfApi, stage: Stage
) -> None:
    num = propose(bob, {"a.txt": b"a"})
    revision = f"refs/pr/{num}"
    put(bob, REPO, {"b.txt": b"b", "w.bin": WEIGHTS}, revision=revision)
    put(api, REPO, {"c.txt": b"c"}, revision=revision)
    for token, status in (("hf_boss", 403), ("hf_reader", 403), (False, 401)):
        other = HfApi(endpoint=stage.url, token=token)
        files = {"d.txt": b"d"}
        assert status_of(partial(put, other, REPO, files, revision=revision)) == status
    with pytest.raises(RevisionNotFoundError):
        put(bob, REPO, {"a.txt": b"a"}, revision="refs/pr/9")


def test_who_may_not_write_is_told_to_open_a_pull_request(bob: HfApi, api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="pass `create_pr=1`"):
        put(bob, REPO, {"a.txt": b"a"})
    assert api.list_repo_files(REPO) == [".gitattributes", "other.txt", "text.txt"]


def test_only_owners_merge_and_only_once(api: HfApi, bob: HfApi) -> None:
    num = propose(bob, {"a.txt": b"a"})
    assert status_of(partial(bob.merge_pull_request, REPO, num)) == 403
    api.merge_pull_request(REPO, num)
    head = api.model_info(REPO).sha
    assert status_of(partial(api.merge_pull_request, REPO, num)) == 400
    assert status_of(partial(api.change_discussion_status, REPO, num, "closed")) == 400
    files = {"late.txt": b"x"}
    assert status_of(partial(put, bob, REPO, files, revision=f"refs/pr/{num}")) == 403
    assert api.model_info(REPO).sha == head


def test_what_is_no_open_pull_request_is_not_merged(api: HfApi, bob: HfApi) -> None:
    api.create_discussion(REPO, "talk")
    num = propose(bob, {"a.txt": b"a"})
    api.change_discussion_status(REPO, num, "closed")
    api.create_pull_request(REPO, "nothing in it")
    api.change_discussion_status(REPO, 3, "open")
    head = api.model_info(REPO).sha
    for number in (1, num, 3):
        assert status_of(partial(api.merge_pull_request, REPO, number)) == 400
    assert api.model_info(REPO).sha == head


def test_changes_of_different_lines_are_merged(api: HfApi, bob: HfApi, tmp_path: Path) -> None:
    num = propose(bob, {"text.txt": TEXT.replace(b"line 9\n", b"nine\n")})
    put(api, REPO, {"text.txt": TEXT.replace(b"line 2\n", b"")})
    assert api.get_discussion_details(REPO, num).conflicting_files == []
    api.merge_pull_request(REPO, num)
    merged = TEXT.replace(b"line 2\n", b"").replace(b"line 9\n", b"nine\n")
    assert read(api, "text.txt", tmp_path) == merged


def test_a_conflict_is_shown_and_refused(api: HfApi, bob: HfApi, tmp_path: Path) -> None:
    theirs = {"text.txt": TEXT.replace(b"line 5", b"five"), "w.bin": WEIGHTS, "a.txt": b"a"}
    num = propose(bob, theirs)
    ours = {"text.txt": TEXT.replace(b"line 5", b"FIVE"), "w.bin": WEIGHTS[::-1]}
    head = put(api, REPO, ours)
    assert api.get_discussion_details(REPO, num).conflicting_files == ["text.txt", "w.bin"]
    with pytest.raises(HfHubHTTPError, match=r"text\.txt, w\.bin") as caught:
        api.merge_pull_request(REPO, num)
    assert caught.value.response.status_code == 409
    assert api.model_info(REPO).sha == head
    assert api.get_discussion_details(REPO, num).status == "open"
    # Once main is as the pull request wants it there, the rest can be merged.
    put(api, REPO, theirs | {"a.txt": b"a"})
    put(bob, REPO, {"b.txt": b"b"}, revision=f"refs/pr/{num}")
    api.merge_pull_request(REPO, num)
    assert read(api, "b.txt", tmp_path) == b"b"


def test_deletions_are_merged_and_conflict_with_changes(api: HfApi, bob: HfApi) -> None:
    delete = [CommitOperationDelete("other.txt")]
    for _ in range(2):
        bob.create_commit(REPO, delete, commit_message="delete", create_pr=True)
    api.merge_pull_request(REPO, 1)
    assert "other.txt" not in api.list_repo_files(REPO)
    put(api, REPO, {"other.txt": b"again\n"})
    assert api.get_discussion_details(REPO, 2).conflicting_files == ["other.txt"]


def test_a_pull_request_into_a_branch_that_is_gone_cannot_be_merged(api: HfApi) -> None:
    api.create_branch(REPO, branch="next")
    num = propose(api, {"a.txt": b"a"}, revision="next")
    api.delete_branch(REPO, branch="next")
    assert api.get_discussion_details(REPO, num).conflicting_files is True
    assert status_of(partial(api.merge_pull_request, REPO, num)) == 400


def git(folder: Path, *words: str) -> bytes:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    command = ["git", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_diff_is_the_one_that_git_shows(api: HfApi, bob: HfApi, tmp_path: Path) -> None:
    before = {
        "text.txt": TEXT,
        "gone.txt": b"one\ntwo\n",
        "end.txt": b"no line end",
        "odd.txt": "a\u2028b\x0cc\nd\n".encode(),
        "same.txt": b"same\n",
    }
    after = {
        "text.txt": TEXT.replace(b"line 2\n", b"two\n").replace(b"line 9\n", b""),
        "end.txt": b"no line end\nnow\n",
        "odd.txt": "a\u2028b\x0cC\nd\n".encode(),
        "same.txt": b"same\n",
        "sub/new.txt": b"first\nsecond",
        "sub/empty.txt": b"",
    }
    put(api, REPO, before)
    operations = [CommitOperationAdd(path, content) for path, content in after.items()]
    gone = CommitOperationDelete("gone.txt")
    bob.create_commit(REPO, [*operations, gone], commit_message="edit", create_pr=True)
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    git(work, "init", "-q")
    for files in (before, after):
        for file in work.glob("*.txt"):
            file.unlink()
        for path, content in files.items():
            (work / path).write_bytes(content)
        git(work, "add", "-A")
        git(work, "commit", "-qm", "x")
    shown = api.get_discussion_details(REPO, 1).diff
    expected = git(work, "diff", "--no-renames", "--full-index", "HEAD~1").decode()
    # What git adds after the line numbers is the line it takes for a heading.
    assert shown is not None
    assert shown.splitlines() == [
        line.rpartition("@@")[0] + "@@" if line.startswith("@@") else line
        for line in expected.splitlines()
    ]


def test_large_files_are_left_out_of_the_diff(api: HfApi, bob: HfApi) -> None:
    propose(bob, {"w.bin": WEIGHTS})
    assert api.get_discussion_details(REPO, 1).diff == ""


def test_a_new_pull_request_needs_access_to_a_gated_repo(api: HfApi, bob: HfApi) -> None:
    api.update_repo_settings(REPO, gated="manual")
    with pytest.raises(HfHubHTTPError):
        propose(bob, {"a.txt": b"a"})
    api.grant_access(REPO, "bob")
    assert propose(bob, {"a.txt": b"a"}) == 1


def test_a_pull_request_that_fails_leaves_nothing(api: HfApi, stage: Stage) -> None:
    reply = httpx2.post(
        f"{stage.url}/api/models/{REPO}/commit/main?create_pr=1",
        content=b'{"key":"header","value":{"summary":"s"}}\n{"key":"file","value":{"path":"../a"}}',
        headers={"authorization": "Bearer hf_bob", "content-type": "application/x-ndjson"},
    )
    assert reply.status_code == 400
    assert list(api.get_repo_discussions(REPO)) == []
    assert api.list_repo_refs(REPO, include_pull_requests=True).pull_requests == []


def test_a_restart_keeps_pull_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        api.create_repo("one")
        propose(api, {"a.txt": b"a"})
        propose(api, {"b.txt": b"b"})
        api.merge_pull_request(REPO, 1)
        before = [api.get_discussion_details(REPO, num) for num in (1, 2)]
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        after = [api.get_discussion_details(REPO, num) for num in (1, 2)]
        for old, new in zip(before, after, strict=True):
            assert (new.status, new.diff, new.merge_commit_oid) == (
                old.status,
                old.diff,
                old.merge_commit_oid,
            )
        api.merge_pull_request(REPO, 2)
        assert {"a.txt", "b.txt"} <= set(api.list_repo_files(REPO))
