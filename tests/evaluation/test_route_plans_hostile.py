"""Whatever a model says, route plans are scored, and the scores keep what they promise."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.evaluation.route_plans import RoutePlanScorer
from orchestrator.evaluation.scores import Answered, RowScores, metric_of
from tests.evaluation.route_plan_rows import OFFERED, Document, plan, row, text, values

MEGABYTE = 1_000_000
WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def plans(draw: st.DrawFn) -> str:
    """Answers that follow the schema, with thinking or without."""
    tools = st.sampled_from(OFFERED)
    steps = draw(st.lists(st.builds("{}({})".format, tools, WORDS), min_size=1, max_size=5))
    document = plan(steps, draw(st.sampled_from(("introductory", "intermediate", "advanced"))))
    named = st.lists(st.sampled_from([*OFFERED, "nobody"]), min_size=1, max_size=4)
    document["todo_list"] = draw(named)
    document["handoff_plan"] = " -> ".join(draw(named))
    return text(document, draw(st.sampled_from(("", "Let me see."))))


@st.composite
def answers(draw: st.DrawFn) -> str | None:
    """Right answers, other answers, damaged ones, and what is none."""
    whole = draw(plans())
    document: Document = json.loads(whole.rpartition("</think>")[2])
    document[draw(st.sampled_from([*document]))] = draw(VALUES)
    cut = draw(st.integers(0, len(whole)))
    return draw(
        st.sampled_from((None, whole, whole[:cut], whole[:cut] + draw(WORDS) + whole[cut:]))
        | st.just(json.dumps(document))
        | st.text(max_size=30)
    )


ROWS = st.lists(st.builds(row, plans(), answers()), min_size=1, max_size=4)


@pytest.mark.parametrize(
    "answer",
    [
        "[" * MEGABYTE,
        "[" * (MEGABYTE // 2) + "]" * (MEGABYTE // 2),
        '{"a":' * (MEGABYTE // 5),
        "[" * 190 + "]" * 190,
        '{"route_plan":' + "[" * 250 + "]" * 250 + "}",
        "{" * MEGABYTE,
        "<eos>" * (MEGABYTE // 5),
        "<think>" * (MEGABYTE // 7),
        "<think>" + "</think>" * (MEGABYTE // 8),
        " " * MEGABYTE,
        " " * MEGABYTE + "x" + " " * MEGABYTE,
        "\ud800",
        '{"route_plan": ["/math(\ud800)"]}',
        '{"route_plan": ["/math(\\ud800)"]}',
        '{"route_plan": ["/math(\x00)"]}',
        "\ufeff{}",
        "NaN",
        '{"route_plan": [NaN, Infinity]}',
        '{"route_plan": 1e999, "metrics": -1e999}',
        '{"route_plan": ' + "9" * 5000 + "}",
        '{"difficulty": 0.' + "9" * 5000 + "}",
        '{"route_plan": null, "todo_list": null, "handoff_plan": null, "difficulty": {}}',
        '{"route_plan": "/math(x)", "todo_list": "/math", "handoff_plan": ["/math"]}',
        '{"route_plan": [null, 1, [], {}, true, "", " ", "(", ")", "/", "/math"]}',
        '{"route_plan": [], "todo_list": [null, ["/math"]]}',
        '{"route_plan": ["/math(x)"], "route_plan": ["/code(x)"]}',
        json.dumps({"route_plan": ["/math(x)"] * (MEGABYTE // 50)}),
        json.dumps({"route_plan": [f"/t{number}(x)" for number in range(MEGABYTE // 12)]}),
        json.dumps({"route_plan": ["/math(" + " " * MEGABYTE + "x"]}),
        json.dumps({"route_plan": ["(" * MEGABYTE]}),
        json.dumps({"route_plan": [" " * MEGABYTE]}),
        json.dumps({"todo_list": ["/math" * (MEGABYTE // 5)], "handoff_plan": "/" * MEGABYTE}),
        json.dumps({f"key {number}": 0 for number in range(MEGABYTE // 12)}),
        "null",
        '"text"',
        "0",
    ],
    ids=lambda answer: f"{answer[:12]!a}",
)
def test_nothing_that_a_model_says_raises(answer: str) -> None:
    for said in (answer, f"<think>So.</think>{answer}"):
        scores = RoutePlanScorer(OFFERED).score(row(text(plan(), "So."), said))
        ratios = [part for name, part in scores.parts.items() if name != "length_ratio"]
        assert all(0 <= part.above <= part.below for part in ratios)
        assert scores.parts["exact_tool_sequence"].above == 0
        assert scores.parts["schema_validity"].above == 0
        assert scores.causes
        assert len(scores.causes) < 30
        assert max(map(len, scores.causes)) < 80


@settings(max_examples=40)
@given(ROWS)
def test_every_metric_lies_between_0_and_1(rows: list[Answered]) -> None:
    found = values(rows)
    assert found.pop("length_ratio") >= 0
    assert all(0 <= value <= 1 for value in found.values())


@settings(max_examples=40)
@given(st.lists(plans(), min_size=1, max_size=3))
def test_every_plan_is_perfect_against_itself(expected: list[str]) -> None:
    found = values([row(one, one) for one in expected])
    assert found.pop("hallucinated_tools") == 0
    assert {*found.values()} == {1}


@settings(max_examples=40)
@given(ROWS, st.integers(0, 99))
def test_neither_the_order_of_rows_nor_repeating_them_all_changes_a_value(
    rows: list[Answered], seed: int
) -> None:
    found = values(rows)
    shuffled = random.Random(seed).sample(rows, len(rows))  # noqa: S311 (repeatable, no secret)
    assert values(shuffled) == pytest.approx(found)
    assert values(rows * 3) == pytest.approx(found)


@settings(max_examples=40)
@given(plans(), answers())
def test_an_answer_is_scored_the_same_each_time_and_alone(
    expected: str, predicted: str | None
) -> None:
    def scored(scorer: RoutePlanScorer) -> RowScores:
        return scorer.score(row(expected, predicted))

    one, other = RoutePlanScorer(OFFERED), RoutePlanScorer(OFFERED[::-1])
    assert scored(one) == scored(one) == scored(other)
    assert one == other


@given(plans(), st.data())
def test_a_plan_that_breaks_off_is_right_in_nothing(expected: str, data: st.DataObject) -> None:
    start = expected.rindex('{"route_plan"')
    cut = data.draw(st.integers(start, len(expected) - 1))
    found = values([row(expected, expected[:cut])])
    assert found.pop("length_ratio") < 1
    assert found.pop("think_kept", 1) == 1
    assert {*found.values()} == {0}


@settings(max_examples=5)
@given(ROWS)
def test_metrics_of_rows_are_their_parts_summed_and_lie_in_their_intervals(
    rows: list[Answered],
) -> None:
    scorer = RoutePlanScorer(OFFERED)
    scores = [scorer.score(one) for one in rows]
    for kind in scorer.metrics:
        found = metric_of(kind, scores)
        assert (found.value if found else None) == values(rows).get(kind.name)
        if found is not None:
            assert found.low - 1e-9 <= found.value <= found.high + 1e-9
