"""Rows of benchmark suites become questions, an expected answer, slices and tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.evaluation.code_answers import program_of
from orchestrator.evaluation.code_tasks import task_of
from orchestrator.evaluation.permitted_calls import PermittedCallsScorer
from orchestrator.evaluation.scores import Answered
from orchestrator.suites.call_rows import call_row
from orchestrator.suites.catalog import ASKED, suite_named, suites
from orchestrator.suites.mappings import MAPPERS
from orchestrator.suites.suite_rows import SuiteRow, WrongRow
from tests.suites import samples


def mapped(name: str, **changed: Any) -> SuiteRow:
    row = {**samples.SUITES[name], **changed}
    return MAPPERS[name](row, 4, ASKED[suite_named(name).ask])


def question(row: SuiteRow) -> str:
    (turn,) = row.turns
    assert turn["role"] == "user"
    return str(turn["content"])


def test_every_suite_has_its_mapping_its_sample_and_a_scorer_that_is_known() -> None:
    from orchestrator.evaluation.scorers import SCORERS

    assert set(suites()) == {*MAPPERS, "bfcl"} == {*samples.SUITES, "bfcl"}
    for suite in suites().values():
        assert suite.scorer in SCORERS
        assert suite.source.startswith("https://")
        if suite.address is not None:
            assert (suite.rows or 0) > 0
            assert suite.split == "test"


@pytest.mark.parametrize(
    ("name", "expected", "slices"),
    [
        ("gsm8k", "30", {}),
        ("math", "\\frac{5}{6}", {"level": "Level 2", "subject": "Prealgebra"}),
        ("math-500", "2,-2", {"level": "Level 1", "subject": "Algebra"}),
        ("svamp", "5", {"type": "Subtraction"}),
        ("mawps", "1009.5", {}),
        ("mawps-original", "13", {}),
        ("mathqa", "A", {"category": "gain"}),
        ("aqua", "A", {}),
    ],
)
def test_rows_of_mathematics_have_their_answer_and_slices(
    name: str, expected: str, slices: dict[str, str]
) -> None:
    row = mapped(name)
    assert (row.expected, row.slices) == (expected, slices)
    assert "\\boxed{" in question(row)
    assert f"\\boxed{{{expected}}}" in row.completion["content"] or name == "math-500"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gsm8k", "gsm8k-4"),
        ("math-500", "test/algebra/1.json"),
        ("svamp", "chal-1"),
        ("mawps", "mawps__1"),
        ("mawps-original", "mawps-8"),
        ("humaneval", "HumanEval/900"),
    ],
)
def test_a_row_keeps_its_own_id_or_has_its_number(name: str, found: str) -> None:
    assert mapped(name).id == found


def test_the_reasoning_of_gsm8k_is_an_example_without_its_sums() -> None:
    assert mapped("gsm8k").completion["content"] == (
        "Ann has 3*12=36 pens.\nShe keeps 36-6=30.\n\\boxed{30}"
    )


def test_svamp_s_story_and_question_are_one_text() -> None:
    asked = question(mapped("svamp"))
    assert asked.startswith(
        "There are 8 pears in a bowl. Tom eats 3 of them, How many pears are left?\n\n"
    )
    ended = question(mapped("svamp", Body="There are 8 pears."))
    assert ended.startswith("There are 8 pears. How many")


def test_options_are_listed_by_letter_whatever_form_they_have() -> None:
    assert "\n\nA) 38\nB) 27.675\nC) rs . 1,300\nD) data inadequate\nE) none of these\n\n" in (
        question(mapped("mathqa"))
    )
    assert "\n\nA) 125\nB) 150\nC) $225\nD) 250\nE) None of these\n\n" in question(mapped("aqua"))
    listed = "['a ) 1', 'b ) 2', 'c ) 3']"
    assert "\n\nA) 1\nB) 2\nC) 3\n\n" in question(mapped("mathqa", options=listed, correct="c"))
    assert mapped("aqua", options=json.dumps(samples.AQUA["options"])) == mapped("aqua")


def test_a_row_of_programming_is_a_task_that_its_own_solution_solves() -> None:
    row = mapped("humaneval")
    task = task_of(row.expected, row.id)
    program = program_of(task, row.completion["content"])
    assert program is not None
    exec(compile(f"{program}\n{task.tests}", "row", "exec"), {})  # noqa: S102 (our own row)
    assert question(row).startswith("Complete the Python function.")


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("gsm8k", {"answer": "30"}, "no number after `####`"),
        ("gsm8k", {"question": " "}, "`question` is no text, or empty"),
        ("gsm8k", {"answer": None}, "`answer` is missing"),
        ("math", {"solution": "It is 5/6."}, "no \\boxed{}"),
        ("svamp", {"Answer": "five"}, "`Answer` is no number"),
        ("svamp", {"Answer": float("nan")}, "no finite number"),
        ("svamp", {"Answer": True}, "no number"),
        ("mawps", {"result_float": None, "result": "x"}, "`result` is no number"),
        ("mawps-original", {"lSolutions": ["1", "2"]}, "does not hold one number"),
        ("mawps-original", {"lSolutions": []}, "no list, or empty"),
        ("mathqa", {"options": "38 or 27"}, "`options` is no list of the form"),
        ("mathqa", {"correct": "f"}, "`correct` is 'F', which is none of the options"),
        ("aqua", {"options": ["125", "150"]}, "'125', which has no letter"),
        ("aqua", {"options": "A)125"}, "no JSON of a list"),
        ("humaneval", {"test": ""}, "`test` is no text"),
    ],
)
def test_a_row_that_is_none_of_the_suite_s_says_which_column(
    name: str, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(WrongRow) as found:
        mapped(name, **changed)
    assert words in str(found.value)


# -------------------- calls


def test_tools_of_the_leaderboard_are_written_as_json_schemas() -> None:
    row = call_row(samples.BFCL, samples.BFCL_ANSWER, "")
    play, stop = (tool["function"] for tool in row.tools)
    assert play["parameters"]["type"] == "object"
    properties = play["parameters"]["properties"]
    assert properties["gain"] == {"type": "number", "default": 1.0}
    assert properties["type"] == {"description": "A property of that very name."}
    assert properties["at"] == {"type": "object", "properties": {"h": {"type": "integer"}}}
    assert properties["keys"] == {"type": "array", "items": {"type": "array"}}
    assert stop["name"] == "stop"
    assert (row.id, row.slices) == ("parallel_multiple_7", {"category": "parallel_multiple"})


def test_the_completion_of_a_row_with_calls_is_permitted() -> None:
    row = call_row(samples.BFCL, samples.BFCL_ANSWER, "")
    said = json.dumps(row.completion["tool_calls"])
    scores = PermittedCallsScorer().score(Answered(row.id, row.expected, said))
    assert scores.parts["bfcl_correct"].above == 1
    assert scores.parts["calls_exact"].above == 1


def test_what_is_asked_for_goes_before_a_row_with_calls() -> None:
    row = call_row(samples.BFCL, samples.BFCL_ANSWER, "Call tools.")
    assert [turn["role"] for turn in row.turns] == ["system", "user"]


@pytest.mark.parametrize(
    ("changed", "answer", "words"),
    [
        ({"question": [[{"role": "user"}], [{"role": "user"}]]}, {}, "has 2 turns"),
        ({"question": [["hello"]]}, {}, "no list with a list of messages"),
        ({"function": [{"name": 1}]}, {}, "a tool without a name"),
        ({"function": [{"name": "f"}]}, {}, "the tool 'f' has no parameters"),
        (
            {"function": [{"name": "f", "parameters": {"type": "HashMap"}}]},
            {},
            "a value of type 'HashMap': the rows in Python are read",
        ),
        ({}, {"ground_truth": [{"f": 1}]}, "no list of calls with permitted values"),
        ({}, {"ground_truth": None}, "`ground_truth` is missing"),
    ],
)
def test_a_row_of_calls_that_cannot_be_read_says_why(
    changed: dict[str, Any], answer: dict[str, Any], words: str
) -> None:
    with pytest.raises(WrongRow, match=words):
        call_row({**samples.BFCL, **changed}, {**samples.BFCL_ANSWER, **answer}, "")
