"""Scores answers that call one agent: the agent, its arguments, and both.

An answer is read as a call in the syntax of the model, or as the JSON {"agent": …, "arguments": …}
that models answer which have no syntax of their own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.calls import Syntax, ToolCall
from orchestrator.evaluation.answered_calls import AGENT_JSON, read_answer, same_json
from orchestrator.evaluation.intervals import Share, share_of


@dataclass(frozen=True)
class RowScore:
    """What one answer was worth. `expected_agent` is that of the row, `agent` that of the answer.

    `agent` is None where the answer is not exactly one call. `arguments_right` needs the right
    agent too: the same words mean something else with another.
    """

    expected_agent: str
    agent: str | None
    agent_right: bool
    arguments_right: bool
    parsed: bool

    @property
    def exact(self) -> bool:
        """Whether agent and arguments are those of the row, and nothing stands beside the call."""
        return self.agent_right and self.arguments_right


@dataclass(frozen=True)
class RoutingScores:
    """The scores of all rows. `by_agent` has (name, agent right, exact) in the order of names."""

    rows: tuple[RowScore, ...]

    @property
    def parsed(self) -> Share:
        """Answers that are one call and nothing else."""
        return share_of([row.parsed for row in self.rows])

    @property
    def agent(self) -> Share:
        """Answers that name the right agent."""
        return share_of([row.agent_right for row in self.rows])

    @property
    def exact(self) -> Share:
        """Answers with the right agent and exactly its arguments."""
        return share_of([row.exact for row in self.rows])

    @property
    def by_agent(self) -> tuple[tuple[str, Share, Share], ...]:
        """For every agent that rows expect: its name, agent right, exact."""
        found = []
        for name in sorted({row.expected_agent for row in self.rows}):
            rows = [row for row in self.rows if row.expected_agent == name]
            shares = share_of([row.agent_right for row in rows]), share_of([r.exact for r in rows])
            found.append((name, *shares))
        return tuple(found)


def read_call(answer: str, syntax: Syntax | None = None) -> ToolCall | None:
    """The one call that an answer is; None if it is anything else.

    Without a syntax, JSON of an agent and arguments. Text around the call makes it no answer: the
    service that takes it could not know which part to believe.
    """
    found = read_answer(answer, syntax or AGENT_JSON)
    whole = len(found.calls) == 1 and not found.text and not found.problem
    return found.calls[0] if whole else None


def score_row(expected: ToolCall, answer: str, syntax: Syntax | None = None) -> RowScore:
    """Hold one answer against the call that its row expects."""
    given = read_call(answer, syntax)
    agent_right = given is not None and given.name == expected.name
    same = given is not None and same_json(given.arguments) == same_json(expected.arguments)
    return RowScore(
        expected_agent=expected.name,
        agent=given.name if given is not None else None,
        agent_right=agent_right,
        arguments_right=agent_right and same,
        parsed=given is not None,
    )


def score(
    expected: Sequence[ToolCall], answers: Sequence[str], syntax: Syntax | None = None
) -> RoutingScores:
    """Score all answers; `ValueError` unless there is one for each row, and at least one row."""
    if not expected:
        raise ValueError("there are no rows to score")
    pairs = zip(expected, answers, strict=True)
    return RoutingScores(tuple(score_row(call, answer, syntax) for call, answer in pairs))


def constant_call(train: Sequence[ToolCall]) -> ToolCall:
    """The call that the most training rows expect; of equals, the first in the alphabet."""
    return _commonest(train)


def majority_agent(train: Sequence[ToolCall]) -> ToolCall:
    """The agent that the most training rows expect, with its own commonest arguments."""
    counts = Counter(call.name for call in train)
    name = min(counts, key=lambda agent: (-counts[agent], agent))
    return _commonest([call for call in train if call.name == name])


def score_constant(expected: Sequence[ToolCall], given: ToolCall) -> RoutingScores:
    """What it is worth to give every row the same call, whatever it asks."""
    answer = json.dumps({"agent": given.name, "arguments": given.arguments})
    return score(expected, [answer] * len(expected))


def _commonest(calls: Sequence[ToolCall]) -> ToolCall:
    counts = Counter(_canonical(call) for call in calls)
    commonest = min(counts, key=lambda text: (-counts[text], text))
    return next(call for call in calls if _canonical(call) == commonest)


def _canonical(call: ToolCall) -> str:
    return json.dumps([call.name, call.arguments], sort_keys=True)
