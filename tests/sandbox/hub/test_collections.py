"""Collections, as huggingface_hub makes, fills and reads them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from starlette.routing import Route

from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import Stage, status_of


@pytest.fixture
def api(one: HfApi) -> HfApi:
    """Alice's client; there are her model `one` and her private dataset `rows`."""
    one.create_repo("rows", repo_type="dataset", private=True)
    return one


def slug_of(
    api: HfApi, title: str = "Router models", *, private: bool = False, exists_ok: bool = False
) -> str:
    slug: str = api.create_collection(
        title, namespace="alice", private=private, exists_ok=exists_ok
    ).slug
    return slug


def test_what_is_made_and_filled_is_read_again(api: HfApi) -> None:
    made = api.create_collection("Röuter: models!", namespace="alice", description="of ours")
    assert made.slug.startswith("alice/r-uter-models-")
    api.add_collection_item(made.slug, "alice/one", "model", note="<b>first</b>")
    full = api.add_collection_item(made.slug, "alice/rows", "dataset")
    found = api.get_collection(made.slug)
    assert found == full
    assert (found.title, found.description, found.private) == ("Röuter: models!", "of ours", False)
    told = [(item.item_id, item.item_type, item.note, item.position) for item in found.items]
    assert told == [("alice/one", "model", "<b>first</b>", 0), ("alice/rows", "dataset", None, 1)]
    assert found.url.endswith(made.slug)


def test_one_title_and_one_item_stand_once(api: HfApi) -> None:
    slug = slug_of(api)
    assert slug_of(api, exists_ok=True) == slug
    assert status_of(lambda: api.create_collection("Router models", namespace="alice")) == 409
    for _ in range(2):
        api.add_collection_item(slug, "alice/one", "model", exists_ok=True)
    assert status_of(lambda: api.add_collection_item(slug, "alice/one", "model")) == 409
    assert len(api.get_collection(slug).items) == 1


def test_they_are_changed_and_removed(api: HfApi) -> None:
    slug = slug_of(api)
    for kind, name in (("model", "alice/one"), ("dataset", "alice/rows")):
        api.add_collection_item(slug, name, kind)  # type: ignore[arg-type] # a Literal in a loop
    first, second = api.get_collection(slug).items
    api.update_collection_item(slug, second.item_object_id, position=0, note="rows first")
    changed = api.update_collection_metadata(slug, title="Renamed", private=True, theme="pink")
    # The words of an address stay; its id is what counts.
    assert (changed.slug, changed.title, changed.theme) == (slug, "Renamed", "pink")
    assert [item.item_id for item in changed.items] == ["alice/rows", "alice/one"]
    api.delete_collection_item(slug, first.item_object_id)
    with pytest.raises(HfHubHTTPError):
        api.delete_collection_item(slug, first.item_object_id)
    assert [item.note for item in api.get_collection(slug).items] == ["rows first"]
    api.delete_collection(slug)
    assert status_of(lambda: api.get_collection(slug)) == 404
    assert api.repo_exists("alice/rows", repo_type="dataset")


def test_what_is_private_is_not_shown_to_others(api: HfApi, bob: HfApi, stage: Stage) -> None:
    slug, hidden = slug_of(api), slug_of(api, "Hidden", private=True)
    api.add_collection_item(slug, "alice/rows", "dataset")
    api.add_collection_item(slug, "alice/one", "model")
    nobody = HfApi(endpoint=stage.url, token=False)
    for other in (bob, nobody):
        assert [item.item_id for item in other.get_collection(slug).items] == ["alice/one"]
        assert status_of(partial(other.get_collection, hidden)) == 404
        assert [one.title for one in other.list_collections(owner="alice")] == ["Router models"]
    assert status_of(lambda: bob.add_collection_item(slug, "alice/one", "model")) == 403
    assert status_of(lambda: bob.create_collection("Mine", namespace="alice")) == 403
    reader = HfApi(endpoint=stage.url, token="hf_reader")
    assert status_of(lambda: reader.delete_collection(slug)) == 403
    # Bob cannot name what he does not see.
    own = bob.create_collection("Of Bob", namespace="bob").slug
    assert status_of(lambda: bob.add_collection_item(own, "alice/rows", "dataset")) == 404


def test_lists_are_filtered_and_come_in_pages(api: HfApi) -> None:
    slugs = [slug_of(api, f"Number {number}") for number in range(12)]
    api.add_collection_item(slugs[3], "alice/one", "model")
    assert {one.slug for one in api.list_collections(owner="alice")} == set(slugs)
    assert len(list(api.list_collections(owner="alice", limit=5))) == 5
    assert list(api.list_collections(owner="bob")) == []
    assert [one.slug for one in api.list_collections(item="models/alice/one")] == [slugs[3]]


def test_what_cannot_be_is_refused(api: HfApi) -> None:
    slug = slug_of(api)
    assert status_of(lambda: api.create_collection("", namespace="alice")) == 400
    assert status_of(lambda: api.create_collection("x" * 61, namespace="alice")) == 400
    assert status_of(lambda: api.add_collection_item(slug, "alice/none", "model")) == 404
    assert status_of(lambda: api.add_collection_item(slug, "2307.09288", "paper")) == 501
    assert status_of(lambda: api.get_collection("alice/x-" + "0" * 24)) == 404
    theme = "black"
    assert status_of(lambda: api.update_collection_metadata(slug, theme=theme)) == 400


def test_they_outlive_a_restart_and_follow_what_moves(
    api: HfApi, stage: Stage, tmp_path: Path, clock: ManualClock
) -> None:
    slug = slug_of(api)
    api.add_collection_item(slug, "alice/one", "model")
    api.move_repo("alice/one", "alice/two")
    stage.open(tmp_path / "hub", clock=clock)
    assert [item.item_id for item in api.get_collection(slug).items] == ["alice/two"]
    api.delete_repo("alice/two")
    assert api.get_collection(slug).items == []


#: Method and route below a collection, with a body that its owner may send.
ASKED: dict[str, object] = {
    "GET ": None,
    "PATCH ": {"title": "Mine"},
    "DELETE ": None,
    "POST /items": {"item": {"type": "model", "id": "alice/one"}},
    "PATCH /items/{item}": {"note": "mine"},
    "DELETE /items/{item}": None,
}


def test_the_table_has_every_route_of_a_collection(api: HfApi, stage: Stage) -> None:
    start = "/api/collections/{ns}/{slug}"
    found = {
        f"{method} {one.path.removeprefix(start)}"
        for one in stage.app.routes
        if isinstance(one, Route) and one.path.startswith(start)
        for method in (one.methods or set()) - {"HEAD"}
    }
    assert found == set(ASKED)


@pytest.mark.parametrize("token", [None, "hf_bob", "hf_narrow", "hf_talker"])
def test_to_strangers_a_private_collection_is_as_an_absent_one(
    api: HfApi, stage: Stage, token: str | None
) -> None:
    hidden = slug_of(api, private=True)
    item = api.add_collection_item(hidden, "alice/one", "model").items[0].item_object_id
    before = api.get_collection(hidden)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    for route, body in ASKED.items():
        method, path = route.split(" ")
        told = [
            httpx2.request(
                method,
                f"{stage.url}/api/collections/{slug}{path.format(item=item)}",
                json=body,
                headers=headers,
            )
            for slug in (hidden, "alice/router-models-" + "0" * 24)
        ]
        assert [one.status_code for one in told] == [404, 404], route
        assert told[0].text == told[1].text
    assert api.get_collection(hidden) == before
