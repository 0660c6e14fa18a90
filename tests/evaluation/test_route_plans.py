"""What route plans are worth: each error moves the metrics that it should, and no other."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.data_files import data_folder
from orchestrator.evaluation.route_plans import RoutePlanScorer, constant_answer
from orchestrator.evaluation.scores import Answered, Scorer, by_slice, metric_of, metrics_of
from tests.evaluation.route_plan_rows import (
    FOUR_STEPS,
    OFFERED,
    THREE_STEPS,
    Change,
    Document,
    add,
    changed,
    drop,
    moved,
    perfect,
    plan,
    replace,
    row,
    swap,
    text,
    values,
)

EXACT = {"exact_tool_sequence", "exact_plan"}
LENGTH = {"length_ratio"}
PLAN = {*("tool_recall", "tool_precision", "tool_recall_set", "tool_precision_set")} | EXACT
PLAN |= {"order", "argument_similarity"}
RECALLS = {f"tool_recall[{tool}]" for tool in OFFERED}
COVERAGE = {"todo_coverage", "handoff_coverage"}
UNREADABLE = {"json_validity", "schema_validity"} | PLAN | RECALLS | COVERAGE | LENGTH


def own_rows() -> list[Answered]:
    plans = [plan(), plan(THREE_STEPS, "intermediate"), plan(THREE_STEPS[:1], "introductory")]
    return [row(text(one, "First the theory."), None, str(key)) for key, one in enumerate(plans)]


def outside_rows() -> list[Answered]:
    folder = os.environ.get("ORCHESTRATOR_DATA")
    if folder is None:
        pytest.skip("ORCHESTRATOR_DATA is not set: the outside route plans are not at hand")
    lines = (Path(folder) / "route-plan" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    plans = [json.loads(line)["completion"] for line in lines]
    return [row(one, None, str(number)) for number, one in enumerate(plans)]


def sample_rows() -> list[Answered]:
    lines = (data_folder("jobs") / "router" / "sample.jsonl").read_text(encoding="utf-8")
    plans = [json.loads(line)["completion"] for line in lines.splitlines()]
    return [row(one, None, str(number)) for number, one in enumerate(plans)]


# ------------------------------------------------------------------------------ right answers


@pytest.mark.parametrize(
    ("rows", "uncounted"),
    [
        (own_rows, set()),
        (sample_rows, {"think_kept", "todo_coverage"}),  # no todo list there names a tool
        (outside_rows, {"think_kept"}),
    ],
)
def test_rows_scored_against_themselves_are_perfect_in_every_metric(
    rows: Callable[[], list[Answered]], uncounted: set[str]
) -> None:
    given = rows()
    scorer: Scorer = (made := RoutePlanScorer.of(given))
    scores = [scorer.score(one) for one in perfect(given)]
    found = {m.name: m.value for m in metrics_of(scorer, scores)}
    assert {kind.name for kind in scorer.metrics} - found.keys() == uncounted
    assert found.pop("hallucinated_tools") == 0
    assert {*found.values()} == {1}
    assert [one.causes for one in scores] == [()] * len(given)
    assert made.offered == OFFERED


@pytest.mark.parametrize(
    "form",
    [
        lambda said: f"\n {said} \n",
        lambda said: f"{said}<|im_end|>\n<|endoftext|>",
        lambda said: f"<think>\n\n</think>\n\n{said}",
        lambda said: f"<think>Why not {{}}?</think>{said}<end_of_turn>",
    ],
)
def test_thinking_and_marks_of_the_end_are_no_part_of_the_plan(
    form: Callable[[str], str],
) -> None:
    found = values([row(text(plan()), form(text(plan())))])
    assert found.pop("hallucinated_tools") == 0
    assert {*found.values()} == {1}


# ---------------------------------------------------------------------------- planted errors


@pytest.mark.parametrize(
    ("change", "metrics"),
    [
        (drop("/code"), {"tool_recall", "tool_recall_set", "tool_recall[/code]"} | EXACT | LENGTH),
        (drop("/math"), {"tool_recall", "tool_recall[/math]"} | EXACT | LENGTH),
        (
            add("/browse(a page)"),
            {"hallucinated_tools", "tool_precision", "tool_precision_set"} | EXACT | LENGTH,
        ),
        (add("/code(more)"), {"tool_precision", "tool_precision[/code]"} | EXACT | LENGTH),
        (swap, {"order"} | EXACT),
        (replace("route_plan", "plot", "draw"), {"exact_plan", "argument_similarity"}),
        (
            replace("route_plan", "/code(", "/math("),
            {"tool_recall", "tool_recall_set", "tool_recall[/code]"}
            | {"tool_precision", "tool_precision[/math]"}
            | EXACT,
        ),
        (replace("todo_list", "/code", "coder"), {"todo_coverage"}),
        (replace("handoff_plan", "/code", "coder"), {"handoff_coverage"}),
        (replace("handoff_plan", "/code", "/code-and-more"), {"handoff_coverage"} | LENGTH),
        (lambda document: document.pop("metrics"), {"schema_validity"} | LENGTH),
        (lambda document: document.update(difficulty="unknown!"), {"schema_validity"}),
        (lambda document: document.update(more=1), {"schema_validity"} | LENGTH),
        (lambda document: document.update(tags=["estimations"]), LENGTH),
    ],
)
def test_a_planted_error_moves_exactly_its_metrics(change: Change, metrics: set[str]) -> None:
    answer = text(changed(plan(), change), "First the theory.")
    assert moved(own_rows(), answer) == metrics


@pytest.mark.parametrize(
    ("answer", "metrics"),
    [
        (None, UNREADABLE | {"think_kept"}),
        ("", UNREADABLE | {"think_kept"}),
        ("<end_of_turn>", UNREADABLE | {"think_kept"}),
        (f"<think>\n{text(plan())}", UNREADABLE | {"think_kept"}),
        (text(plan()), {"think_kept"}),
        (f"<think> \n</think>{text(plan())}", {"think_kept"}),
        (f"<think>So.</think>{text(plan())[:-1]}", UNREADABLE),
        (f"<think>So.</think>```json\n{text(plan())}\n```", UNREADABLE),
        (f"<think>So.</think>Here it is: {text(plan())}", UNREADABLE),
        (f"<think>So.</think>{text(plan())} Good luck!", UNREADABLE),
        (f"<think>So.</think>[{text(plan())}]", UNREADABLE - {"json_validity"}),
        (f"<think>So.</think>{json.dumps(plan(), indent=1)}", LENGTH),
    ],
)
def test_an_answer_in_another_form_moves_exactly_its_metrics(
    answer: str | None, metrics: set[str]
) -> None:
    assert moved(own_rows(), answer) == metrics


def test_planted_errors_move_the_same_metrics_among_the_outside_rows() -> None:
    rows = outside_rows()
    document: Document = json.loads(rows[0].expected)
    assert [step.partition("(")[0] for step in document["route_plan"]] == [
        step.partition("(")[0] for step in FOUR_STEPS
    ]
    for change, metrics in (
        (drop("/code"), {"tool_recall", "tool_recall_set", "tool_recall[/code]"} | EXACT | LENGTH),
        (
            add("/browse(a page)"),
            {"hallucinated_tools", "tool_precision", "tool_precision_set"} | EXACT | LENGTH,
        ),
        (swap, {"order"} | EXACT),
    ):
        answer = json.dumps(changed(document, change))
        assert moved(rows, answer) == metrics


def test_what_errors_cost_is_what_the_definitions_say() -> None:
    def scored(change: Change) -> dict[str, float]:
        return values([row(text(plan()), text(changed(plan(), change)))])

    dropped = scored(drop("/math"))
    assert (dropped["tool_recall"], dropped["tool_recall_set"]) == (0.75, 1)
    assert (dropped["tool_recall[/math]"], dropped["tool_precision[/math]"]) == (0.5, 1)
    added = scored(add("/browse(a page)"))
    assert (added["hallucinated_tools"], added["tool_precision"]) == (0.2, 0.8)
    assert added["tool_precision_set"] == 0.75
    assert scored(swap)["order"] == 0.75
    # Of the four arguments one has seven words on either side, six of them shared.
    assert scored(replace("route_plan", "plot", "draw"))["argument_similarity"] == pytest.approx(
        (3 + 6 / 7) / 4
    )
    assert scored(replace("todo_list", "/code", "coder"))["todo_coverage"] == pytest.approx(2 / 3)


def test_a_step_that_is_no_text_is_given_but_right_in_nothing() -> None:
    answer = text(changed(plan(), lambda d: d.update(route_plan=[*FOUR_STEPS, {"tool": "/code"}])))
    found = values([row(text(plan()), answer)])
    assert found["tool_precision"] == 0.8
    assert found["hallucinated_tools"] == 0.2
    assert found["exact_plan"] == found["exact_tool_sequence"] == 0
    assert found["tool_recall"] == 1


# -------------------------------------------------------------------------------------- slices


def test_rows_are_grouped_by_the_kind_of_plan_and_by_difficulty() -> None:
    scorer = RoutePlanScorer(OFFERED)
    scores = [scorer.score(one) for one in own_rows()]
    assert [dict(one.slices) for one in scores] == [
        {"archetype": "four-step", "difficulty": "advanced"},
        {"archetype": "math-first", "difficulty": "intermediate"},
        {"archetype": "one-step", "difficulty": "introductory"},
    ]


def test_what_the_data_says_of_a_row_counts_more_than_its_plan() -> None:
    given = row(text(plan()), None, difficulty="introductory", source="exam")
    assert RoutePlanScorer(OFFERED).score(given).slices == {
        "archetype": "four-step",
        "difficulty": "introductory",
        "source": "exam",
    }


def test_metrics_of_a_slice_are_those_of_its_rows() -> None:
    rows = own_rows()
    rows[1] = row(rows[1].expected, None, "1")
    scorer = RoutePlanScorer(OFFERED)
    slices = by_slice([scorer.score(one) for one in [*perfect(rows[:1]), *rows[1:2]]])
    recall = next(kind for kind in scorer.metrics if kind.name == "tool_recall[/math]")
    found = {name: metric_of(recall, members) for name, members in slices.items()}
    assert {name: (m.value, m.rows) for name, m in found.items() if m is not None} == {
        ("archetype", "four-step"): (1, 1),
        ("archetype", "math-first"): (0, 1),
        ("difficulty", "advanced"): (1, 1),
        ("difficulty", "intermediate"): (0, 1),
    }


def test_the_outside_rows_are_four_step_and_math_first() -> None:
    rows = outside_rows()
    scorer = RoutePlanScorer.of(rows)
    slices = by_slice([scorer.score(one) for one in rows])
    assert {name: len(members) for name, members in slices.items()} == {
        ("archetype", "four-step"): 187,
        ("archetype", "math-first"): 135,
        ("difficulty", "advanced"): 240,
        ("difficulty", "intermediate"): 43,
        ("difficulty", "introductory"): 39,
    }


# ------------------------------------------------------------------------------------ baselines


def test_the_constant_answer_has_the_commonest_tools_whatever_the_order_of_rows() -> None:
    other = plan([step.replace("residuals", "errors") for step in FOUR_STEPS])
    rows = [row(text(one), None, "k") for one in (plan(THREE_STEPS), other, plan())]
    assert constant_answer(rows) == constant_answer(rows[::-1]) == min(text(other), text(plan()))
    with pytest.raises(ValueError, match="no rows"):
        constant_answer([])


def test_the_constant_answer_scores_on_the_outside_rows_what_is_known_of_it() -> None:
    rows = outside_rows()
    answer = constant_answer(rows)
    tools = [step.partition("(")[0] for step in json.loads(answer)["route_plan"]]
    assert tools == ["/general-search", "/math", "/code", "/math"]
    found = values([row(one.expected, answer, one.key) for one in rows])
    shown = {name: round(100 * value, 1) for name, value in found.items()}
    assert (shown["tool_recall_set"], shown["tool_precision_set"]) == (100, 99.4)
    assert shown["exact_tool_sequence"] == 56.8
    assert (shown["tool_recall"], shown["tool_precision"]) == (99.8, 89.0)
    assert found["exact_plan"] == 1 / 322
    assert found["json_validity"] == found["schema_validity"] == 1
    assert found["hallucinated_tools"] == 0


def test_the_names_of_metrics_are_there_once_and_each_is_one_sentence() -> None:
    kinds = RoutePlanScorer(("/math", "/code", "/math")).metrics
    names = Counter(kind.name for kind in kinds)
    assert {*names.values()} == {1}
    assert {"tool_recall[/math]", "tool_precision[/code]", "json_validity"} <= names.keys()
    assert all(kind.meaning.endswith(".") and ". " not in kind.meaning for kind in kinds)
    lower = [kind.name for kind in kinds if not kind.higher_is_better]
    assert lower == ["hallucinated_tools"]
