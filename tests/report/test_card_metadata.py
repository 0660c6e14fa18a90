"""The metadata of a model card, judged by the Hub's own library and by the Hub of the sandbox."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from orchestrator.catalog import load_catalog
from orchestrator.hub_licences import HUB_LICENCES
from orchestrator.report.card import model_card
from orchestrator.sandbox.hub.cards import check_card
from tests.plans import jobs_plan, router_plan
from tests.report.card_runs import JOBS, VERTEX, CardRun, full_evidence, make_run
from tests.sandbox.hub.process import run
from tests.sandbox.hub.stage import Stage, served

VALIDATE = """
import sys
from huggingface_hub import ModelCard
for file in sys.argv[1:]:
    ModelCard.load(file).validate()
print("valid")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CardRun:
    folder = tmp_path_factory.mktemp("vertex")
    return make_run(folder, router_plan(folder).plan, VERTEX)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with served() as stage:
        yield stage


def data_of(card: str) -> ModelCardData:
    """The metadata as the Hub's library reads it."""
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    return data


def metadata(card: str, folder: Path) -> dict[str, Any]:
    file = folder / "README.md"
    file.write_text(card, encoding="utf-8", newline="\n")
    found = metadata_load(file)
    assert found is not None
    return found


def test_an_adapter_names_its_base_model_library_licence_and_tags(
    trained: CardRun, tmp_path: Path
) -> None:
    found = metadata(model_card(trained.view), tmp_path)
    assert found == {
        "base_model": "meta-llama/Llama-3.1-8B-Instruct",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "license": "llama3.1",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "router", "function-calling"],
        "inference": False,
    }


def test_a_whole_model_is_a_finetune(tmp_path: Path) -> None:
    whole = {"kind": "merged", "rank": None, "stand_in": None}
    made = make_run(tmp_path, jobs_plan(tmp_path).plan, JOBS, whole)
    found = metadata(model_card(made.view), tmp_path)
    assert found["base_model_relation"] == "finetune"
    assert found["library_name"] == "transformers"
    assert "lora" not in found["tags"]


def test_the_results_are_read_back_as_they_were_evaluated(trained: CardRun) -> None:
    evaluated = full_evidence()
    data = data_of(model_card(trained.evaluated(evaluated).view))
    tuned = evaluated.condition("tuned")
    assert tuned is not None
    assert data.model_name == trained.facts.run.plan.name
    assert data.eval_results is not None
    assert [(one.metric_type, one.metric_value) for one in data.eval_results] == [
        (one.name, round(one.value, 6)) for one in tuned.metrics
    ]
    first = data.eval_results[0]
    assert first.task_type == "text-generation"
    assert first.dataset_name == f"{trained.facts.run.plan.name}, test rows"
    assert first.dataset_split == "test"
    assert first.metric_args is not None
    assert first.metric_args["rows"] == 40
    assert first.metric_args["interval_95"] == [
        round(tuned.metrics[0].low, 6),
        round(tuned.metrics[0].high, 6),
    ]
    assert first.verified is False


def test_the_index_survives_the_library_both_ways(trained: CardRun, tmp_path: Path) -> None:
    index = metadata(model_card(trained.evaluated().view), tmp_path)["model-index"]
    name, results = model_index_to_eval_results(index)
    assert eval_results_to_model_index(name, results) == index


def test_figures_that_are_no_numbers_and_figures_by_tool_are_left_out(
    trained: CardRun, tmp_path: Path
) -> None:
    found = full_evidence()
    tuned = found.condition("tuned")
    assert tuned is not None
    first, second = tuned.metrics
    odd = (
        replace(first, value=math.nan),
        replace(second, low=-math.inf),
        replace(second, name="tool_recall[/math]"),
    )
    changed = replace(found, conditions=(replace(tuned, metrics=odd), *found.conditions[1:]))
    index = metadata(model_card(trained.evaluated(changed).view), tmp_path)["model-index"]
    (only,) = index[0]["results"][0]["metrics"]
    assert only["type"] == "tool_recall"
    assert only["args"] == {"rows": 40}


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("apache-2.0", {"license": "apache-2.0"}),
        (
            "Falcon LLM: v2 <b>",
            {
                "license": "other",
                "license_name": "falcon-llm-v2-b",
                "license_link": "https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct",
            },
        ),
        ("other", {"license": "other", "license_name": "other"}),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_named_and_linked(
    trained: CardRun, tmp_path: Path, licence: str, expected: dict[str, str]
) -> None:
    card = model_card(trained.with_plan(model={"licence": licence}).view)
    found = metadata(card, tmp_path)
    assert {name: found.get(name) for name in expected} == expected
    assert check_card(card) == ([], [])


def test_the_known_licences_are_those_of_the_hub() -> None:
    if "ORCHESTRATOR_DATA" not in os.environ:
        pytest.skip("ORCHESTRATOR_DATA does not say where the outside data is")
    file = Path(os.environ["ORCHESTRATOR_DATA"]) / "hub-openapi" / "openapi.json"
    assert set(_licences(json.loads(file.read_text(encoding="utf-8")))) == HUB_LICENCES


def _licences(value: Any) -> list[str]:
    """The values that the Hub's description gives for a licence."""
    if isinstance(value, dict):
        found = value.get("license")
        if isinstance(found, dict) and "apache-2.0" in found.get("enum", ()):
            return [str(one) for one in found["enum"]]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for one in inner if (found := _licences(one))), [])


def test_every_base_model_of_the_catalog_has_a_licence_that_the_hub_takes(
    trained: CardRun,
) -> None:
    for model in load_catalog().models.values():
        card = model_card(trained.with_plan(model=model.model_dump()).view)
        assert check_card(card) == ([], [])


def test_the_hub_takes_the_cards(stage: Stage, trained: CardRun, tmp_path: Path) -> None:
    stage.open(tmp_path / "hub")
    views = [
        trained.view,
        trained.evaluated().view,
        trained.with_plan(model={"licence": "mine"}).with_gates().evaluated().view,
    ]
    files = []
    for number, view in enumerate(views):
        files.append(tmp_path / f"card-{number}.md")
        files[-1].write_text(model_card(view), encoding="utf-8", newline="\n")
    said = run(stage, tmp_path, sys.executable, "-c", VALIDATE, *map(str, files))
    assert said.strip() == "valid"
    assert len([path for _, path in stage.requests if path == "/api/validate-yaml"]) == len(views)
