"""Classes are counted, outliers shown, and constant answers scored by their definitions."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.checks.balance import BalanceCheck
from orchestrator.dataset.checks.class_counts import ClassCounts
from orchestrator.dataset.checks.length_spread import LengthSpread
from orchestrator.dataset.constant_answers import (
    ConstantAnswer,
    constant_tool,
    constant_tools_of_plan,
    exact_tool_sequence,
    tool_accuracy,
    tool_of,
    tool_precision_multiset,
    tool_precision_set,
    tool_recall_multiset,
    tool_recall_set,
)
from orchestrator.dataset.example import Example, Message
from orchestrator.dataset.report import Finding, Level, Report, Table
from tests.dataset.checked_rows import calling, checked, checked_in_parts, row, rules_of


def balance(*examples: Example, tools: tuple[str, ...] = ()) -> Report:
    return checked(BalanceCheck(rules_of(*tools)), examples)


def found(report: Report, code: str) -> list[Finding]:
    return [one for group in report.findings if group.code == code for one in group.examples]


def table(report: Report, name: str) -> Table:
    [figure] = [figure for figure in report.figures if figure.name == name]
    assert isinstance(figure, Table)
    return figure


def plan(line: int, *steps: str, **fields: object) -> Example:
    return row(line, "Plan this.", json.dumps({"route_plan": steps, **fields}))


def test_a_tool_with_29_rows_is_a_warning_and_one_with_30_is_none() -> None:
    rows = [calling(n, "Do", "often") for n in range(30)]
    rows += [calling(n, "Do", "seldom") for n in range(29)]
    report = balance(*rows, tools=("often", "seldom"))
    [few] = found(report, "few-rows")
    assert few.level is Level.WARNING
    assert few.message == "The tool `seldom` has 29 rows, fewer than 30."


def test_rows_count_once_for_a_tool_that_they_call_twice() -> None:
    report = balance(calling(1, "Do", "a", "a", "b"), calling(2, "Do", "a"), tools=("a", "b"))
    assert table(report, "Rows of each tool").rows == (("a", 2, 1.0), ("b", 1, 0.5))


def test_tools_that_are_never_called_are_warnings() -> None:
    report = balance(calling(1, "Do", "a"), tools=("a", "b", "c"))
    assert [one.message for one in found(report, "never-called")] == [
        "No row calls `b`.",
        "No row calls `c`.",
    ]


def test_tools_that_no_row_calls_at_all_are_one_warning() -> None:
    report = balance(row(1, "Do"), tools=("a", "b", "c"))
    assert [one.message for one in found(report, "never-called")] == [
        "No row calls any of the 3 tools."
    ]


def test_classes_are_counted_by_split_where_files_give_the_splits() -> None:
    rows = [calling(n, "Do", "a", split="train") for n in range(5)]
    rows += [calling(9, "Do", "a", split="test"), calling(9, "Do", "b", split="test")]
    counted = table(balance(*rows), "Rows of each tool")
    assert counted.header == ("tool", "rows", "share", "train", "test")
    assert counted.rows == (("a", 6, round(6 / 7, 4), 5, 1), ("b", 1, round(1 / 7, 4), 0, 1))


def test_difficulty_and_tags_of_json_answers_are_notes() -> None:
    rows = [plan(n, "/math(x)", difficulty="hard", tags=["a", "b"]) for n in range(3)]
    rows.append(row(4, "Plan", f"<think>well</think>\n{rows[0].answer}"))
    report = balance(*rows)
    messages = {one.message: one.level for one in found(report, "few-rows")}
    hard = "The one value of difficulty has fewer than 30 rows, fewest: `hard` (4 rows)."
    tags = "2 of 2 values of tag have fewer than 30 rows, fewest: `a` (4 rows), `b` (4 rows)."
    assert messages[hard] is messages[tags] is Level.NOTE
    assert (
        messages["The first tool of the route plan `/math` has 4 rows, fewer than 30."]
        is Level.WARNING
    )


def test_many_seldom_tags_are_one_note_with_their_number_and_the_worst() -> None:
    rows = [plan(n, "/math(x)", tags=["usual", f"tag {n}"]) for n in range(40)]
    [note] = [
        group
        for group in balance(*rows).findings
        if group.level is Level.NOTE and group.code == "few-rows"
    ]
    assert note.count == 1
    assert "40 of 41 values of tag have fewer than 30 rows, fewest: `tag 0` (1 row)," in (
        note.examples[0].message
    )


def test_a_constant_answer_and_a_class_show_nothing_private() -> None:
    rows = [row(n, f"Q{n}", "mail anna.schmidt@firma.de") for n in range(40)]
    rows += [
        row(n, f"Q{n}", json.dumps({"agent": "sk-ant-api03-" + "aB3dE5fG7h" * 9})) for n in range(9)
    ]
    said = json.dumps([g.to_json() for g in balance(*rows).findings], ensure_ascii=False)
    assert "schmidt" not in said
    assert "aB3dE5" not in said
    assert "[EMAIL]" in said
    assert "[SECRET]" in said


def test_agents_named_by_the_answer_are_classes() -> None:
    rows = [row(n, "Hi", json.dumps({"agent": "sales" if n % 3 else "help"})) for n in range(9)]
    report = balance(*rows)
    assert table(report, "Rows of each agent").rows == (("sales", 6, 0.6667), ("help", 3, 0.3333))
    [constant] = found(report, "constant-agent")
    assert "`sales`" in constant.message
    assert "tool_accuracy 66.7% on 9 rows" in constant.message


def test_answers_of_multiple_choice_are_classes_also_where_they_stand_apart() -> None:
    rows = [row(1, "Which?", "(b)."), row(2, "Which?", "B"), row(3, "Which?", "Because of it.")]
    solved = row(4, "Which?", "It is the first, since 2 < 3.")
    solved.reference = "A"
    report = balance(*rows, solved)
    assert table(report, "Rows of each choice").rows == (("B", 2, 0.6667), ("A", 1, 0.3333))


def test_the_commonest_whole_answer_is_scored() -> None:
    report = balance(*[row(n, f"Q{n}", "yes" if n < 7 else f"no {n}") for n in range(10)])
    [constant] = found(report, "constant-answer")
    assert "`yes`" in constant.message
    assert "exact_answer 70.0% on 10 rows" in constant.message


def test_answers_that_are_all_different_have_no_constant_answer_worth_saying() -> None:
    report = balance(*[row(n, "Q", f"answer {n}") for n in range(40)])
    assert found(report, "constant-answer") == []


def test_a_text_far_longer_or_shorter_than_all_others_is_a_note_with_its_line() -> None:
    rows = [row(n, "word " * (20 + n % 7), "fine " * 40) for n in range(1, 60)]
    rows += [row(60, "word " * 4000, "fine " * 40), row(61, "word " * 20, "x")]
    report = balance(*rows)
    [long] = found(report, "prompt-length-outlier")
    assert (long.place.line, long.level) == (60, Level.NOTE)
    assert "20000 characters" in long.message
    assert "1 are much longer, 0 much shorter" in long.message
    [short] = found(report, "answer-length-outlier")
    assert short.place.line == 61
    assert "0 are much longer, 1 much shorter" in short.message


def test_short_answers_have_no_outliers_among_them() -> None:
    rows = [row(n, "Which?", "B" if n % 9 else "-35947632.9663") for n in range(100)]
    assert [group.code for group in balance(*rows).findings if "outlier" in group.code] == []


def test_lengths_that_differ_as_usual_are_no_outliers() -> None:
    report = balance(*[row(n, "word " * (5 + n % 15), "yes") for n in range(200)])
    assert [group.code for group in report.findings if "outlier" in group.code] == []


@given(st.lists(st.integers(1, 10**7), min_size=20, max_size=60))
@settings(max_examples=60, deadline=None)
def test_the_usual_length_is_the_median_to_three_digits(lengths: list[int]) -> None:
    spread = LengthSpread()
    for line, length in enumerate(lengths, 1):
        spread.add(length, "rows.jsonl", line)
    middle = sorted(lengths)[(len(lengths) + 1) // 2 - 1]
    assert abs(spread.outliers().median - middle) <= middle / 100 + 1


def test_too_many_classes_are_said_and_not_kept() -> None:
    rows = [plan(n, "/math", tags=[f"tag {n}"]) for n in range(5001)]
    report = balance(*rows)
    [said] = found(report, "too-many-classes")
    assert "more than 5000 different values of tag in 5001 rows" in said.message
    assert not any(figure.name == "Rows of each tag" for figure in report.figures)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=3), max_size=12), st.integers(0, 12))
def test_counts_of_classes_do_not_depend_on_parts(rows: list[list[str]], cut: int) -> None:
    whole, first, second = (ClassCounts[str](4) for _ in range(3))
    for number, values in enumerate(rows):
        whole.add(values, None)
        (first if number < cut else second).add(values, None)
    first.merge(second)
    assert (first.rows, first.too_many, first.totals()) == (
        whole.rows,
        whole.too_many,
        whole.totals(),
    )
    assert whole.too_many == (len({value for values in rows for value in values}) > 4)


def test_metrics_follow_their_definitions() -> None:
    given_plan = ("/search", "/math", "/code", "/math")
    expected = ("/math", "/math", "/draw")
    assert tool_recall_set(expected, given_plan) == 0.5
    assert tool_precision_set(expected, given_plan) == pytest.approx(1 / 3)
    assert tool_recall_multiset(expected, given_plan) == pytest.approx(2 / 3)
    assert tool_precision_multiset(expected, given_plan) == 0.5
    assert tool_precision_set((), ()) == tool_recall_set((), ()) == 1
    assert tool_precision_multiset((), ()) == tool_recall_multiset((), ()) == 1
    assert tool_precision_set(("a",), ()) == tool_precision_multiset(("a",), ()) == 0
    assert exact_tool_sequence(given_plan, list(given_plan)) == 1
    assert exact_tool_sequence(given_plan, given_plan[:3]) == 0
    assert tool_accuracy(("a",), ("a", "a")) == 0


@pytest.mark.parametrize(
    ("step", "tool"),
    [
        ("/math(Derive it)", "/math"),
        ("  /general-search(query=x)", "/general-search"),
        ("/code", "/code"),
        ("run_it.now (x)", "run_it.now"),
        ("→ next", "→ next"),
    ],
)
def test_the_tool_of_a_step_is_what_stands_before_its_arguments(step: str, tool: str) -> None:
    assert tool_of(step) == tool


def test_the_commonest_of_equally_common_answers_is_the_first_by_name() -> None:
    assert constant_tool({("b",): 2, ("a",): 2}) == constant_tool({("a",): 2, ("b",): 2})
    constant = constant_tool({("b",): 2, ("a",): 2})
    assert constant is not None
    assert constant.answer == ("a",)


_ROWS = st.one_of(
    st.builds(lambda tool: calling(1, "Do " * 4, tool), st.sampled_from("abc")),
    st.builds(lambda step: plan(1, step, tags=[step]), st.sampled_from(["/x(1)", "/x(2)", "/y"])),
    st.builds(lambda n: row(1, "word " * n, "yes"), st.integers(1, 400)),
    st.just(Example("rows.jsonl", 1, (Message("user", "Hi"),), "B", {}, split="test")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_ROWS, max_size=30), st.lists(st.integers(0, 30), max_size=3))
def test_parts_merged_find_what_the_whole_finds(drawn: list[Example], cuts: list[int]) -> None:
    rows = [
        Example("rows.jsonl", line, one.prompt, one.answer, {}, split=one.split)
        for line, one in enumerate(drawn, 1)
    ]
    rules = rules_of("a", "b", "z")
    cuts = [min(cut, len(rows)) for cut in cuts]
    assert checked_in_parts(BalanceCheck, rules, rows, cuts) == checked(BalanceCheck(rules), rows)


def _outside(name: str) -> list[dict[str, str]]:
    if not (folder := os.environ.get("ORCHESTRATOR_DATA")):
        pytest.skip("ORCHESTRATOR_DATA is not set: the outside data is not here")
    with (Path(folder) / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _scores(constant: ConstantAnswer | None) -> dict[str, float]:
    assert constant is not None
    return {score.metric: round(100 * score.value, 1) for score in constant.scores}


def test_always_the_commonest_route_plan_scores_what_is_known_of_the_outside_rows() -> None:
    rows = _outside("route-plan/rows.jsonl")
    plans = Counter(
        tuple(map(tool_of, json.loads(one["completion"])["route_plan"])) for one in rows
    )
    constant = constant_tools_of_plan(plans)
    assert constant is not None
    assert constant.answer == ("/general-search", "/math", "/code", "/math")
    assert _scores(constant) == {
        "tool_recall_set": 100.0,
        "tool_precision_set": 99.4,
        "tool_recall_multiset": 99.8,
        "tool_precision_multiset": 89.0,
        "exact_tool_sequence": 56.8,
    }
    examples = [row(n, one["prompt"], one["completion"]) for n, one in enumerate(rows, 1)]
    [said] = found(balance(*examples), "constant-plan-tools")
    assert "tool_recall_set 100.0%, tool_precision_set 99.4%, " in said.message
    assert "tool_precision_multiset 89.0%, exact_tool_sequence 56.8%" in said.message
    assert "322 rows" in said.message


def test_always_one_agent_scores_its_share_of_the_outside_rows() -> None:
    rows = _outside("support-router/rows.jsonl")
    agents: Counter[tuple[str, ...]] = Counter((one["agent_name"],) for one in rows)
    constant = constant_tool(agents)
    assert constant is not None
    assert _scores(constant) == {"tool_accuracy": round(100 * max(agents.values()) / len(rows), 1)}
