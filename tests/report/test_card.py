"""What a model card says, and that the same facts give the same bytes."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from orchestrator.ledger import ADOPTED
from orchestrator.report.card import card_files, model_card
from orchestrator.services.base import Handle
from tests.plans import router_plan
from tests.report.card_runs import (
    VERTEX,
    CardRun,
    make_run,
    rows_of,
    section,
)

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CardRun:
    """A run of vertex whose adapter passed its check."""
    folder = tmp_path_factory.mktemp("vertex")
    return make_run(folder, router_plan(folder).plan, VERTEX)


def test_the_first_lines_say_what_it_is_of_which_model_and_under_which_licence(
    trained: CardRun,
) -> None:
    card = model_card(trained.view)
    plan = trained.facts.run.plan
    assert f"# {plan.name}\n" in card
    assert f"A LoRA adapter of rank {plan.hyperparameters.rank} of [meta-llama/" in card
    assert "tuned on Vertex AI as `meta/llama3_1@llama-3.1-8b-instruct`" in card
    assert f"The licence is the base model's ({plan.model.licence})" in card


def test_data_stand_with_their_digests(trained: CardRun) -> None:
    training = section(model_card(trained.view), "## Training")
    plan = trained.facts.run.plan
    assert plan.data.sha256 in training
    for split in plan.splits:
        assert [f"`{split.name}`", f"{split.rows:,}", f"{split.size_bytes:,}"] == next(
            row[:3] for row in rows_of(training) if split.sha256 in row[-1]
        )


def test_time_cost_and_jobs_are_told(trained: CardRun) -> None:
    found = dict(
        row for row in rows_of(section(model_card(trained.view), "## Training")) if len(row) == 2
    )
    assert found["time at the service"] == "754 s"
    assert found["jobs"] == "1 × tune"
    assert found["cost of all jobs"].startswith("about $")
    assert "not a bill" in found["cost of all jobs"]


def test_an_evaluation_that_cannot_be_read_is_said_to_be_so(trained: CardRun) -> None:
    card = model_card(trained.with_event("evaluated", {"scorer": "x"}).view)
    assert "whose record this one cannot read" in card
    assert "model-index" not in card


def test_a_rehearsal_says_so_and_offers_no_deployment(trained: CardRun) -> None:
    stand_in = {"name": "replay", "for": "meta-llama/Llama-3.1-8B-Instruct", "note": "canned."}
    checked = {"kind": "adapter", "rank": 16, "stand_in": stand_in}
    card = model_card(trained.with_event("adapter_checked", checked).evaluated().view)
    assert "**This is a rehearsal, not a usable model.** The stand-in `replay` took the" in card
    assert "fit its stand-in only" in card
    assert "How to deploy" not in card
    assert "- rehearsal\n" in card
    assert "(rehearsal)" in card
    assert "In a rehearsal the answers are the stand-in's, or made up." in card
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert commit not in model_card(
        trained.with_target(base_commit=commit).with_event("adapter_checked", checked).view
    )


def test_the_same_facts_give_the_same_bytes(trained: CardRun) -> None:
    run = trained.with_gates().evaluated()
    files = card_files(run.view)
    assert model_card(run.view, files) == model_card(run.view, card_files(run.view))
    assert files == card_files(run.view)


def test_pictures_lie_beside_the_card_and_are_shown_in_it(trained: CardRun) -> None:
    view = trained.evaluated().view
    files = card_files(view)
    assert sorted(files) == [
        "plots/accuracy.png",
        "plots/conditions.png",
        "plots/learning-rate.png",
        "plots/loss.png",
        "plots/slices-archetype.png",
    ]
    assert all(content.startswith(PNG) for content in files.values())
    card = model_card(view, files)
    assert all(card.count(f"]({name})") == 1 for name in files)
    assert "](plots/" not in model_card(view)


def test_without_pillow_the_card_has_its_tables(
    trained: CardRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = trained.evaluated().view
    with_pictures = model_card(view, card_files(view))
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert card_files(view) == {}
    pictures = [line for line in with_pictures.splitlines() if line.startswith("![")]
    for line in pictures:
        with_pictures = with_pictures.replace(f"{line}\n\n", "")
    assert model_card(view) == with_pictures


def test_an_adopted_model_is_said_to_be_trained_before(trained: CardRun) -> None:
    tune = trained.facts.tune
    assert tune is not None
    adopted = replace(tune, handle=Handle(ADOPTED, "/home/me/adapter"))
    card = model_card(replace(trained, facts=replace(trained.facts, attempts=(adopted,))).view)
    assert "trained before this run, which adopted it" in card
    assert "tuned on" not in card
    assert "| jobs | none of this run |" in card
    assert "cost of all jobs" not in card
