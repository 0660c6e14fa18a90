"""Says in fixed words why an answer is not the route plan that was expected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from orchestrator.evaluation.route_plan_reading import PlanAnswer, departures, named_in

#: So many tools that are not offered are named of one answer, for it may invent any number.
_MOST_INVENTED = 5
#: What may be shown as the name of a tool; anything else is only said to be none.
_NAME = re.compile(r"/?[A-Za-z0-9_.-]{1,40}")


def causes(expected: PlanAnswer, given: PlanAnswer, offered: Iterable[str]) -> tuple[str, ...]:
    """Why an answer is wrong, the gravest first; nothing for one that is right."""
    if given.problem is not None:
        return (given.problem,)
    found = [*departures(given), *_of_tools(expected, given, {*offered})]
    if expected.thought and not given.thought:
        found.append("thinking left out")
    found += _left_out("todo list", expected, expected.todo_text, given.todo_text)
    found += _left_out("hand-off", expected, expected.handoff_text, given.handoff_text)
    return tuple(dict.fromkeys(found))


def _of_tools(expected: PlanAnswer, given: PlanAnswer, offered: set[str]) -> Iterator[str]:
    wanted, said = Counter(expected.tools), Counter(given.tools)
    yield from (f"tool missing: {tool}" for tool in sorted(wanted - said))
    invented = sorted({_shown(tool) for tool in said.keys() - offered})
    yield from (f"tool not offered: {name}" for name in invented[:_MOST_INVENTED])
    surplus = (said - wanted).keys() & offered
    yield from (f"tool too often: {tool}" for tool in sorted(surplus))
    if wanted == said and expected.tools != given.tools:
        yield "tools in another order"
    if expected.tools == given.tools and expected.steps != given.steps:
        yield "steps in other words"


def _shown(tool: str) -> str:
    return tool if _NAME.fullmatch(tool) else "(no name of a tool)"


def _left_out(where: str, expected: PlanAnswer, wanted: str, said: str) -> Iterator[str]:
    tools = named_in(wanted, {*expected.tools})
    yield from (f"{where} without {tool}" for tool in sorted(tools - named_in(said, tools)))
