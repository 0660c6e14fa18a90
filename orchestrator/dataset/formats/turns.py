"""Builds the chats of formats whose rows hold a question and an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.dataset.example import Example, Message, Tool
from orchestrator.dataset.formats.base import FormatContext, RowError
from orchestrator.dataset.formats.prompt_template import prompt_template, written
from orchestrator.spec import MappingBlock

_TEXT = {str}


def asked(
    place: tuple[str, int],
    fields: dict[str, Any],
    context: FormatContext,
    question: str,
    answer: Message,
    *,
    tools: tuple[Tool, ...] | None = None,
    reference: str | None = None,
) -> Example:
    """The example of one question and one answer, with the prompts and template of the spec."""
    mapping = context.mapping
    if mapping.template is not None:
        question = prompt_template(mapping.template).fill(fields)
    turns = with_openings((Message("user", question),), mapping)
    return chat(place, fields, context, (*turns, answer), tools=tools, reference=reference)


def chat(
    place: tuple[str, int],
    fields: dict[str, Any],
    context: FormatContext,
    messages: Sequence[Message],
    *,
    tools: tuple[Tool, ...] | None = None,
    reference: str | None = None,
) -> Example:
    """The example of a chat whose last turn is the answer."""
    file, line = place
    answer = thought(messages[-1], fields, context.mapping)
    return Example(
        file,
        line,
        tuple(messages[:-1]),
        (answer,),
        fields,
        context.tools if tools is None else tools,
        reference,
        tags_of(fields),
        difficulty_of(fields),
    )


def with_openings(messages: tuple[Message, ...], mapping: MappingBlock) -> tuple[Message, ...]:
    """The chat with the spec's system and developer prompts before it, where it has none."""
    roles = {message.role for message in messages}
    opening: list[Message] = []
    if mapping.system is not None and "system" not in roles:
        opening.append(Message("system", mapping.system))
    if mapping.developer is not None and "developer" not in roles:
        # Behind the system prompt that the row has, if it has one.
        own = 1 if messages and messages[0].role == "system" else 0
        opening += [*messages[:own], Message("developer", mapping.developer)]
        messages = messages[own:]
    return (*opening, *messages)


def thought(answer: Message, fields: dict[str, Any], mapping: MappingBlock) -> Message:
    """The answer with the field that the spec names as its thinking before it."""
    if mapping.think is None:
        return answer
    content = think_wrapped(answer.content or "", fields, mapping.think).rstrip()
    return Message(answer.role, content, answer.calls, answer.thinking)


def think_wrapped(answer: str, fields: dict[str, Any], field: str) -> str:
    """A text with the field's text before it, between <think> and </think>."""
    value = fields.get(field)
    if value is None or not written(value).strip():
        message = f"the row has no `{field}`, which data.mapping.think names"
        raise RowError("think-field", message, "Give the field, or leave the row out.")
    return f"<think>\n{written(value).strip()}\n</think>\n\n{answer}"


def tags_of(fields: dict[str, Any]) -> tuple[str, ...]:
    """The row's tags, where it has a list of them."""
    tags = fields.get("tags")
    if isinstance(tags, list) and {*map(type, tags)} <= _TEXT:
        return tuple(tags)
    return ()


def difficulty_of(fields: dict[str, Any]) -> str | None:
    """How hard the row says it is."""
    difficulty = fields.get("difficulty")
    return difficulty if isinstance(difficulty, str) else None
