"""Scores of programs: what passes, why not, and pass@k."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.evaluation import code_runs
from orchestrator.evaluation.code import CodeScorer, pass_at
from orchestrator.evaluation.code_runs import Runs
from orchestrator.evaluation.evidence import Figures
from orchestrator.evaluation.intervals import wilson
from orchestrator.evaluation.scorers import made_for, scorer_named
from orchestrator.evaluation.scores import Answered, metrics_of
from orchestrator.evaluation.table import score_table
from orchestrator.jail.verdicts import JailUnavailable, Outcome, Verdict
from tests.jail.machine import jail_or_skip

TESTS = "assert add(1, 2) == 3"
RIGHT = "def add(a, b): return a + b"
WRONG = "def add(a, b): return a - b"
Run = Callable[[str, str], Outcome]


def told(program: str, _tests: str) -> Outcome:
    """What comes of a program by its text; nothing is run."""
    if "syntax" in program:
        return Outcome(Verdict.SYNTAX, False)
    return Outcome(Verdict.PASSED if "+" in program else Verdict.ASSERTION, True)


def answered(*said: str | None, expected: str = TESTS) -> list[Answered]:
    return [Answered(f"{n:03}", expected, one) for n, one in enumerate(said)]


def scored(rows: list[Answered], run: Run = told) -> dict[str, Figures]:
    scorer = CodeScorer.of(rows, run)
    return {one.name: one for one in metrics_of(scorer, [scorer.score(row) for row in rows])}


def test_rows_of_different_tasks_are_shares_with_the_interval_of_wilson() -> None:
    rows = [
        Answered(str(n), f"{TESTS}  # {n}", one)
        for n, one in enumerate([RIGHT, WRONG, "def syntax", None, "no idea"])
    ]
    found = scored(rows)
    assert set(found) == {"code_pass", "code_runs"}
    one = found["code_pass"]
    assert (one.value, one.rows, (one.low, one.high)) == (1 / 5, 5, wilson(1, 5))
    assert found["code_runs"].value == 2 / 5


def test_each_row_says_why_it_is_wrong() -> None:
    outcomes = {
        "a = 1": Outcome(Verdict.RAISED, True, "NameError"),
        "a = 2": Outcome(Verdict.RAISED, True),
        "a = 3": Outcome(Verdict.TIMEOUT, True),
        "a = 4": Outcome(Verdict.MEMORY, True),
        "a = 5": Outcome(Verdict.SYNTAX, False),
        "a = 6": Outcome(Verdict.ASSERTION, True),
        "a = 7": Outcome(Verdict.ENDED_EARLY, True),
        "a = 8": Outcome(Verdict.KILLED, True),
        "a = 9": Outcome(Verdict.OUTPUT, True),
        "a = 0": Outcome(Verdict.PASSED, True),
    }
    rows = answered(*outcomes, "no code at all")
    scorer = CodeScorer.of(rows, lambda program, _: outcomes[program])
    assert [scorer.score(row).causes for row in rows] == [
        ("raised NameError",),
        ("raised an exception of its own",),
        ("timeout",),
        ("memory",),
        ("syntax error",),
        ("assertion failed",),
        ("ended early",),
        ("killed",),
        ("too much output",),
        (),
        ("no code",),
    ]


def test_several_answers_to_a_task_are_one_row_of_each_metric() -> None:
    first = answered(RIGHT, WRONG, f"{RIGHT} ", None, f"{RIGHT}\n")
    second = [Answered(f"x{n}", f"{TESTS}  # another", one) for n, one in enumerate([RIGHT, WRONG])]
    found = scored([*first, *second])
    assert set(found) == {"code_pass", "code_runs", "pass@1", "pass@5"}
    assert (found["code_pass"].value, found["code_pass"].rows) == (4 / 7, 2)
    assert found["pass@1"].value == pytest.approx((3 / 5 + 1 / 2) / 2)
    assert found["pass@1"].rows == 2
    assert (found["pass@5"].value, found["pass@5"].rows) == (1.0, 1)


def test_the_order_of_rows_changes_nothing() -> None:
    rows = answered(RIGHT, WRONG, WRONG, f"{RIGHT} ", None)
    assert {name: one.value for name, one in scored(rows).items()} == {
        name: one.value for name, one in scored(rows[::-1]).items()
    }


@given(st.integers(1, 60), st.data())
def test_pass_at_k_is_the_estimator_of_the_paper(answers: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(0, answers))
    k = data.draw(st.integers(1, answers))
    # As the paper computes it, figure 3: a product over i from n - c + 1 to n.
    product = math.prod(1 - k / i for i in range(answers - passed + 1, answers + 1))
    expected = 1.0 if answers - passed < k else 1 - product
    assert pass_at(k, answers, passed) == pytest.approx(expected, abs=1e-12)
    assert pass_at(1, answers, passed) == pytest.approx(passed / answers)


@pytest.mark.parametrize(("k", "answers", "passed"), [(0, 5, 1), (6, 5, 1), (1, 5, 6), (1, 5, -1)])
def test_pass_at_k_of_impossible_numbers_is_refused(k: int, answers: int, passed: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at(k, answers, passed)


def test_each_program_runs_once_and_never_more_than_two_at_a_time() -> None:
    runs: list[str] = []
    at_once = most = 0
    lock = threading.Lock()
    met = threading.Barrier(2)

    def run(program: str, tests: str) -> Outcome:
        nonlocal at_once, most
        with lock:
            runs.append(program)
            at_once += 1
            most = max(most, at_once)
        met.wait(30)  # two are needed to go on
        with lock:
            at_once -= 1
        return told(program, tests)

    rows = answered(*(f"{RIGHT}  # {n % 6}" for n in range(12)))
    scorer = CodeScorer.of(rows, run)
    for _ in range(2):
        for row in rows:
            scorer.score(row)
    assert sorted(runs) == sorted({str(row.predicted) for row in rows})
    assert most == code_runs.AT_ONCE == 2


def test_what_programs_wrote_is_not_kept() -> None:
    runs = Runs(run=lambda _program, _tests: Outcome(Verdict.PASSED, True, stdout=b"x" * 2**20))
    assert runs.outcome("a", "b") == Outcome(Verdict.PASSED, True)


def test_nothing_runs_before_a_row_is_scored_nor_for_a_constant_answer() -> None:
    def run(_program: str, _tests: str) -> Outcome:
        raise AssertionError("run")

    rows = answered(None, "no code", "assert True")
    table = score_table(CodeScorer.of([*rows, *answered(RIGHT)][:3], run), rows)
    assert table.metrics[0].value == 0.0
    CodeScorer.of(answered(RIGHT), run)
    human_eval = json.dumps({"prompt": "def f():\n", "test": TESTS, "entry_point": "f"})
    rows = answered(None, expected=human_eval)
    assert score_table(CodeScorer.of(rows, run), rows).constant_value("code_pass") == 0.0


def test_another_answer_than_the_known_one_is_scored_by_itself() -> None:
    rows = answered(WRONG, WRONG, WRONG)
    scorer = CodeScorer.of(rows, told)
    parts = scorer.score(replace(rows[1], predicted=RIGHT)).parts
    assert (parts["code_pass"].above, parts["code_pass"].below) == (1, 1)


def test_a_row_without_tests_is_named() -> None:
    rows = [Answered("right", TESTS, RIGHT), Answered("bad", "no tests at all", RIGHT)]
    with pytest.raises(InputError, match="row bad: the tests are no Python"):
        made_for(scorer_named("code"), rows)


def test_without_a_jail_nothing_runs_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise JailUnavailable("there is no jail, so nothing was run", hint="install one")

    monkeypatch.setattr(code_runs, "jail", refuse)
    rows = answered(RIGHT)
    with pytest.raises(JailUnavailable, match="nothing was run"):
        score_table(CodeScorer.of(rows), rows)
    with pytest.raises(JailUnavailable, match="nothing was run"):
        Runs().outcome(RIGHT, TESTS)


def test_programs_of_all_forms_pass_and_fail_in_the_jail() -> None:
    jail_or_skip()
    human_eval = json.dumps(
        {
            "prompt": 'def add(a, b):\n    """Add."""\n',
            "test": "def check(f):\n    assert f(1, 2) == 3\n",
            "entry_point": "add",
        }
    )
    mbpp = json.dumps({"test_list": [TESTS, "assert add(0, 0) == 0"], "test_setup_code": ""})
    rows = [
        Answered("a", human_eval, "    return a + b\n"),
        Answered("b", human_eval, f"<think>hm</think>Here:\n```python\n{RIGHT}\n```"),
        Answered("c", mbpp, f"```python\n{RIGHT}\n```"),
        Answered("d", TESTS, RIGHT),
        Answered("e", mbpp, WRONG),
        Answered("f", TESTS, "import sys; sys.exit(0)\n" + RIGHT),
        Answered("g", human_eval, "    return a +\n"),
        Answered("h", mbpp, "def add(a, b): return c"),
    ]
    scorer = CodeScorer.of(rows)
    causes = {row.key: scorer.score(row).causes for row in rows}
    assert causes == {
        **dict.fromkeys("abcd", ()),
        "e": ("assertion failed",),
        "f": ("ended early",),
        "g": ("syntax error",),
        "h": ("raised NameError",),
    }
