"""Rows of a query and the fields of its route plan, which become a prompt and strict JSON."""

from __future__ import annotations

import functools
import json
from typing import Any

from orchestrator.data_files import schema
from orchestrator.dataset.example import Example
from orchestrator.dataset.formats.base import Format, FormatContext
from orchestrator.dataset.formats.calls_of_rows import json_value
from orchestrator.dataset.formats.prompt_template import prompt_template
from orchestrator.dataset.formats.turns import difficulty_of, tags_of, think_wrapped

#: What the model reads where the spec has no template of its own.
PROMPT = """You route queries to the agents /math, /code and /general-search.
Plan how the query below is to be answered, and write the plan as one JSON object with the keys \
{keys}, in this order.
Write strict JSON: double quotes, and nothing before or after the object. `route_plan` lists the \
calls of agents in the order in which they run, each as /agent(what it must do).

Query:
{query}
"""
#: In tables these may stand as JSON texts.
_NESTED = ("array", "object")


class RouterTrace(Format):
    """`user_query` and the keys of the schema route-plan, each a column."""

    name = "router-trace"
    schema = "router-trace"
    columns = (
        "user_query",
        "route_plan",
        "route_rationale",
        "expected_artifacts",
        "thinking_outline",
        "handoff_plan",
        "todo_list",
        "difficulty",
        "tags",
        "acceptance_criteria",
        "metrics",
    )
    looks = 'A row is {"user_query": "...", "route_plan": [...], ...}, with all keys of a plan.'
    mapped = ("template", "think")

    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The query in a prompt, and the plan as JSON with its keys in the schema's order."""
        mapping = context.mapping
        plan = {key: _plan_value(key, fields[key]) for key in plan_keys()}
        if mapping.template is not None:
            prompt = prompt_template(mapping.template).fill(fields)
        else:
            keys = ", ".join(plan_keys())
            prompt = PROMPT.format(keys=keys, query=fields["user_query"])
        answer = json.dumps(plan, ensure_ascii=False)
        if mapping.think is not None:
            answer = think_wrapped(answer, fields | plan, mapping.think)
        tags, difficulty = tags_of(plan), difficulty_of(plan)
        return Example(
            file, line, prompt, answer, fields, context.tools, None, tags, difficulty, None
        )


def plan_keys() -> tuple[str, ...]:
    """The keys of a route plan, in the order of its schema."""
    return tuple(_properties())


@functools.cache
def _properties() -> dict[str, Any]:
    found: dict[str, Any] = schema("route-plan")["properties"]
    return found


def _plan_value(key: str, value: Any) -> Any:
    """The value of a key; a list or an object may stand as JSON text, as it does in a table."""
    nested = _properties()[key].get("type") in _NESTED or "lines" in str(_properties()[key])
    if nested and isinstance(value, str):
        return json_value(value, key)
    return value


FORMAT = RouterTrace()
