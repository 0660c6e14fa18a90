"""How a model card says that the model is loaded and served, and where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.ledger import Event
from orchestrator.report.card import model_card, run_tag
from orchestrator.services.base import AttemptKind
from orchestrator.spec import ExportBlock
from tests.manual_clock import START
from tests.plans import jobs_plan, router_plan
from tests.report.card_runs import (
    CANDIDATE,
    JOBS,
    REPO,
    VERTEX,
    CardRun,
    make_run,
    rows_of,
    section,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CardRun:
    """A run of vertex whose adapter passed its check."""
    folder = tmp_path_factory.mktemp("vertex")
    return make_run(folder, router_plan(folder).plan, VERTEX)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> CardRun:
    """A run of hf-jobs that trained all weights."""
    folder = tmp_path_factory.mktemp("jobs")
    whole = {"kind": "merged", "rank": None, "stand_in": None}
    return make_run(folder, jobs_plan(folder).plan, JOBS, whole)


def test_an_adapter_is_served_beside_its_base_model(trained: CardRun) -> None:
    told = section(model_card(trained.view), "## How to deploy it")
    name = trained.facts.run.plan.name
    assert (
        "vllm serve meta-llama/Llama-3.1-8B-Instruct --enable-lora --max-lora-rank 16 \\\n"
        f"    --lora-modules {name}=./adapter"
    ) in told
    assert f"hf download {REPO} --revision {run_tag(trained.facts.run.id)}" in told
    assert "ADAPTER ./adapter" in told
    assert "merge_and_unload" in told
    assert "model_garden.CustomModel(gcs_uri=FOLDER)" in told
    assert "none of it was tried" in told


@pytest.mark.parametrize(
    ("rank", "flag"), [(1, "rank 8 "), (17, "rank 32 "), (256, "rank 256 "), (600, None)]
)
def test_vllm_is_told_a_rank_that_it_has(trained: CardRun, rank: int, flag: str | None) -> None:
    run = trained.with_event("adapter_checked", {"kind": "adapter", "rank": rank})
    told = section(model_card(run.view), "## How to deploy it")
    assert (f"--max-lora-{flag}" in told) if flag else ("takes adapters up to rank 512" in told)


@pytest.mark.parametrize(
    ("base", "listed"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", True),
        ("google/gemma-2-9b-it", True),
        ("mistralai/Mistral-7B-v0.1", True),
        ("google/gemma-3-27b-it", False),
        ("meta-llama/Llama-3.3-70B-Instruct", False),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", False),
        ("Qwen/Qwen3-32B", False),
    ],
)
def test_ollama_gets_adapters_only_of_the_models_that_it_lists(
    trained: CardRun, base: str, *, listed: bool
) -> None:
    card = model_card(trained.with_plan(model={"hub_id": base}).view)
    assert ("ADAPTER ./adapter" in card) is listed
    assert ("does not list this base model" in card) is not listed


def test_ollama_gets_no_adapter_of_a_quantized_training(tmp_path: Path) -> None:
    made = make_run(tmp_path, jobs_plan(tmp_path, adapter=True).plan, JOBS)
    recipe = made.facts.run.plan.recipe
    assert recipe is not None
    made = made.with_plan(model={"hub_id": "meta-llama/Llama-3.1-8B-Instruct"})
    assert "ADAPTER ./adapter" in model_card(made.view)
    quantized = made.with_plan(recipe=recipe.model_copy(update={"quantization": "4bit"}))
    assert "ADAPTER ./adapter" not in model_card(quantized.view)


def test_a_whole_model_is_loaded_and_served_as_one(jobs: CardRun) -> None:
    card = model_card(jobs.view)
    assert "A full fine-tuning of [google/functiongemma-270m-it]" in card
    assert f"vllm serve {REPO} --revision" in card
    assert "lora" not in card.lower()
    assert "tuned on Hugging Face Jobs" in card
    assert "| batch | 4 rows × " in card


def test_the_code_names_the_commit_of_the_base_model_where_it_is_known(jobs: CardRun) -> None:
    card = model_card(jobs.view)
    assert f'from_pretrained("google/functiongemma-270m-it", revision="{JOBS.base_commit}")' in card
    assert f"| commit of the base model | `{JOBS.base_commit}` |" in card
    odd = model_card(jobs.with_target(base_commit='main"); import os; ("').view)
    assert "import os" not in odd


def test_tools_are_to_be_given_where_the_rows_declare_them(jobs: CardRun, trained: CardRun) -> None:
    assert "give the declarations as `tools=`" in model_card(jobs.view)
    assert "`tools=`" not in model_card(trained.view)


def test_provenance_names_run_plan_candidate_and_weights(trained: CardRun) -> None:
    told = rows_of(section(model_card(trained.offered().evaluated().view), "## Provenance"))
    assert ["run", f"`{trained.facts.run.id}`"] in told
    assert ["plan", f"`{trained.facts.run.plan.digest}`"] in told
    assert ["commit of the private candidate that was evaluated", f"`{CANDIDATE}`"] in told
    assert ["`adapter_model.safetensors`", "4,096", f"`{'ab' * 32}`"] in told


def test_an_export_that_was_made_is_mentioned_and_said_not_to_be_there(jobs: CardRun) -> None:
    tune = jobs.facts.tune
    assert tune is not None
    made = replace(tune, id="export-1", kind=AttemptKind.EXPORT)
    run = jobs.with_plan(spec={"export": ExportBlock(format="litertlm")})
    run = replace(run, facts=replace(run.facts, attempts=(tune, made)))
    assert "which is not part of this repo" not in model_card(run.view)
    event = Event("produced", START, {}, "export-1")
    run = replace(run, facts=replace(run.facts, events=(*run.facts.events, event)))
    assert "The run also made a LiteRT-LM file, which is not part of this repo." in model_card(
        run.view
    )
