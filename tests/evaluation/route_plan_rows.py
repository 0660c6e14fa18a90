"""Route plans to score: small ones of our own, and changes of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.evaluation.route_plans import RoutePlanScorer
from orchestrator.evaluation.scores import Answered

Document = dict[str, Any]

FOUR_STEPS = (
    '/general-search(query="Kalman filter tuning", mode=web)',
    "/math(Derive the update of the covariance (Joseph form))",
    "/code(Write the filter and plot the residuals)",
    "/math(Hold the residuals against the derived covariance)",
)
THREE_STEPS = (
    "/math(Find the fixed points of the map)",
    "/general-search(query=period doubling, mode=rag)",
    "/code(Draw the diagram of bifurcations)",
)
OFFERED = ("/code", "/general-search", "/math")


def plan(steps: Sequence[str] = FOUR_STEPS, difficulty: str = "advanced") -> Document:
    """A document that follows the schema; its todo list and hand-off name the tools it calls."""
    tools = [step.partition("(")[0] for step in steps]
    return {
        "route_plan": [*steps],
        "route_rationale": "Each step needs what the one before it found.",
        "expected_artifacts": ["a report"],
        "thinking_outline": ["read", "derive", "check"],
        "handoff_plan": " -> ".join([*tools, "router QA"]),
        "todo_list": [f"- [ ] {tool}: do the work" for tool in tools] + ["- [ ] router QA: read"],
        "difficulty": difficulty,
        "tags": ["estimation"],
        "acceptance_criteria": ["the residuals are white"],
        "metrics": {"primary": ["error"], "secondary": []},
    }


def text(document: Document, thinking: str = "") -> str:
    """The answer that says a plan, with thinking before it."""
    written = json.dumps(document, ensure_ascii=False)
    return f"<think>\n{thinking}\n</think>\n\n{written}" if thinking else written


def row(expected: str, predicted: str | None, key: str = "row", **slices: str) -> Answered:
    """A row to score."""
    return Answered(key, expected, predicted, slices=slices)


def values(rows: Sequence[Answered], offered: Sequence[str] = OFFERED) -> dict[str, float]:
    """The metrics of rows by their names, as `metrics_of` has them, without their intervals."""
    scorer = RoutePlanScorer(tuple(offered))
    scores = [scorer.score(one) for one in rows]
    found = {}
    for kind in scorer.metrics:
        parts = [one.parts[kind.name] for one in scores if kind.name in one.parts]
        if below := math.fsum(part.below for part in parts):
            found[kind.name] = math.fsum(part.above for part in parts) / below
    return found


def perfect(rows: Sequence[Answered]) -> list[Answered]:
    """The same rows, answered as they should be."""
    return [Answered(one.key, one.expected, one.expected, slices=one.slices) for one in rows]


def moved(rows: Sequence[Answered], answer: str | None, place: int = 0) -> set[str]:
    """The metrics that change if, of rows answered right, the one at a place answers otherwise."""
    right = perfect(rows)
    planted = [*right]
    planted[place] = Answered("planted", rows[place].expected, answer)
    tools = RoutePlanScorer.of(rows).offered
    before, after = values(right, tools), values(planted, tools)
    return {name for name in before | after if before.get(name) != after.get(name)}


Change = Callable[[Document], None]


def changed(document: Document, change: Change) -> Document:
    """A copy of a plan in which something is changed."""
    copy: Document = json.loads(json.dumps(document))
    change(copy)
    return copy


def drop(tool: str) -> Change:
    def change(document: Document) -> None:
        steps = document["route_plan"]
        steps.remove(next(step for step in steps if step.startswith(f"{tool}(")))

    return change


def add(step: str, place: int = 1) -> Change:
    return lambda document: document["route_plan"].insert(place, step)


def swap(document: Document) -> None:
    """Exchange two neighbours that call different tools."""
    steps = document["route_plan"]
    steps[1:3] = steps[2:0:-1]


def replace(key: str, old: str, new: str) -> Change:
    def change(document: Document) -> None:
        document[key] = json.loads(json.dumps(document[key]).replace(old, new))

    return change
