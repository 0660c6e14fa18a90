"""Who may do what on the Hub face: organisations, kinds of tokens, and many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from orchestrator.sandbox.hub.app import Account, TokenScope
from tests.sandbox.hub.stage import ACCOUNTS, Stage, put, status_of

SCOPED = {
    "hf_org_reader": Account(
        "alice",
        role="fineGrained",
        orgs={"lab": "write"},
        scopes=(TokenScope("org", "lab", ("repo.content.read",)),),
    ),
    "hf_org_writer": Account(
        "alice",
        role="fineGrained",
        orgs={"lab": "write"},
        scopes=(TokenScope("org", "lab", ("repo.write",)),),
    ),
    "hf_one_dataset": Account(
        "alice", role="fineGrained", scopes=(TokenScope("dataset", "alice/one", ("repo.write",)),)
    ),
    "hf_outsider": Account(
        "bob", role="fineGrained", scopes=(TokenScope("org", "lab", ("repo.write",)),)
    ),
}


@pytest.fixture
def as_(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], HfApi]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    stage.open(tmp_path / "hub", accounts={**ACCOUNTS, **SCOPED})
    return lambda token: HfApi(endpoint=stage.url, token=token)


def test_members_read_what_strangers_do_not_see(as_: Callable[[str], HfApi]) -> None:
    as_("hf_alice").create_repo("lab/inner", private=True)
    for token in ("hf_boss", "hf_guest", "hf_reader"):
        assert as_(token).model_info("lab/inner").private is True
    with pytest.raises(RepositoryNotFoundError):
        as_("hf_bob").model_info("lab/inner")


def test_a_member_without_access_is_a_stranger(
    as_: Callable[[str], HfApi], stage: Stage, tmp_path: Path
) -> None:
    accounts = {**ACCOUNTS, "hf_clubber": Account("dan", orgs={"club": "admin"})}
    stage.open(tmp_path / "other", accounts=accounts)
    as_("hf_clubber").create_repo("club/inner", private=True)
    assert as_("hf_alice").repo_exists("club/inner")
    assert not as_("hf_guest").repo_exists("club/inner")


def test_readers_of_an_organisation_write_nothing(as_: Callable[[str], HfApi]) -> None:
    as_("hf_alice").create_repo("lab/ours")
    guest = as_("hf_guest")
    calls: list[Callable[[], object]] = [
        partial(put, guest, "lab/ours", {"a.txt": b"a"}),
        partial(guest.create_repo, "lab/mine"),
        partial(guest.delete_repo, "lab/ours"),
        partial(guest.move_repo, "lab/ours", "guest/ours"),
        partial(guest.update_repo_settings, "lab/ours", private=True),
        partial(guest.create_branch, "lab/ours", branch="x"),
    ]
    assert [status_of(call) for call in calls] == [403] * len(calls)
    as_("hf_boss").delete_repo("lab/ours")


def test_contributors_change_only_what_they_made(
    as_: Callable[[str], HfApi], stage: Stage, tmp_path: Path
) -> None:
    accounts = {**ACCOUNTS, "hf_master": Account("master", orgs={"guild": "admin"})}
    stage.open(tmp_path / "other", accounts=accounts)
    as_("hf_master").create_repo("guild/theirs")
    alice = as_("hf_alice")
    alice.create_repo("guild/mine")
    put(alice, "guild/mine", {"a.txt": b"a"})
    assert status_of(partial(put, alice, "guild/theirs", {"a.txt": b"a"})) == 403
    assert status_of(partial(alice.delete_repo, "guild/theirs")) == 403


def test_a_narrow_token_does_no_more_than_its_scopes(as_: Callable[[str], HfApi]) -> None:
    as_("hf_alice").create_repo("lab/inner", private=True)
    as_("hf_alice").create_repo("one", repo_type="dataset", private=True)
    reader, writer = as_("hf_org_reader"), as_("hf_org_writer")
    assert reader.repo_exists("lab/inner")
    assert status_of(partial(put, reader, "lab/inner", {"a.txt": b"a"})) == 403
    assert status_of(partial(reader.create_discussion, "lab/inner", "hello")) == 403
    put(writer, "lab/inner", {"a.txt": b"a"})
    assert writer.create_discussion("lab/inner", "hello").num == 1
    assert not writer.repo_exists("alice/one", repo_type="dataset")
    one = as_("hf_one_dataset")
    put(one, "alice/one", {"a.txt": b"a"}, repo_type="dataset")
    assert not one.repo_exists("lab/inner")
    assert status_of(partial(one.create_repo, "two")) == 403


def test_a_scope_gives_no_more_than_its_owner_has(as_: Callable[[str], HfApi]) -> None:
    as_("hf_alice").create_repo("lab/inner", private=True)
    assert not as_("hf_outsider").repo_exists("lab/inner")
    assert status_of(partial(as_("hf_outsider").create_repo, "lab/mine")) == 403


def test_pull_requests_that_come_at_once_get_numbers_of_their_own(
    as_: Callable[[str], HfApi],
) -> None:
    alice, bob = as_("hf_alice"), as_("hf_bob")
    alice.create_repo("one")
    start = threading.Barrier(4)

    def propose(number: int) -> int:
        start.wait()
        add = [CommitOperationAdd(f"{number}.txt", b"x")]
        made = bob.create_commit("alice/one", add, commit_message="add", create_pr=True)
        return int(made.pr_num or 0)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(propose, range(4))) == [1, 2, 3, 4]
    assert (
        len(alice.list_repo_refs("alice/one", include_pull_requests=True).pull_requests or []) == 4
    )

    again = threading.Barrier(4)

    def merge(number: int) -> int:
        again.wait()
        try:
            alice.merge_pull_request("alice/one", 1 + number // 2)
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(merge, range(4))) == [200, 200, 400, 400]
    assert len(alice.list_repo_commits("alice/one")) == 3
