"""What an answer scores that is always the same: a gate below that is worthless.

The metrics compare what a row expects with what is given, from 0 to 1. Recall and precision of
tools are there twice. As sets, a tool that a plan names twice counts once: that is how the figures
published for route plans are reached. As multisets, every step counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_TOOL = re.compile(r"\s*(/?[\w.-]+)")


def tool_of(step: str) -> str:
    """The tool of a step of a route plan: `/math` of `/math(Derive …)`."""
    match = _TOOL.match(step)
    return match[1] if match else step.strip()


def tool_recall_set(expected: Sequence[str], given: Sequence[str]) -> float:
    """What share of the different expected tools is given; 1 if none is expected."""
    return len({*expected} & {*given}) / len({*expected}) if expected else 1.0


def tool_precision_set(expected: Sequence[str], given: Sequence[str]) -> float:
    """What share of the different given tools is expected; of none, 1 if none is expected."""
    return len({*expected} & {*given}) / len({*given}) if given else float(not expected)


def tool_recall_multiset(expected: Sequence[str], given: Sequence[str]) -> float:
    """What share of the expected steps is given, a tool as often as it is named."""
    common = (Counter(expected) & Counter(given)).total()
    return common / len(expected) if expected else 1.0


def tool_precision_multiset(expected: Sequence[str], given: Sequence[str]) -> float:
    """What share of the given steps is expected, a tool as often as it is named."""
    common = (Counter(expected) & Counter(given)).total()
    return common / len(given) if given else float(not expected)


def exact_tool_sequence(expected: Sequence[str], given: Sequence[str]) -> float:
    """1 if the tools are the same, in the same order and number."""
    return float(tuple(expected) == tuple(given))


def exact_plan(expected: Sequence[str], given: Sequence[str]) -> float:
    """1 if all steps are the same, with what they ask for."""
    return float(tuple(expected) == tuple(given))


def tool_accuracy(expected: Sequence[str], given: Sequence[str]) -> float:
    """1 if the calls are of the same tools, whatever their arguments."""
    return float(tuple(expected) == tuple(given))


@dataclass(frozen=True, slots=True)
class Score:
    """The mean of a metric over all rows, from 0 to 1."""

    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class ConstantAnswer:
    """An answer that is always the same, and what it scores on `rows` rows."""

    answer: tuple[str, ...]
    rows: int
    scores: tuple[Score, ...]


Metric = Callable[[Sequence[str], Sequence[str]], float]
_PLAN_METRICS: tuple[tuple[str, Metric], ...] = (
    ("tool_recall_set", tool_recall_set),
    ("tool_precision_set", tool_precision_set),
    ("tool_recall_multiset", tool_recall_multiset),
    ("tool_precision_multiset", tool_precision_multiset),
    ("exact_tool_sequence", exact_tool_sequence),
)


def constant_tools_of_plan(plans: Mapping[tuple[str, ...], int]) -> ConstantAnswer | None:
    """The commonest sequence of tools of route plans; `plans` counts rows by their tools."""
    return _constant(plans, _PLAN_METRICS)


def constant_plan(plans: Mapping[tuple[str, ...], int]) -> ConstantAnswer | None:
    """The commonest route plan; `plans` counts rows by their whole steps."""
    return _constant(plans, (("exact_plan", exact_plan),))


def constant_tool(calls: Mapping[tuple[str, ...], int]) -> ConstantAnswer | None:
    """The commonest tool or agent; `calls` counts rows by the tools that they call."""
    return _constant(calls, (("tool_accuracy", tool_accuracy),))


def constant_text(answers: Mapping[str, int]) -> ConstantAnswer | None:
    """The commonest whole answer; `answers` counts rows by their text."""
    counts: dict[tuple[str, ...], int] = {(text,): count for text, count in answers.items()}
    return _constant(counts, (("exact_answer", exact_plan),))


def _constant(
    counts: Mapping[tuple[str, ...], int], metrics: Sequence[tuple[str, Metric]]
) -> ConstantAnswer | None:
    if not counts:
        return None
    commonest = min(counts, key=lambda answer: (-counts[answer], answer))
    rows = sum(counts.values())
    scores = []
    for name, metric in metrics:
        # In a fixed order, so that the sum is the same to the last bit whatever came first.
        total = sum(counts[row] * metric(row, commonest) for row in sorted(counts))
        scores.append(Score(name, total / rows))
    return ConstantAnswer(commonest, rows, tuple(scores))
