"""What was published goes into a collection, once, whatever is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.errors import InputError, NotFound, RefusalKind, Refused
from orchestrator.stores.hub_collections import HubCollections, is_collection_slug
from tests.manual_clock import ManualClock
from tests.stores.hub_stage import HubStage, hub_stage

TITLE = "Router models"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStage]:
    with hub_stage(tmp_path_factory.mktemp("collections")) as made:
        made.put("alice/adapter", {"a.txt": b"a"})
        made.put("alice/rows", {"a.txt": b"a"}, kind="dataset")
        yield made


@pytest.fixture
def stage(served: HubStage) -> HubStage:
    for one in list(served.api.list_collections(owner="alice", limit=100)):
        served.api.delete_collection(one.slug)
    served.lose.clear()
    served.fail.clear()
    served.requests.clear()
    return served


@pytest.fixture
def collections(stage: HubStage) -> HubCollections:
    return HubCollections(stage.url, "hf_alice", clock=ManualClock())


def items(stage: HubStage, slug: str) -> list[tuple[str, str, str | None]]:
    found = stage.api.get_collection(slug).items
    return [(item.item_type, item.item_id, item.note) for item in found]


def posts(stage: HubStage) -> list[str]:
    return [path for method, path in stage.requests if method == "POST"]


def test_a_collection_is_made_and_filled_and_then_left_alone(
    stage: HubStage, collections: HubCollections
) -> None:
    made = collections.put_by_title("alice", TITLE, "alice/adapter", note="the first")
    assert (made.created, made.added) == (True, True)
    assert made.url == f"{stage.url}/collections/{made.slug}"
    assert items(stage, made.slug) == [("model", "alice/adapter", "the first")]
    assert stage.api.get_collection(made.slug).private
    stage.requests.clear()
    again = collections.put_by_title("alice", TITLE, "alice/adapter", note="other", private=False)
    assert (again.slug, again.created, again.added) == (made.slug, False, False)
    assert posts(stage) == []
    assert items(stage, made.slug) == [("model", "alice/adapter", "the first")]


def test_a_collection_is_named_as_its_address_does(
    stage: HubStage, collections: HubCollections
) -> None:
    slug = stage.api.create_collection(TITLE, namespace="alice").slug
    assert is_collection_slug(slug)
    assert collections.put(slug, "alice/rows", kind="dataset").added
    assert not collections.put(slug, "alice/rows", kind="dataset").added
    # A model of the same name would be another thing.
    with pytest.raises(NotFound):
        collections.put(slug, "alice/rows")
    assert items(stage, slug) == [("dataset", "alice/rows", None)]


@pytest.mark.parametrize("path", ["/api/collections", "/items"])
def test_an_answer_that_is_lost_makes_nothing_twice(
    stage: HubStage, collections: HubCollections, path: str
) -> None:
    stage.lose.append(("POST", path))
    made = collections.put_by_title("alice", TITLE, "alice/adapter")
    assert stage.lose == []
    # What the lost request made is looked for, not asked for again.
    assert posts(stage).count("/api/collections") == 1
    found = list(stage.api.list_collections(owner="alice"))
    assert [one.slug for one in found] == [made.slug]
    assert items(stage, made.slug) == [("model", "alice/adapter", None)]


def test_one_beyond_the_first_page_is_found(stage: HubStage, collections: HubCollections) -> None:
    slugs = [stage.api.create_collection(f"t{n}", namespace="alice").slug for n in range(102)]
    # Those that changed last come first.
    assert collections.find("alice", "t0") == slugs[0]
    assert collections.find("alice", "t102") is None


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "alice/router",
        "alice/router-64f9",
        "router-64f9a55bb3115b4f513ec026",
        "a/b/c-" + "0" * 24,
    ],
)
def test_what_names_no_collection_is_refused_before_anything_is_sent(
    stage: HubStage, collections: HubCollections, slug: str
) -> None:
    with pytest.raises(InputError, match="is not the name of a collection") as caught:
        collections.put(slug, "alice/adapter")
    assert "/collections/" in caught.value.hint
    assert stage.requests == []


def test_texts_that_the_hub_would_not_take_are_refused_before_anything_is_sent(
    stage: HubStage, collections: HubCollections
) -> None:
    for title, note, description in (("", "", ""), ("x" * 61, "", ""), ("t", "", "x" * 151)):
        with pytest.raises(InputError):
            collections.put_by_title("alice", title, "r", note=note, description=description)
    with pytest.raises(InputError, match="500"):
        collections.put("alice/t-" + "0" * 24, "alice/adapter", note="x" * 501)
    assert stage.requests == []


def test_what_is_not_there_or_not_allowed_is_said(
    stage: HubStage, collections: HubCollections
) -> None:
    with pytest.raises(NotFound, match="there is no collection alice/t-"):
        collections.put("alice/t-" + "0" * 24, "alice/adapter")
    slug = stage.api.create_collection(TITLE, namespace="alice").slug
    with pytest.raises(NotFound, match="add alice/none"):
        collections.put(slug, "alice/none")
    stage.api.update_repo_settings("alice/adapter", private=False)
    stranger = HubCollections(stage.url, "hf_bob", clock=ManualClock())
    with pytest.raises(Refused, match="may not change the collection") as caught:
        stranger.put(slug, "alice/adapter")
    assert caught.value.kind is RefusalKind.PERMISSION
    assert items(stage, slug) == []
