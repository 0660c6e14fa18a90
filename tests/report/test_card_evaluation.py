"""What a model card says of evaluation, gates, overrides and audits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.evaluation.comparison import compare
from orchestrator.evaluation.evidence import Alarm, GateVerdict
from orchestrator.evaluation.scores import MetricKind, Part, RowScores
from orchestrator.ledger import Artifact
from orchestrator.report.card import model_card
from tests.plans import router_plan
from tests.report.card_runs import (
    VERTEX,
    CardRun,
    full_evidence,
    make_run,
    rows_of,
    section,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CardRun:
    """A run of vertex whose adapter passed its check."""
    folder = tmp_path_factory.mktemp("vertex")
    return make_run(folder, router_plan(folder).plan, VERTEX)


def test_every_baseline_stands_beside_it_also_one_that_was_not_measured(trained: CardRun) -> None:
    card = model_card(trained.evaluated().view)
    rows = rows_of(section(card, "## Evaluation"))
    assert rows[0][0] == "answered by"
    names = [row[0] for row in rows[2:8]]
    assert names == [
        "**this model**",
        "what was published before",
        "base model, shown examples",
        "base model, untuned",
        "the commonest training answer",
        "the best constant answer",
    ]
    assert rows[3][1:] == ["–", "not measured", "not measured"]
    assert "Not measured beside it: published." in card


def test_where_nothing_was_published_before_the_card_says_so(trained: CardRun) -> None:
    rows = rows_of(section(model_card(trained.offered().evaluated().view), "## Evaluation"))
    assert rows[3][:3] == ["what was published before", "–", "nothing was there"]


def test_figures_have_intervals_and_counts(trained: CardRun) -> None:
    found = full_evidence()
    tuned = found.condition("tuned")
    assert tuned is not None
    value = tuned.metrics[0]
    card = model_card(trained.evaluated(found).view)
    first = rows_of(section(card, "## Evaluation"))[2]
    assert first[1:3] == ["40", f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"]
    fewer = replace(value, rows=7)
    changed = replace(tuned, metrics=(fewer, *tuned.metrics[1:]))
    found = replace(found, conditions=(changed, *found.conditions[1:]))
    card = model_card(trained.evaluated(found).view)
    assert rows_of(section(card, "## Evaluation"))[2][2].endswith("] of 7")


def test_slices_comparisons_and_answers_have_tables(trained: CardRun) -> None:
    card = model_card(trained.evaluated().view)
    slices = rows_of(section(card, "### `exact_tool_sequence` by slice"))
    assert slices[0][:4] == ["archetype", "rows", "this model", "base model, shown examples"]
    assert [row[0] for row in slices[2:]] == ["code-first", "four-step", "math-first", "one-step"]
    compared = rows_of(section(card, "### Compared row by row"))
    assert compared[2][:3] == ["`exact_tool_sequence`", "base model, untuned", "40"]
    assert rows_of(section(card, "### The answers themselves"))[2][0] == "this model"


def test_no_gates_and_no_evaluation_are_said_plainly(trained: CardRun) -> None:
    card = model_card(trained.view)
    assert "No gates were set (`gates: none`)." in card
    assert "not evaluated before it was published" in card
    assert "How good its answers are was not measured." in card
    card = model_card(trained.evaluated().view)
    assert "No gates were set (`gates: none`): it was published whatever its figures are." in card


def test_gates_show_what_was_wanted_what_was_reached_and_the_verdict(trained: CardRun) -> None:
    gates = (
        GateVerdict(
            "exact_tool_sequence",
            True,
            "0.8 is enough",
            min=0.7,
            value=0.8,
            low=0.7,
            high=0.9,
            rows=40,
        ),
        GateVerdict(
            "exact_tool_sequence",
            False,
            "p = 0.2",
            ("archetype", "four-step"),
            better_than="base",
            confidence=0.95,
            value=0.2,
            low=0.1,
            high=0.5,
            rows=10,
        ),
    )
    found = replace(full_evidence(), gates=gates, failed=("four-step",))
    card = model_card(trained.with_gates().evaluated(found).view)
    told = section(card, "## Gates")
    assert "1 of 2 gates passed." in told
    first, second = rows_of(told)[2:]
    assert first == [
        "`exact_tool_sequence`",
        "all rows",
        "at least 0.7",
        "0.800 [0.700, 0.900]",
        "passed",
        "0.8 is enough",
    ]
    assert second[1:3] == ["archetype: four-step", "better than base (confidence 0.95)"]
    assert second[4] == "**failed**"


def test_gates_that_were_not_judged_are_named(trained: CardRun) -> None:
    told = section(model_card(trained.with_gates().view), "## Gates")
    assert "Gates were set, and none was judged:" in told
    assert rows_of(told)[2] == ["`exact_tool_sequence`", "all rows"]


def test_an_override_shows_its_reason_and_no_name(trained: CardRun) -> None:
    held = trained.with_gates().evaluated()
    data = {"reason": "Mara Musterfrau wants it before the fair", "by": "Mara Musterfrau"}
    told = section(model_card(held.with_event("gates_overridden", data).view), "## Gates")
    assert "A person published it although it was held." in told
    assert "wants it before the fair" in told
    assert "Musterfrau" not in told
    assert "although it was held" not in model_card(held.view)


def test_alarms_are_told(trained: CardRun) -> None:
    found = replace(full_evidence(), alarms=(Alarm("alike", "30 of 40 answers are one"),))
    told = section(model_card(trained.evaluated(found).view), "## Gates")
    assert "- alarm `alike`: 30 of 40 answers are one" in told


def audit(who: str, *scores: int | None, name: str = "reviewer") -> dict[str, object]:
    lines = [{"key": f"k{n}", "score": score} for n, score in enumerate(scores)]
    return {name: who, "rubric": "answer-quality@1", "scores": lines}


def test_audits_are_counted_without_names_and_compared(trained: CardRun) -> None:
    run = (
        trained.evaluated()
        .with_event("audited", audit("anna@acme.example", 1, 1))
        .with_event("audited", audit("anna@acme.example", 5, 4, 0))
        .with_event("audited", audit("Bert Beispiel", 5, 3, 3))
        .with_event("judged", audit("Qwen/Qwen3-32B", 5, None, 9, name="model"))
    )
    card = model_card(run.view)
    rows = rows_of(section(card, "### Answers that were looked at"))
    assert rows[2] == ["reviewer 1", "`answer-quality@1`", "3", "3.00", *"100011"]
    assert rows[3][0] == "reviewer 2"
    assert rows[4] == [
        "judge model Qwen/Qwen3-32B",
        "`answer-quality@1`",
        "1",
        "5.00",
        *"000001",
    ]
    assert ["reviewer 1, reviewer 2", "3", "33%", "67%"] in [row[:4] for row in rows]
    assert "2 reviewers, 3 answers: mean " in card
    assert "Krippendorff's alpha (interval) " in card
    assert "scores two or more apart: 1 of 3." in card
    assert "anna" not in card
    assert "Beispiel" not in card
    assert "Nobody has looked at its answers" not in card


def test_audits_of_an_earlier_evaluation_are_not_told(trained: CardRun) -> None:
    run = trained.evaluated().with_event("audited", audit("anna", 5)).evaluated()
    assert "Answers that were looked at" not in model_card(run.view)


def test_the_card_says_who_answered_whatever_was_planned(trained: CardRun) -> None:
    def said(uri: str) -> str:
        answers = Artifact("answers", "tuned", uri, 1, "ab" * 32)
        asked = trained.evaluated().with_event("answers_given", {}).evaluated()
        facts = replace(asked.facts, artifacts=(*asked.facts.artifacts, answers))
        return section(model_card(replace(asked, facts=facts).view), "## Evaluation")

    assert "A job of Hugging Face Jobs loaded" in said("hf://me/candidates@ab/predictions.jsonl")
    assert "An endpoint that served the model answered." in said("asked:tuned")
    given = said("given:tuned")
    assert "The answers were given as a file." in given
    assert "Hugging Face Jobs" not in given


def test_p_values_are_called_what_they_are(trained: CardRun) -> None:
    before, after = (
        RowScores("a", {"m": Part(0, 1)}, {}, ()),
        RowScores("a", {"m": Part(1, 1)}, {}, ()),
    )
    found = compare(MetricKind("m", "", True), [before] * 1, [after] * 1, seed=1)
    assert found is not None
    assert found.p_value == 1.0  # one-sided it were a half
    card = model_card(trained.evaluated().view)
    assert "elsewhere; two-sided." in section(card, "### Compared row by row")


def test_figures_of_fewer_rows_say_of_how_many(trained: CardRun) -> None:
    found = full_evidence()
    place = next(n for n, one in enumerate(found.conditions) if one.name == "base")
    base = found.conditions[place]
    fewer = replace(base, metrics=(replace(base.metrics[0], rows=9), *base.metrics[1:]))
    conditions = (*found.conditions[:place], fewer, *found.conditions[place + 1 :])
    card = model_card(trained.evaluated(replace(found, conditions=conditions)).view)
    assert rows_of(section(card, "### All metrics"))[2][3].endswith("] of 9")
