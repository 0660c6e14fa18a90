"""What the Hub face says of a card before it is committed, and refuses when it is."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, HfApi, ModelCardData

from orchestrator.hub_licences import HUB_LICENCES
from orchestrator.sandbox.hub.cards import check_card
from tests.sandbox.hub.stage import Stage, put

RESULT: dict[str, Any] = {
    "task": {"type": "text-generation"},
    "dataset": {"type": "support-router", "name": "Support router"},
    "metrics": [{"type": "accuracy", "value": 0.9}],
}


@pytest.fixture
def api(one: HfApi) -> HfApi:
    return one


def card(metadata: dict[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(metadata)}---\n# Card\n"


def errors_of(**metadata: Any) -> list[str]:
    errors, _ = check_card(card(metadata))
    return errors


def index(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "router", "results": [RESULT | changes]}]


def test_a_card_that_the_client_makes_is_accepted(api: HfApi, stage: Stage) -> None:
    data = ModelCardData(
        base_model="google/gemma-3-270m",
        datasets=["alice/rows"],
        language=["en", "nds"],
        library_name="peft",
        license="apache-2.0",
        model_name="router",
        pipeline_tag="text-generation",
        tags=["router"],
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_type="support-router",
                dataset_name="Support router",
                metric_type="accuracy",
                metric_value=0.9,
            )
        ],
    )
    content = f"---\n{data.to_yaml()}\n---\n# Card\n"
    put(api, "alice/one", {"README.md": content.encode()})
    info = api.model_info("alice/one")
    assert info.model_index is not None
    assert info.card_data is not None
    (result,) = info.card_data.eval_results or []
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.9)
    assert info.tags is not None
    assert {"peft", "router", "en", "dataset:alice/rows", "license:apache-2.0"} <= set(info.tags)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"license": "mine"}, '"license" must be one of [afl-3.0, '),
        ({"license": 3}, '"license" must be one of ['),
        ({"licenses": ["mit"]}, '"licenses" is not allowed'),
        ({"languages": ["en"]}, '"languages" is not allowed'),
        ({"language": "english"}, '"language" with value "english" is not valid. It must be an'),
        ({"language": ["en", "en-US"]}, '"language[1]" with value "en-US" is not valid'),
        ({"language": [False]}, '"language[0]" with value "False" is not valid'),
        ({"tags": "router"}, '"tags" must be an array'),
        ({"tags": [1]}, '"tags" must be an array of strings'),
        ({"base_model": "/models/base"}, '"base_model" with value "/models/base" is not valid. '),
        (
            {"datasets": ["rows", "/data/rows.jsonl"]},
            '"datasets[1]" with value "/data/rows.jsonl" is not valid. If possible, use a dataset',
        ),
        ({"pipeline_tag": ["a"]}, '"pipeline_tag" must be a string'),
        ({"task_categories": "a"}, '"task_categories" must be an array'),
        ({"model-index": {}}, '"model-index" must be an array'),
        ({"model-index": [{"results": []}]}, '"model-index[0].name" is not allowed to be empty'),
        ({"model-index": [{"name": "x"}]}, '"model-index[0].results" is required'),
        ({"model-index": index(task={})}, '"model-index[0].results[0].task.type" is required'),
        (
            {"model-index": index(dataset={"type": "a"})},
            '"model-index[0].results[0].dataset.name" is required',
        ),
        (
            {"model-index": index(dataset={"type": "a", "name": "a", "config": None})},
            '"model-index[0].results[0].dataset.config" must be a string',
        ),
        ({"model-index": index(metrics=None)}, '"model-index[0].results[0].metrics" is required'),
        (
            {"model-index": index(metrics=[{"type": "accuracy"}])},
            '"model-index[0].results[0].metrics[0].value" is required',
        ),
        ({"model-index": [{"name": "x", "results": [1]}]}, "must be of type object"),
    ],
)
def test_a_mistake_in_a_card_is_named_with_its_place(metadata: dict[str, Any], said: str) -> None:
    assert any(said in error for error in errors_of(**metadata)), errors_of(**metadata)


@pytest.mark.parametrize("licence", sorted(HUB_LICENCES))
def test_every_licence_of_the_hub_is_known(licence: str) -> None:
    assert errors_of(license=licence) == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"license": ["mit", "apache-2.0"]},
        {"language": "code"},
        {"language": ["multilingual", "zh", "yue"]},
        {"base_model": ["a/b", "gpt2"]},
        {"model-index": index(dataset=None)},
        {"model-index": [{"name": "x", "results": []}]},
        {"my_own_field": {"nested": [1]}},
    ],
)
def test_what_the_hub_takes_has_no_errors(metadata: dict[str, Any]) -> None:
    assert errors_of(**metadata) == []


def test_a_card_without_metadata_is_taken_with_a_warning(api: HfApi) -> None:
    with pytest.warns(UserWarning, match="empty or missing yaml metadata in repo card"):
        put(api, "alice/one", {"README.md": b"# Card\n"})
    assert api.model_info("alice/one").card_data is None


def test_a_bad_card_is_refused_before_the_commit(api: HfApi, stage: Stage) -> None:
    bad = card({"license": "mine"})
    with pytest.raises(ValueError, match='"license" must be one of'):
        put(api, "alice/one", {"README.md": bad.encode()})
    assert ("POST", "/api/models/alice/one/commit/main") not in stage.requests
    assert api.list_repo_files("alice/one") == [".gitattributes"]
