"""Reads the answers of a router: JSON with a route plan in it, perhaps behind some thinking.

What is JSON, what follows the schema, and what the tool of a step is, the checks of the data decide
(`orchestrator.dataset`): an answer is read here as a row to train on is read there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.calls import END_MARKS
from orchestrator.data_files import schema
from orchestrator.dataset.checks.schemas import Schema, shipped_schema
from orchestrator.dataset.constant_answers import tool_of
from orchestrator.dataset.reading.repeated_keys import RepeatedKey, TooDeep, read_json
from orchestrator.errors import InputError

SCHEMA = "route-plan"
_THINK, _END_OF_THINK = "<think>", "</think>"
#: Marks of an end, read backwards from the end of an answer.
_ENDS = re.compile(rf"\s*(?:(?:{'|'.join(re.escape(mark[::-1]) for mark in END_MARKS)})\s*)*")
#: From so many steps on a plan is a "four-step" one.
_FOUR_STEPS = 4


@dataclass(frozen=True)
class PlanAnswer:
    """An answer as far as it can be read. `text` is what stands behind the thinking.

    `thought` is whether it begins with a closed <think> block in which something stands.
    `problem` says in fixed words why there is no JSON; None where there is. `document` is the JSON
    where it is an object, else None.
    """

    text: str
    thought: bool
    problem: str | None
    follows_schema: bool = False
    document: dict[str, Any] | None = None

    def value(self, key: str) -> Any:
        """The value of a key of the document; None where there is none."""
        return self.document.get(key) if self.document is not None else None

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of the plan; one that is no text is an empty one, and names no tool."""
        steps = self.value("route_plan")
        if not isinstance(steps, list):
            return ()
        return tuple(step if isinstance(step, str) else "" for step in steps)

    @functools.cached_property
    def tools(self) -> tuple[str, ...]:
        """The tools of the steps, in order."""
        return tuple(map(tool_of, self.steps))

    @property
    def todo_text(self) -> str:
        """The lines of the todo list; empty where there are none."""
        lines = self.value("todo_list")
        if not isinstance(lines, list):
            return ""
        return "\n".join(line for line in lines if isinstance(line, str))

    @property
    def handoff_text(self) -> str:
        """The plan of the hand-over; empty where there is none."""
        text = self.value("handoff_plan")
        return text if isinstance(text, str) else ""

    @property
    def difficulty(self) -> str | None:
        """How hard the plan says the query is."""
        difficulty = self.value("difficulty")
        return difficulty if isinstance(difficulty, str) else None

    @property
    def archetype(self) -> str:
        """The kind of the plan: "one-step", "four-step" (or more), else by its first tool.

        "math-first" is a plan of two or three steps that begins with /math.
        """
        if len(self.tools) == 1:
            return "one-step"
        if len(self.tools) >= _FOUR_STEPS:
            return "four-step"
        return f"{self.tools[0].lstrip('/')}-first" if self.tools else "no steps"


def read_plan(answer: str | None) -> PlanAnswer:
    """What an answer says; never raises for what stands in it."""
    if answer is None:
        return PlanAnswer("", thought=False, problem="no answer")
    text = _without_end_marks(answer)
    thought = False
    if text.startswith(_THINK):
        thoughts, end, text = text.removeprefix(_THINK).partition(_END_OF_THINK)
        if not end:
            return PlanAnswer("", thought=False, problem="thinking not closed")
        thought, text = bool(thoughts.strip()), text.lstrip()
    try:
        value = read_json(text)
    except RepeatedKey:
        return PlanAnswer(text, thought, "a key of the JSON stands twice")
    except TooDeep:
        return PlanAnswer(text, thought, "JSON nested too deeply")
    except ValueError:
        return PlanAnswer(text, thought, _no_json(text))
    if not isinstance(value, dict):
        return PlanAnswer(text, thought, None)
    return PlanAnswer(text, thought, None, shipped_schema(SCHEMA).accepts(value), value)


def read_expected(key: str, answer: str) -> PlanAnswer:
    """The plan that a row expects; raises `InputError` that names the row unless it is one."""
    plan = read_plan(answer)
    reason = plan.problem
    if plan.document is None:
        reason = reason or "JSON, but no object"
    elif not plan.follows_schema:
        reason = shipped_schema(SCHEMA).reason(plan.document)
    if reason is not None:
        raise InputError(
            f"row {key}: the expected answer is no route plan: {reason}",
            hint=f"Correct the row, or leave it out. See: orchestrator schema {SCHEMA}",
        )
    return plan


def departures(plan: PlanAnswer) -> Iterable[str]:
    """In fixed words, where JSON departs from the schema; nothing where it follows it."""
    if plan.problem is not None or plan.follows_schema:
        return
    if plan.document is None:
        yield "JSON, but no object"
        return
    parts = _schemas_of_keys()
    for key, part in parts.items():
        if key not in plan.document:
            yield f"key missing: {key}"
        elif not part.accepts(plan.document[key]):
            yield f"against the schema: {key}"
    if plan.document.keys() - parts.keys():
        yield "a key that the schema does not know"


def argument_of(step: str) -> str:
    """What a step asks of its tool: `Derive …` of `/math(Derive …)`; empty if it asks nothing."""
    return step.partition("(")[2].rstrip().removesuffix(")")


def named_in(text: str, tools: Iterable[str]) -> set[str]:
    """Those of the tools that a text names, as words of their own, in any case."""
    return {tool for tool in tools if _mention(tool).search(text)}


@functools.lru_cache(maxsize=256)
def _mention(tool: str) -> re.Pattern[str]:
    # Not in "and/math" or "/math-tools"; but in "/math->/code".
    return re.compile(rf"(?<![\w/]){re.escape(tool)}(?!\w|-\w)", re.IGNORECASE)


@functools.cache
def _schemas_of_keys() -> dict[str, Schema]:
    definition = schema(SCHEMA)
    shared = {"$defs": definition["$defs"]}
    return {key: Schema(part | shared) for key, part in definition["properties"].items()}


def _without_end_marks(answer: str) -> str:
    marks = _ENDS.match(answer[::-1])
    return answer[: len(answer) - (marks.end() if marks else 0)].lstrip()


def _no_json(text: str) -> str:
    if not text:
        return "empty answer"
    if text.startswith("```"):
        return "JSON fenced as code"
    if not text.startswith("{"):
        return "no JSON"
    return "JSON broken off or with text behind it"
