"""What a row is an example of: the tools it calls, its agent, route plan, tags, short answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from orchestrator.dataset.constant_answers import tool_of
from orchestrator.dataset.example import Example, answer_calls, answer_text

#: Answers of multiple choice, and of questions for yes or no.
_CHOICE = re.compile(r"\(?([A-Ja-j])[).]{0,2}|yes|no|true|false", re.IGNORECASE)
#: No longer answer is looked at as a whole.
_LONGEST_ANSWER = 300
_AGENT_FIELDS = ("agent_name", "agent")


@dataclass(frozen=True, slots=True)
class RowClasses:
    """The classes of one row; None or empty where it has none of a sort."""

    tools: tuple[str, ...]
    agent: str | None
    plan: tuple[str, ...]
    tags: tuple[str, ...]
    difficulty: str | None
    choice: str | None
    answer: str | None

    @property
    def plan_tools(self) -> tuple[str, ...]:
        """The tools of the route plan, in order."""
        return tuple(map(tool_of, self.plan))


def classes_of(example: Example) -> RowClasses:
    """The classes of an example."""
    document = _document(example)
    text = answer_text(example).strip()
    short = (example.reference or text).strip()
    return RowClasses(
        tools=tuple(call.name for call in answer_calls(example)),
        agent=next((name for key in _AGENT_FIELDS if (name := _text(document.get(key)))), None),
        plan=_texts(document.get("route_plan")),
        tags=example.tags or _texts(document.get("tags")),
        difficulty=example.difficulty or _text(document.get("difficulty")),
        choice=short.upper().strip("().") if _CHOICE.fullmatch(short) else None,
        answer=text if 0 < len(text) <= _LONGEST_ANSWER else None,
    )


def _document(example: Example) -> dict[str, Any]:
    """The answer as an object, if it is one."""
    document = example.document
    if document is None and not answer_calls(example):
        document = _parsed(answer_text(example))
    return document if isinstance(document, dict) else {}


def _parsed(text: str) -> Any:
    """The JSON of an answer, after what the model may think before it."""
    text = text.rpartition("</think>")[2].lstrip()
    if text[:1] == "{":
        import orjson

        try:
            return orjson.loads(text)
        except ValueError:  # the form check says so, where the answer should be JSON
            return None
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if _text(one)) if isinstance(value, list) else ()
