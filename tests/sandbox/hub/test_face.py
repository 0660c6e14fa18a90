"""The Hub face, judged by the Hub's own client: accounts, repositories, references."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import hub_app
from tests.sandbox.hub.stage import ACCOUNTS, ALICE, WEIGHTS, Stage, put, status_of


def test_whoami_tells_the_account_its_organisations_and_the_tokens_role(
    stage: Stage, api: HfApi
) -> None:
    who = HfApi(endpoint=stage.url, token="hf_reader").whoami()
    assert who["name"] == "alice"
    assert who["type"] == "user"
    assert who["auth"]["accessToken"]["role"] == "read"
    assert [(org["name"], org["roleInOrg"]) for org in who["orgs"]] == [("lab", "write")]


def test_a_token_that_nobody_has_is_refused_even_for_reading(api: HfApi, stage: Stage) -> None:
    api.create_repo("open")
    stranger = HfApi(endpoint=stage.url, token="hf_invented")
    assert status_of(lambda: stranger.model_info("alice/open")) == 401
    assert status_of(stranger.whoami) == 401


def test_a_new_repo_has_one_commit_with_gitattributes(api: HfApi) -> None:
    created = api.create_repo("fresh")
    assert created.repo_id == "alice/fresh"
    info = api.model_info("alice/fresh", files_metadata=True)
    assert info.siblings is not None
    assert [one.rfilename for one in info.siblings] == [".gitattributes"]
    (first,) = api.list_repo_commits("alice/fresh")
    assert first.commit_id == info.sha
    assert first.authors == ["alice"]


def test_creating_a_repo_twice_is_409_and_fine_with_exist_ok(api: HfApi) -> None:
    api.create_repo("twice", private=True)
    assert status_of(lambda: api.create_repo("twice")) == 409
    assert api.create_repo("twice", exist_ok=True).repo_id == "alice/twice"
    assert api.model_info("alice/twice").private is True


@pytest.mark.parametrize("name", ["a--b", "x.git", "../up", ".hidden", "a" * 97])
def test_an_impossible_repo_name_is_refused(stage: Stage, api: HfApi, name: str) -> None:
    reply = httpx2.post(
        f"{stage.url}/api/repos/create",
        json={"name": name},
        headers={"authorization": "Bearer hf_alice"},
    )
    assert reply.status_code == 400
    assert reply.headers["x-error-message"].startswith("Invalid repo name")


def test_a_private_repo_looks_absent_to_strangers_and_the_anonymous(
    stage: Stage, api: HfApi
) -> None:
    api.create_repo("secret", private=True)
    put(api, "alice/secret", {"a.txt": b"a"})
    for token in ("hf_bob", False):
        other = HfApi(endpoint=stage.url, token=token)
        calls: list[Callable[[], object]] = [
            partial(other.model_info, "alice/secret"),
            partial(other.list_repo_files, "alice/secret"),
            partial(other.hf_hub_download, "alice/secret", "a.txt"),
            partial(put, other, "alice/secret", {"b.txt": b"b"}),
            partial(other.create_tag, "alice/secret", tag="v1"),
        ]
        for call in calls:
            with pytest.raises(RepositoryNotFoundError):
                call()
        assert list(other.list_models(author="alice")) == []
    assert HfApi(endpoint=stage.url, token="hf_reader").model_info("alice/secret").private is True


def test_writing_needs_a_token_that_may_write_there(stage: Stage, api: HfApi) -> None:
    api.create_repo("open")
    for token, status in (("hf_reader", 403), ("hf_bob", 403), ("hf_narrow", 403), (False, 401)):
        other = HfApi(endpoint=stage.url, token=token)
        assert status_of(partial(put, other, "alice/open", {"a.txt": b"a"})) == status
        assert status_of(partial(other.create_tag, "alice/open", tag="v1")) == status
        assert status_of(partial(other.delete_repo, "alice/open")) == status
        assert status_of(partial(other.create_repo, "alice/new")) == status
    assert api.list_repo_files("alice/open") == [".gitattributes"]


def test_a_fine_grained_token_writes_where_its_scope_says(stage: Stage, api: HfApi) -> None:
    api.create_repo("one", private=True)
    api.create_repo("two", private=True)
    narrow = HfApi(endpoint=stage.url, token="hf_narrow")
    assert put(narrow, "alice/one", {"a.txt": b"a"}) == api.model_info("alice/one").sha
    with pytest.raises(RepositoryNotFoundError):
        narrow.model_info("alice/two")


def test_organisations_let_their_writers_write(api: HfApi) -> None:
    assert api.create_repo("lab/ours").repo_id == "lab/ours"
    assert api.create_repo("guild/mine").repo_id == "guild/mine"
    for name in ("club/not-mine", "elsewhere/not-mine"):
        assert status_of(partial(api.create_repo, name)) == 403


def test_tags_and_branches_name_commits(api: HfApi) -> None:
    api.create_repo("one")
    first = put(api, "alice/one", {"a.txt": b"1"})
    api.create_tag("alice/one", tag="v1", tag_message="first")
    second = put(api, "alice/one", {"a.txt": b"2"})
    api.create_branch("alice/one", branch="feat/x", revision="v1")
    on_branch = put(api, "alice/one", {"b.txt": b"b"}, revision="feat/x")
    refs = api.list_repo_refs("alice/one", include_pull_requests=True)
    assert {tag.name: tag.target_commit for tag in refs.tags} == {"v1": first}
    assert {b.name: b.target_commit for b in refs.branches} == {"main": second, "feat/x": on_branch}
    assert refs.tags[0].ref == "refs/tags/v1"
    assert api.model_info("alice/one", revision="feat/x").sha == on_branch
    assert api.model_info("alice/one", revision=first[:10]).sha == first
    assert status_of(lambda: api.create_tag("alice/one", tag="v1")) == 409
    assert status_of(lambda: api.create_tag("alice/one", tag="bad name")) == 400
    api.delete_tag("alice/one", tag="v1")
    api.delete_branch("alice/one", branch="feat/x")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("alice/one", revision="v1")
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag("alice/one", tag="v1")
    assert status_of(lambda: api.delete_branch("alice/one", branch="main")) == 403


def test_what_is_absent_is_named_in_the_errors_code(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    api.create_repo("one")
    for path, code in (
        ("/api/models/alice/none", "RepoNotFound"),
        ("/gpt2/resolve/main/config.json", "RepoNotFound"),
        ("/api/models/gpt2", "RepoNotFound"),
        ("/api/models/alice/one/revision/v9", "RevisionNotFound"),
        ("/alice/one/resolve/v9/a.txt", "RevisionNotFound"),
        ("/alice/one/resolve/main/a.txt", "EntryNotFound"),
        ("/api/models/alice/one/tree/main/folder", "EntryNotFound"),
    ):
        for method in ("GET", "HEAD") if "resolve" in path else ("GET",):
            # What is absent or hidden asks the anonymous to log in.
            missing = 401 if code == "RepoNotFound" else 404
            for headers, status in ((ALICE, 404), ({}, missing)):
                reply = httpx2.request(
                    method, f"{stage.url}{path}", headers=headers, follow_redirects=True
                )
                assert (reply.status_code, reply.headers["x-error-code"]) == (status, code)
                assert reply.headers["x-error-message"]
    assert not api.file_exists("alice/one", "a.txt")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("alice/one", "a.txt", cache_dir=tmp_path)


def test_visibility_changes_only_when_asked_for(stage: Stage, api: HfApi) -> None:
    api.create_repo("one", private=True)
    stranger = HfApi(endpoint=stage.url, token=False)
    assert not stranger.repo_exists("alice/one")
    api.update_repo_settings("alice/one", private=False)
    assert stranger.model_info("alice/one").private is False
    api.update_repo_settings("alice/one", gated="auto")
    assert stranger.model_info("alice/one").private is False
    address = f"{stage.url}/api/models/alice/one/settings"
    for body, status in (
        ({"visibility": "protected"}, 400),
        ({"gated": "always"}, 400),
        ({"gatedNotificationsEmail": "nobody"}, 400),
        ({}, 400),
        ({"resourceGroup": "x"}, 501),
    ):
        assert httpx2.put(address, json=body, headers=ALICE).status_code == status


def test_a_deleted_repo_is_gone(api: HfApi, tmp_path: Path) -> None:
    api.create_repo("one")
    put(api, "alice/one", {"a.txt": b"a", "w.bin": WEIGHTS})
    api.delete_repo("alice/one")
    kept = [path.name for path in (tmp_path / "hub").rglob("*") if path.is_file()]
    assert kept == ["signing-key"]
    assert not api.repo_exists("alice/one")
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("alice/one")
    api.create_repo("one")
    assert len(api.list_repo_commits("alice/one")) == 1


def test_a_restart_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)

    def seen(api: HfApi) -> tuple[Any, ...]:
        info = api.model_info("alice/one", files_metadata=True)
        return info.sha, info.siblings, info.private, str(api.list_repo_refs("alice/one"))

    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        api.create_repo("one", private=True)
        put(api, "alice/one", {"a.txt": b"a", "w.bin": WEIGHTS})
        api.create_tag("alice/one", tag="v1")
        before = seen(api)
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        assert seen(api) == before
        got = api.hf_hub_download("alice/one", "w.bin", cache_dir=tmp_path / "cache")
        assert Path(got).read_bytes() == WEIGHTS
        assert put(api, "alice/one", {"a.txt": b"a", "w.bin": WEIGHTS}) == before[0]


def test_no_name_that_a_client_chose_is_a_file_name(
    api: HfApi, tmp_path: Path, stage: Stage
) -> None:
    api.create_repo("remarkable")
    put(api, "alice/remarkable", {"peculiar.txt": b"a", "folder/strange.bin": WEIGHTS})
    api.create_tag("alice/remarkable", tag="curious")
    names = " ".join(str(path.relative_to(tmp_path)) for path in (tmp_path / "hub").rglob("*"))
    for word in ("remarkable", "peculiar", "strange", "folder", "curious", "alice"):
        assert word not in names
    assert ("POST", "/api/models/alice/remarkable/tag/main") in stage.requests
