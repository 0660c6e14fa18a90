"""A Hub without datasets, to which the settings lead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.hub_stage import HubStage, hub_stage


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStage]:
    with hub_stage(tmp_path_factory.mktemp("data")) as made:
        yield made


@pytest.fixture
def stage(served: HubStage, monkeypatch: pytest.MonkeyPatch) -> HubStage:
    """A Hub without datasets, to which the settings lead."""
    for one in list(served.api.list_datasets(author="alice")):
        served.api.delete_repo(one.id, repo_type="dataset")
    for faults in (served.lose, served.before, served.fail, served.requests):
        faults.clear()
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    return served
