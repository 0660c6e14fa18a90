"""Why an answer is no right route plan, and which rows expect none."""

from __future__ import annotations

import pytest

from orchestrator.errors import InputError
from orchestrator.evaluation.route_plans import RoutePlanScorer, constant_answer
from tests.evaluation.route_plan_rows import (
    OFFERED,
    add,
    changed,
    drop,
    plan,
    replace,
    row,
    swap,
    text,
    values,
)


@pytest.mark.parametrize(
    ("answer", "causes"),
    [
        (None, ("no answer",)),
        ("<eos>", ("empty answer",)),
        ("<think>so", ("thinking not closed",)),
        ("I would ask /math.", ("no JSON",)),
        (f"```\n{text(plan())}\n```", ("JSON fenced as code",)),
        (text(plan())[:-3], ("JSON broken off or with text behind it",)),
        ('{"a": 1, "a": 2}', ("a key of the JSON stands twice",)),
        ("[" * 300 + "]" * 300, ("JSON nested too deeply",)),
        (text(changed(plan(), drop("/code"))), ("tool missing: /code",)),
        (text(changed(plan(), add("/browse(a)"))), ("tool not offered: /browse",)),
        (text(changed(plan(), add("<b>(a)"))), ("against the schema: route_plan",)),
        (text(changed(plan(), add("/code(more)"))), ("tool too often: /code",)),
        (text(changed(plan(), swap)), ("tools in another order",)),
        (text(changed(plan(), replace("route_plan", "plot", "draw"))), ("steps in other words",)),
        (text(changed(plan(), replace("todo_list", "/code", "x"))), ("todo list without /code",)),
        (text(changed(plan(), replace("handoff_plan", "/math", "x"))), ("hand-off without /math",)),
        (text(changed(plan(), lambda d: d.pop("tags"))), ("key missing: tags",)),
        (text(changed(plan(), lambda d: d.update(tags=1))), ("against the schema: tags",)),
        (
            text(changed(plan(), lambda d: d.update(more=1))),
            ("a key that the schema does not know",),
        ),
    ],
)
def test_why_an_answer_is_wrong_is_said_in_fixed_words(
    answer: str | None, causes: tuple[str, ...]
) -> None:
    found = RoutePlanScorer(OFFERED).score(row(text(plan()), answer)).causes
    assert found[: len(causes)] == causes
    if "schema" not in causes[0]:
        assert len(found) == 1


def test_tools_that_are_invented_are_shown_in_few_and_plain_words() -> None:
    steps = [f"/tool-{number}(x)" for number in range(100)] + ["<script>(x)", f"/{'a' * 99}(x)"]
    answer = text(changed(plan(), lambda document: document["route_plan"].extend(steps)))
    causes = RoutePlanScorer(OFFERED).score(row(text(plan()), answer)).causes
    assert sum(cause.startswith("tool not offered: ") for cause in causes) == 5
    assert "tool not offered: (no name of a tool)" in causes
    assert max(map(len, causes)) < 60


def test_thinking_that_is_missing_is_a_cause_only_where_it_is_expected() -> None:
    scorer = RoutePlanScorer(OFFERED)
    assert scorer.score(row(text(plan(), "So."), text(plan()))).causes == ("thinking left out",)
    assert scorer.score(row(text(plan()), text(plan(), "So."))).causes == ()


# ------------------------------------------------------------------------------- what is expected


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("", "empty answer"),
        ("/math(x)", "no JSON"),
        ("[]", "no object"),
        ("{}", "route_plan"),
        (text(plan())[:-1], "broken off"),
        (text(changed(plan(), lambda d: d.update(difficulty="hard"))), "difficulty"),
        (text(changed(plan(), lambda d: d.update(route_plan=[]))), "route_plan"),
        (text(plan()).replace('"tags"', '"metrics"'), "twice"),
    ],
)
def test_a_row_that_expects_no_route_plan_is_named(expected: str, words: str) -> None:
    for work in (
        lambda: RoutePlanScorer(OFFERED).score(row(expected, text(plan()), "row-7")),
        lambda: RoutePlanScorer.of([row(expected, None, "row-7")]),
        lambda: constant_answer([row(expected, None, "row-7")]),
    ):
        with pytest.raises(InputError, match="row row-7: the expected answer is no") as caught:
            work()
        assert words in caught.value.message
        assert caught.value.hint


def test_a_row_that_expects_a_tool_which_is_not_offered_is_named() -> None:
    with pytest.raises(InputError, match="row 7: the expected plan calls /general-search, which"):
        RoutePlanScorer(("/math", "/code")).score(row(text(plan()), text(plan()), "7"))


def test_a_row_counts_for_coverage_only_where_its_own_lists_name_tools() -> None:
    silent = changed(plan(), lambda d: d.update(todo_list=["work"], handoff_plan="in order"))
    assert (
        values([row(text(silent), text(silent))])
        .keys()
        .isdisjoint({"todo_coverage", "handoff_coverage"})
    )
    assert values([row(text(silent), None), row(text(plan()), None)])["todo_coverage"] == 0
