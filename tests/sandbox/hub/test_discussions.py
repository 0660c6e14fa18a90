"""Discussions on the Hub face, judged by the Hub's own client."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import DiscussionComment, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import hub_app
from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import ACCOUNTS, ALICE, Stage, status_of

REPO = "alice/one"


@pytest.fixture
def api(one: HfApi) -> HfApi:
    return one


def comments(api: HfApi, num: int) -> list[DiscussionComment]:
    events = api.get_discussion_details(REPO, num).events
    return [event for event in events if isinstance(event, DiscussionComment)]


def test_anyone_with_an_account_opens_a_discussion(api: HfApi, bob: HfApi, stage: Stage) -> None:
    made = bob.create_discussion(REPO, "  Does it answer in German?  ", description="Or not?")
    assert (made.num, made.title, made.author) == (1, "Does it answer in German?", "bob")
    assert (made.status, made.is_pull_request, made.git_reference) == ("open", False, None)
    assert (made.diff, made.conflicting_files, made.target_branch) == (None, None, None)
    assert [event.type for event in made.events] == ["comment"]
    assert comments(api, 1)[0].content == "Or not?"
    assert api.get_discussion_details(REPO, 1) == made
    assert made.url == f"{stage.url}/{REPO}/discussions/1"


def test_datasets_have_discussions_of_their_own(api: HfApi, stage: Stage) -> None:
    url = api.create_repo("one", repo_type="dataset")
    made = api.create_discussion(REPO, "rows", repo_type="dataset")
    assert made.num == 1
    assert made.repo_type == "dataset"
    assert made.url == f"{url}/discussions/1"
    assert list(api.get_repo_discussions(REPO)) == []


def test_discussions_and_pull_requests_share_their_numbers(api: HfApi) -> None:
    kinds = [api.create_discussion(REPO, "talk"), api.create_pull_request(REPO, "change")]
    assert [(one.num, one.is_pull_request) for one in kinds] == [(1, False), (2, True)]


def test_lists_come_in_pages_the_newest_first(api: HfApi) -> None:
    for number in range(1, 26):
        api.create_discussion(REPO, f"number {number}")
    assert [one.num for one in api.get_repo_discussions(REPO)] == list(range(25, 0, -1))


def test_lists_are_filtered_by_type_status_and_author(api: HfApi, bob: HfApi) -> None:
    api.create_discussion(REPO, "open talk")
    bob.create_discussion(REPO, "closed talk")
    api.change_discussion_status(REPO, 2, "closed")
    api.create_pull_request(REPO, "a draft")

    def listed(**filters: Any) -> list[int]:
        return [one.num for one in api.get_repo_discussions(REPO, **filters)]

    assert listed(discussion_type="discussion") == [2, 1]
    assert listed(discussion_type="pull_request") == [3]
    assert listed(discussion_status="open") == [3, 1]
    assert listed(discussion_status="closed") == [2]
    assert listed(author="bob") == [2]
    assert listed(discussion_type="all", discussion_status="all") == [3, 2, 1]


def test_comments_follow_in_order(api: HfApi, bob: HfApi, clock: ManualClock) -> None:
    api.create_discussion(REPO, "talk", description="first")
    clock.advance(60)
    said = bob.comment_discussion(REPO, 1, "second\n\n<b>third</b>")
    assert said.author == "bob"
    assert said.rendered == "<p>second</p><p>&lt;b&gt;third&lt;/b&gt;</p>"
    first, second = comments(api, 1)
    assert (first.content, second.id) == ("first", said.id)
    assert (second.created_at - first.created_at).total_seconds() == 60


def test_an_edited_comment_keeps_its_history(api: HfApi, bob: HfApi, clock: ManualClock) -> None:
    api.create_discussion(REPO, "talk", description="frist")
    (old,) = comments(api, 1)
    clock.advance(1)
    edited = api.edit_discussion_comment(REPO, 1, old.id, "first")
    assert (edited.content, edited.edited, edited.id) == ("first", True, old.id)
    assert [one["raw"] for one in edited.edit_history] == ["first", "frist"]
    assert edited.last_edited_at > old.created_at
    assert comments(api, 1) == [edited]
    assert status_of(partial(bob.edit_discussion_comment, REPO, 1, old.id, "mine")) == 403
    assert status_of(partial(api.edit_discussion_comment, REPO, 1, "0" * 24, "x")) == 404


def test_a_hidden_comment_cannot_be_read_any_more(api: HfApi, bob: HfApi) -> None:
    api.create_discussion(REPO, "talk", description="secret")
    (old,) = comments(api, 1)
    with pytest.warns(UserWarning, match="irreversible"):
        assert status_of(partial(bob.hide_discussion_comment, REPO, 1, old.id)) == 403
    with pytest.warns(UserWarning, match="irreversible"):
        hidden = api.hide_discussion_comment(REPO, 1, old.id)
    assert hidden.hidden
    assert comments(api, 1) == [hidden]
    assert "secret" not in str(api.get_discussion_details(REPO, 1))
    assert status_of(partial(api.edit_discussion_comment, REPO, 1, old.id, "again")) == 403


def test_renaming_is_an_event_with_both_titles(api: HfApi, bob: HfApi) -> None:
    api.create_discussion(REPO, "old")
    event = api.rename_discussion(REPO, 1, "new")
    assert (event.old_title, event.new_title) == ("old", "new")
    now = api.get_discussion_details(REPO, 1)
    assert now.title == "new"
    assert [one.type for one in now.events] == ["comment", "title-change"]
    assert status_of(partial(bob.rename_discussion, REPO, 1, "mine")) == 403


def test_a_discussion_is_closed_and_opened_by_its_author_or_an_owner(
    api: HfApi, bob: HfApi, stage: Stage
) -> None:
    bob.create_discussion(REPO, "bug")
    event = bob.change_discussion_status(REPO, 1, "closed", comment="my mistake")
    assert event.new_status == "closed"
    assert api.get_discussion_details(REPO, 1).status == "closed"
    assert comments(api, 1)[-1].content == "my mistake"
    assert api.change_discussion_status(REPO, 1, "open").new_status == "open"
    assert status_of(partial(api.change_discussion_status, REPO, 1, "open")) == 400
    guest = HfApi(endpoint=stage.url, token="hf_guest")
    assert status_of(partial(guest.change_discussion_status, REPO, 1, "closed")) == 403


def test_who_may_discuss(api: HfApi, stage: Stage) -> None:
    talker = HfApi(endpoint=stage.url, token="hf_talker")
    assert talker.create_discussion(REPO, "hello").author == "bob"
    for token, status in (("hf_reader", 403), ("hf_opener", 403), (False, 401)):
        other = HfApi(endpoint=stage.url, token=token)
        assert status_of(partial(other.create_discussion, REPO, "hello")) == status
        assert status_of(partial(other.comment_discussion, REPO, 1, "hello")) == status
    assert [one.num for one in api.get_repo_discussions(REPO)] == [1]


def test_discussions_of_a_private_repo_are_hidden_with_it(api: HfApi, bob: HfApi) -> None:
    api.create_discussion(REPO, "talk")
    api.update_repo_settings(REPO, private=True)
    calls: list[Callable[[], object]] = [
        partial(bob.get_discussion_details, REPO, 1),
        partial(bob.create_discussion, REPO, "hello"),
        partial(list, bob.get_repo_discussions(REPO)),
    ]
    for call in calls:
        with pytest.raises(RepositoryNotFoundError):
            call()


def test_discussions_can_be_disabled(api: HfApi, bob: HfApi, stage: Stage) -> None:
    bob.create_discussion(REPO, "before")
    address = f"{stage.url}/api/models/{REPO}/settings"
    reply = httpx2.put(address, json={"discussionsDisabled": True}, headers=ALICE)
    assert reply.json()["discussionsDisabled"] is True
    with pytest.raises(HfHubHTTPError, match="Discussions are disabled"):
        bob.create_discussion(REPO, "after")
    assert status_of(partial(bob.comment_discussion, REPO, 1, "after")) == 403


def test_discussions_are_pinned_and_deleted_by_owners(api: HfApi, stage: Stage) -> None:
    api.create_discussion(REPO, "stays")
    api.create_discussion(REPO, "goes")
    address = f"{stage.url}/api/models/{REPO}/discussions"
    bobs = {"authorization": "Bearer hf_bob"}
    assert httpx2.post(f"{address}/1/pin", json={"pinned": True}, headers=bobs).status_code == 403
    assert httpx2.post(f"{address}/1/pin", json={"pinned": True}, headers=ALICE).status_code == 200
    assert httpx2.delete(f"{address}/2", headers=bobs).status_code == 403
    assert httpx2.delete(f"{address}/2", headers=ALICE).status_code == 200
    (left,) = httpx2.get(address).json()["discussions"]
    assert (left["num"], left["pinned"]) == (1, True)
    assert status_of(partial(api.get_discussion_details, REPO, 2)) == 404
    assert api.create_discussion(REPO, "next").num == 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"title": "", "description": "x"}),
        ("", {"title": "x"}),
        ("/1/comment", {"comment": "  "}),
        ("/1/title", {"title": 3}),
        ("/1/status", {"status": "merged"}),
        ("/1/pin", {"pinned": "yes"}),
    ],
)
def test_what_makes_no_sense_is_refused(
    api: HfApi, stage: Stage, path: str, body: dict[str, object]
) -> None:
    before = api.create_discussion(REPO, "talk")
    address = f"{stage.url}/api/models/{REPO}/discussions{path}"
    assert httpx2.post(address, json=body, headers=ALICE).status_code == 400
    assert api.get_discussion_details(REPO, 1) == before


def test_a_restart_keeps_discussions(tmp_path: Path) -> None:
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        api.create_repo("one")
        api.create_discussion(REPO, "talk", description="Grüße")
        api.rename_discussion(REPO, 1, "more talk")
        before = api.get_discussion_details(REPO, 1)
    with AppServer(hub_app(tmp_path / "hub", ACCOUNTS)) as server:
        after = HfApi(endpoint=server.url).get_discussion_details(REPO, 1)
        assert [event.id for event in after.events] == [event.id for event in before.events]
        assert (after.title, after.created_at) == (before.title, before.created_at)
        assert isinstance(after.events[0], DiscussionComment)
        assert after.events[0].content == "Grüße"
