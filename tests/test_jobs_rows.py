"""The rows that ship beside the specs are right: programs run, answers hold, calls can be made."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from orchestrator.data_files import data_folder
from tests.math_answers import FORMULAS, NAMED, NUMBERS, number, same

JOBS = data_folder("jobs")
_LAST_LINE = "You are a model that can do function calling with the following functions"


def rows_of(*path: str) -> list[dict[str, Any]]:
    lines = JOBS.joinpath(*path).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


CODE = rows_of("code", "sample.jsonl")
MATH = rows_of("math", "sample.jsonl")
MOBILE = rows_of("functiongemma", "mobile-actions.jsonl")
MOBILE_TOOLS = json.loads((JOBS / "functiongemma" / "mobile-actions.tools.json").read_text())


# --------------------------------------------------------------------------------- programs


def passes(code: str, testcase: str) -> bool:
    """Whether an assertion of the project's own rows holds for a program."""
    names: dict[str, Any] = {}
    try:
        exec(code + "\n" + testcase, names)  # noqa: S102 (rows written for this project)
    except Exception:
        return False
    return True


def test_there_are_enough_programs_and_none_twice() -> None:
    assert len(CODE) >= 30
    assert len({row["entry_point"] for row in CODE}) == len(CODE)
    assert len({row["instruction"] for row in CODE}) == len(CODE)


@pytest.mark.parametrize("row", CODE, ids=lambda row: str(row["entry_point"]))
def test_every_program_passes_its_own_tests(row: dict[str, Any]) -> None:
    assert set(row) == {"instruction", "output", "code", "entry_point", "testcase"}
    assert row["testcase"]
    for testcase in row["testcase"]:
        assert passes(row["code"], testcase), testcase


@pytest.mark.parametrize("row", CODE, ids=lambda row: str(row["entry_point"]))
def test_every_test_of_a_program_can_fail(row: dict[str, Any]) -> None:
    def nothing(*_: object, **__: object) -> object:
        raise NotImplementedError

    for testcase in row["testcase"]:
        names: dict[str, Any] = {row["entry_point"]: nothing}
        with pytest.raises((NotImplementedError, AssertionError)):
            exec(testcase, names)  # noqa: S102 (rows written for this project)


@pytest.mark.parametrize("row", CODE, ids=lambda row: str(row["entry_point"]))
def test_the_answer_holds_the_program_that_is_tested(row: dict[str, Any]) -> None:
    block = re.match(r"```python\n(.*?)\n```\n\n(.+)", row["output"], re.DOTALL)
    assert block is not None
    assert block[1] == row["code"]
    assert row["entry_point"] in row["instruction"]


# ------------------------------------------------------------------------------ mathematics


def test_there_are_enough_questions_of_mathematics() -> None:
    assert len(MATH) >= 40
    assert len({row["problem"] for row in MATH}) == len(MATH)


@pytest.mark.parametrize("row", MATH, ids=lambda row: str(row["problem"])[:40])
def test_the_solution_ends_in_the_answer(row: dict[str, Any]) -> None:
    assert list(row) == ["problem", "generated_solution", "expected_answer"]
    assert row["generated_solution"].endswith(f"\\boxed{{{row['expected_answer']}}}.")


@pytest.mark.parametrize("row", MATH, ids=lambda row: str(row["problem"])[:40])
def test_the_answer_is_what_another_way_gives(row: dict[str, Any]) -> None:
    answer = row["expected_answer"]
    (key,) = [k for k in (*NUMBERS, *FORMULAS, *NAMED) if row["problem"].startswith(k)]
    if key in NUMBERS:
        assert number(answer) == NUMBERS[key]
    elif key in FORMULAS:
        assert same(answer, FORMULAS[key])
    else:
        assert [int(found) for found in re.findall(r"-?\d+", answer)] == NAMED[key]


_RUN = re.compile(r"[\d.+\-*/^=() ]*=[\d.+\-*/^=() ]*")
_SIDE = re.compile(r"\(*-?\d[\d.]*\)*( ?[-+*/^] ?\(*-?\d[\d.]*\)*)*")


def equations(text: str) -> list[list[str]]:
    """The sides of all equations between numbers alone; sides with a name in them are left out."""
    found = []
    for run_ in _RUN.finditer(text):
        sides = [side.strip() for side in run_[0].strip().rstrip(".").split("=")]
        if text[: run_.start()][-1:].isalpha() and not run_[0].startswith(" "):
            sides = sides[1:]
        if re.match(r"[A-Za-z\\]", text[run_.end() :]) and not run_[0].endswith(" "):
            sides = sides[:-1]
        whole = [s for s in sides if _SIDE.fullmatch(s) and s.count("(") == s.count(")")]
        if len(whole) > 1:
            found.append(whole)
    return found


def value(side: str) -> Fraction:
    """The value of a side of an equation, with exact fractions."""
    code = re.sub(r"\d+(?:\.\d+)?", lambda n: f"F('{n[0]}')", side).replace("^", "**")
    return Fraction(eval(code, {"F": Fraction}))  # noqa: S307 (digits and signs alone)


@pytest.mark.parametrize("row", MATH, ids=lambda row: str(row["problem"])[:40])
def test_every_sum_in_a_worked_solution_is_right(row: dict[str, Any]) -> None:
    for sides in equations(row["generated_solution"]):
        assert len({value(side) for side in sides}) == 1, sides


def test_most_worked_solutions_hold_sums_that_are_checked() -> None:
    checked = [row for row in MATH if equations(row["generated_solution"])]
    assert len(checked) >= 30


# ------------------------------------------------------------------------------ the phone


def calls_of(row: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    calls = [call["function"] for call in row["messages"][-1]["tool_calls"]]
    return [(call["name"], call["arguments"]) for call in calls]


def test_every_function_of_the_phone_is_called_often() -> None:
    declared = [tool["function"]["name"] for tool in MOBILE_TOOLS]
    called = Counter(name for row in MOBILE for name, _ in calls_of(row))
    assert len(MOBILE) >= 40
    assert len(declared) >= 6
    assert sorted(called) == sorted(declared)
    assert min(called.values()) >= 5
    assert sum(len(calls_of(row)) > 1 for row in MOBILE) >= 5


@pytest.mark.parametrize("row", MOBILE, ids=lambda row: str(row["messages"][1]["content"])[:40])
def test_the_day_of_the_week_is_that_of_the_date(row: dict[str, Any]) -> None:
    developer = row["messages"][0]
    assert developer["role"] == "developer"
    first, last = developer["content"].split("\n")
    assert last == _LAST_LINE
    day, date = re.fullmatch(r"It is (\w+), (\S+)\.", first).groups()  # type: ignore[union-attr]  # fails if it does not match
    now = datetime.datetime.fromisoformat(date)
    assert now.strftime("%A") == day
    for name, arguments in calls_of(row):
        if name == "create_event":
            assert now < datetime.datetime.fromisoformat(arguments["start"])
        if name == "set_alarm":
            assert re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", arguments["time"])


@pytest.mark.parametrize("as_text", [False, True])
def test_rows_of_the_public_form_are_taken_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, as_text: bool
) -> None:
    """Each row brings its tools, with types in capitals, and names its split."""
    tool = {
        "name": "dim_screen",
        "description": "Makes the screen darker.",
        "parameters": {
            "type": "OBJECT",
            "properties": {"percent": {"type": "INTEGER", "description": "How dark"}},
            "required": ["percent"],
        },
    }
    rows: list[dict[str, Any]] = []
    for number_, percent in enumerate((10, 25, 40, 55, 70, 85, 90, 95, 100, 5)):
        arguments: Any = {"percent": percent}
        if as_text:
            arguments = json.dumps(arguments)
        function = {"name": "dim_screen", "arguments": arguments}
        call = {"id": f"c{number_}", "type": "function", "function": function}
        messages: list[dict[str, Any]] = [
            {"role": "developer", "content": MOBILE[number_]["messages"][0]["content"]},
            {"role": "user", "content": f"Screen {'very ' * number_}dark, {percent} percent"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ]
        rows.append({"metadata": "train", "tools": [{"function": tool}], "messages": messages})
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = JOBS / "functiongemma" / "mobile-actions.yaml"
    assert run(["check", str(spec), "--data", str(data), "--offline", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert not [found for found in document["findings"] if found["level"] == "error"]
    rows[0]["messages"][-1]["tool_calls"][0]["function"]["arguments"] = {"percent": "ten"}
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["check", str(spec), "--data", str(data), "--offline", "--json"]) == 1
