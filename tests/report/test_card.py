"""What a model card says, and that the same facts give the same bytes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.ledger import ADOPTED
from orchestrator.report.card import card_files, model_card
from orchestrator.services.base import AttemptState, Handle
from tests.plans import jobs_plan, router_plan
from tests.report.card_runs import (
    JOBS,
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
    assert found["time of the training at the service"] == "754 s"
    assert found["time of all jobs at the service"] == "754 s"
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
    files, again = card_files(run.view), card_files(run.view)
    assert files == again
    assert model_card(run.view, files) == model_card(run.view, again)


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
    assert "](plots/loss.png) Loss\n" in card
    assert "](plots/" not in model_card(view)


def test_without_pillow_the_card_has_its_tables(
    trained: CardRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = trained.evaluated().view
    with_pictures = model_card(view, ("plots/conditions.png", "plots/loss.png"))
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
    facts = replace(trained.evaluated().facts, attempts=(adopted,))
    card = model_card(replace(trained, facts=facts).view)
    assert "trained before this run, which adopted it" in card
    assert "tuned on" not in card
    # Nobody here saw what it was trained on.
    assert "it was trained on none of them" not in card
    assert "One training with one seed" not in card
    assert "on which rows, is not known" in card
    assert "| jobs | none of this run |" in card
    assert "cost of all jobs" not in card


def values_of(run: CardRun) -> dict[str, str]:
    """What stands in the table on the training."""
    table = rows_of(section(model_card(run.view), "## Training"))
    return dict(row for row in table if len(row) == 2)


def test_the_time_of_a_training_that_went_on_in_a_second_job_is_that_of_both(
    trained: CardRun,
) -> None:
    tune = trained.facts.tune
    assert tune is not None
    assert tune.snapshot is not None
    first = replace(tune, snapshot=replace(tune.snapshot, state=AttemptState.FAILED))
    second = replace(tune, id="second", ordinal=2)
    facts = replace(trained.facts, attempts=(first, second))
    assert replace(trained, facts=facts).view.training_seconds == 2 * 754
    told = values_of(replace(trained, facts=facts))
    assert told["time of the training at the service"] == "1,508 s"
    assert told["jobs"] == "2 × tune"
    goes_on = replace(second, snapshot=None)
    facts = replace(trained.facts, attempts=(first, goes_on))
    assert replace(trained, facts=facts).view.training_seconds is None


def test_what_trained_is_named_where_the_job_told(tmp_path: Path) -> None:
    made = make_run(tmp_path, jobs_plan(tmp_path, adapter=True).plan, JOBS)
    assert "libraries" not in values_of(made)
    told = {"datasets": "5.2.0", "torch": "2.13.0+cu130"}
    made = made.with_event("collected", {"summary": {}, "libraries": told})
    # The word stands in the address of the repo of rows too, which is masked.
    assert values_of(made)["libraries"] == "datasets 5.2.0, torch 2.13.0+cu130"


def test_a_training_that_ended_by_itself_does_not_claim_all_its_epochs(tmp_path: Path) -> None:
    made = make_run(tmp_path, jobs_plan(tmp_path, adapter=True).plan, JOBS)
    recipe = made.facts.run.plan.recipe
    assert recipe is not None
    epochs = made.facts.run.plan.hyperparameters.epochs
    patient = made.with_plan(recipe=recipe.model_copy(update={"plateau_patience": 2}))
    early = tuple(one for one in made.metrics if (one.epoch or 0) <= epochs / 2)
    assert values_of(made)["epochs"] == f"{epochs}"
    assert values_of(replace(patient, metrics=early))["epochs"].startswith(
        f"{epochs} at most; it ended at "
    )
