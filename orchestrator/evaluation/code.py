"""Scores programs by their tests, which run in the jail (`docs/jail.md`), two at a time.

pass@k is the unbiased estimator of Chen et al. 2021 over the answers to one task: the rows that
have the same prompt and the same tests. Their first row carries what the task gives to each metric,
so that intervals are over tasks, whose answers are not independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.evaluation.code_answers import program_of
from orchestrator.evaluation.code_runs import Run, Runs
from orchestrator.evaluation.code_tasks import Task, task_of
from orchestrator.evaluation.scores import Answered, MetricKind, Part, RowScores
from orchestrator.jail.verdicts import Outcome, Verdict

CODE_PASS = MetricKind(
    "code_pass", "Answers whose program passes all tests of its row, in a jail without a network."
)
CODE_RUNS = MetricKind("code_runs", "Answers that hold a program which Python can read.")
KS = (1, 5, 10, 100)
PASS_AT = tuple(
    MetricKind(
        f"pass@{k}",
        f"Chance that one of {k} answers to a task passes (Chen et al. 2021), of tasks with at"
        f" least {max(2, k)} answers."
        if k > 1
        else "Chance that an answer to a task passes, of tasks with at least 2 answers.",
    )
    for k in KS
)
NO_CODE = "no code"


def pass_at(k: int, answers: int, passed: int) -> float:
    """The chance that k answers, drawn from those to one task, hold one that passed.

    1 - C(n - c, k) / C(n, k), without bias for independent answers (Chen et al. 2021, section 2.1).
    """
    if not 0 <= passed <= answers or not 1 <= k <= answers:
        raise ValueError(f"pass@{k} of {passed} passed among {answers} answers")
    return 1 - math.comb(answers - passed, k) / math.comb(answers, k)


@dataclass(frozen=True)
class CodeScorer:
    """Programs by their tests. `of` lets the answers to one task be scored together."""

    runs: Runs
    answers: Mapping[str, _Answer]
    tasks: Mapping[tuple[str, str], tuple[str, ...]]
    name: str = "code"
    metrics: tuple[MetricKind, ...] = (CODE_PASS, CODE_RUNS, *PASS_AT)

    @classmethod
    def of(cls, rows: Sequence[Answered], run: Run | None = None) -> CodeScorer:
        """The scorer for these rows; nothing is run yet. `InputError` where a row has no tests."""
        answers = {row.key: _answer(row) for row in rows}
        tasks: dict[tuple[str, str], tuple[str, ...]] = {}
        for row in rows:
            tasks[_task_key(row)] = (*tasks.get(_task_key(row), ()), row.key)
        known = [(one.program, one.task.tests) for one in answers.values() if one.program]
        return cls(Runs(known, run), answers, tasks)

    def score(self, row: Answered) -> RowScores:
        """The parts of one row, or of all answers to its task where it is the first of them.

        Raises `JailUnavailable` where there is no jail, and `InputError` where there are no tests.
        """
        known = self.answers.get(row.key)
        if known is not None and known.said == row.predicted:
            answer, keys = known, self.tasks.get(_task_key(row), (row.key,))
        else:  # an answer that was not there at first, as the constant one
            answer, keys = _answer(row), (row.key,)
        causes = _causes(self._outcome(answer))
        if keys[0] != row.key:
            return RowScores(row.key, {}, row.slices, causes)
        every = [answer if key == row.key else self.answers[key] for key in keys]
        return RowScores(row.key, self._parts(every), row.slices, causes)

    def _parts(self, answers: Sequence[_Answer]) -> dict[str, Part]:
        outcomes = [self._outcome(one) for one in answers]
        passed = sum(one is not None and one.passed for one in outcomes)
        runs = sum(one is not None and one.compiled for one in outcomes)
        count = len(answers)
        parts = {CODE_PASS.name: Part(passed, count), CODE_RUNS.name: Part(runs, count)}
        for k, kind in zip(KS, PASS_AT, strict=True):
            if count >= max(2, k):
                parts[kind.name] = Part(pass_at(k, count, passed))
        return parts

    def _outcome(self, answer: _Answer) -> Outcome | None:
        if answer.program is None:
            return None
        return self.runs.outcome(answer.program, answer.task.tests)


@dataclass(frozen=True)
class _Answer:
    """What was said to a task, and the program in it."""

    task: Task
    said: str | None
    program: str | None


def _answer(row: Answered) -> _Answer:
    task = task_of(row.expected, row.key)
    return _Answer(task, row.predicted, program_of(task, row.predicted))


def _task_key(row: Answered) -> tuple[str, str]:
    return row.prompt, row.expected


def _causes(outcome: Outcome | None) -> tuple[str, ...]:
    if outcome is None:
        return (NO_CODE,)
    if outcome.passed:
        return ()
    if outcome.verdict is Verdict.RAISED:
        return (f"raised {outcome.exception or 'an exception of its own'}",)
    return (str(outcome.verdict),)
