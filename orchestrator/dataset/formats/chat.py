"""Rows of chats in OpenAI's form: `messages`, and the tools that they may call.

The last turn, which must be the assistant's, is the answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.formats.base import Format, FormatContext, RowError
from orchestrator.dataset.formats.calls_of_rows import call
from orchestrator.dataset.formats.turns import chat, with_openings
from orchestrator.dataset.tools import ToolProblem, row_tools

_THINKING = ("reasoning_content", "thinking", "reasoning")
#: What Anthropic's parts of a turn are in OpenAI's form.
_INSTEAD = {
    "tool_use": "Write the call as OpenAI has it: `tool_calls` beside `content`.",
    "tool_result": "Write the reply as OpenAI has it: a message with the role tool.",
    "thinking": "Write the thinking as `reasoning_content` beside `content`.",
}


class Chat(Format):
    """`messages` with roles and contents, calls and replies of tools; `tools` beside them."""

    name = "chat"
    schema = "chat"
    columns = ("messages", "tools")
    looks = (
        'A row is {"messages": [{"role": "user", "content": "..."}, '
        '{"role": "assistant", "content": "..."}]}.'
    )
    mapped = ("system", "developer", "think")

    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The chat up to its last turn, and that turn as the answer."""
        messages = messages_of(fields["messages"], "messages")
        if messages[-1].role != "assistant":
            message = f"messages: the chat ends with the {messages[-1].role}'s turn"
            hint = "The last turn is what the model must answer: it must be the assistant's."
            raise RowError("role-order", message, hint)
        _refuse_lost(fields, messages, context)
        messages = with_openings(messages, context.mapping)
        return chat((file, line), fields, context, messages, tools=_tools(fields, context))


def _refuse_lost(
    fields: dict[str, Any], messages: Sequence[Message], context: FormatContext
) -> None:
    """Raise `RowError` for what a row says beside its turns, and nobody would hear."""
    last = len(messages) - 1
    weight = fields["messages"][last].get("weight")
    if weight is not None and not weight:
        message = f"messages[{last}].weight is 0: by it, the answer is not to be trained on"
        hint = "Leave the row out, or take the weight away: here, last turns are trained on."
        raise RowError("untrained-answer", message, hint)
    prompted = context.mapping.system is not None or any(m.role == "system" for m in messages)
    system = fields.get("system")
    if not prompted and isinstance(system, str) and system.strip():
        message = "`system` stands beside `messages`, where no model reads it"
        hint = "Write it as the first message, with the role system."
        raise RowError("system-beside", message, hint)


def _tools(fields: dict[str, Any], context: FormatContext) -> tuple[Tool, ...]:
    own = fields.get("tools")
    if own is None:
        return context.tools
    try:
        return row_tools(own)
    except ToolProblem as problem:
        raise RowError("tools-form", f"tools: {problem.message}", problem.hint) from None


def messages_of(values: Sequence[dict[str, Any]], field: str) -> tuple[Message, ...]:
    """The turns of a chat that follows the schema `chat`. Raises `RowError`."""
    messages: list[Message] = []
    names: dict[str, str] = {}  # of the tools, by the calls' ids
    for index, value in _replies_in_order(values):
        where = f"{field}[{index}]"
        if value.get("function_call") is not None:
            message = f"{where}.function_call is the form that OpenAI has given up"
            raise RowError("function-call", message, "Write it as `tool_calls`, a list.")
        messages.append(
            Message(
                value["role"],
                _content(value.get("content"), where),
                _calls(value.get("tool_calls"), where, names),
                next((value[key] for key in _THINKING if value.get(key)), None),
                _tool_name(value, where, names) if value["role"] == "tool" else None,
            )
        )
    return tuple(messages)


def _replies_in_order(values: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The turns with their places, and replies of tools in the order of the calls.

    Templates write no ids: there, a reply is told by its place alone.
    """
    turns = list(enumerate(values))
    if all(value["role"] != "tool" for value in values):
        return turns
    ordered: list[tuple[int, dict[str, Any]]] = []
    order: dict[str, int] = {}  # of the calls in the last turn, by their ids
    for are_replies, group in itertools.groupby(turns, key=lambda turn: turn[1]["role"] == "tool"):
        run = list(group)
        if are_replies and all(value.get("tool_call_id") in order for _, value in run):
            run.sort(key=lambda turn: order[turn[1]["tool_call_id"]])
        ordered += run
        calls = run[-1][1].get("tool_calls") or ()
        order = {c["id"]: at for at, c in enumerate(calls) if isinstance(c.get("id"), str)}
    return ordered


def _content(value: Any, where: str) -> str | None:
    if not isinstance(value, list):
        return value if value is None else str(value)
    texts = []
    for index, part in enumerate(value):
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type")
            message = f"{where}.content[{index}] is no text, and only text is trained on"
            hint = _INSTEAD.get(kind, "Leave the row out.") if isinstance(kind, str) else ""
            raise RowError("content-part", message, hint)
        texts.append(part["text"])
    return "".join(texts)


def _calls(
    values: list[dict[str, Any]] | None, where: str, names: dict[str, str]
) -> tuple[Call, ...]:
    calls = []
    for index, value in enumerate(values or ()):
        found = call(value, f"{where}.tool_calls[{index}]")
        calls.append(found)
        if isinstance(value.get("id"), str):
            names[value["id"]] = found.name
    return tuple(calls)


def _tool_name(value: dict[str, Any], where: str, names: dict[str, str]) -> str | None:
    """The tool that a reply comes from: named itself, or through the id of the call."""
    own, call_id = value.get("name"), value.get("tool_call_id")
    if names and call_id is not None and call_id not in names:
        message = f"{where}.tool_call_id: no call before has the id {call_id!r}"
        raise RowError("unknown-call-id", message, "Give the id of the call that it replies to.")
    return own if own is not None else names.get(call_id or "")


FORMAT = Chat()
