"""Writes an example as the line of JSONL that a service takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from orchestrator.dataset.example import Call, Example, Message


def service_line(example: Example, service: str) -> bytes:
    """The line for a service (`vertex`, `hf-jobs`): the same bytes wherever it is written."""
    return orjson.dumps(service_row(example, service)) + b"\n"


def service_row(example: Example, service: str) -> dict[str, Any]:
    """The row for a service, before it becomes bytes.

    Two texts stay two texts. A chat becomes `messages` for Vertex, which knows no developer and
    documents no field for thinking; for Hugging Face Jobs it becomes TRL's conversational
    prompt and completion, so that the loss is computed on the answer alone.
    """
    prompt, answer = example.prompt, example.answer
    if isinstance(prompt, str) and isinstance(answer, str):
        return {"prompt": prompt, "completion": answer}
    asked = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    given = (Message("assistant", answer),) if isinstance(answer, str) else answer
    if service == "vertex":
        row: dict[str, Any] = {"messages": list(_vertex((*asked, *given)))}
    else:
        turns = list(conversation((*asked, *given)))
        row = {"prompt": turns[: len(asked)], "completion": turns[len(asked) :]}
    if example.tools:
        row["tools"] = [tool.declaration for tool in example.tools]
    return row


def conversation(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    """The turns as chat templates of transformers render them: arguments are objects."""
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.thinking:
            # Templates read the one name or the other.
            turn["reasoning_content"] = turn["thinking"] = message.thinking
        if message.calls:
            turn["tool_calls"] = [
                {"type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in message.calls
            ]
        if message.name:
            turn["name"] = message.name
        yield turn


def _vertex(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    """The turns in OpenAI's form. Calls and their replies are tied by numbered ids."""
    waiting: list[tuple[str, str]] = []  # ids and names of calls that nobody has replied to
    count = 0
    for message in _with_one_system(messages):
        turn: dict[str, Any] = {"role": message.role, "content": _with_thinking(message)}
        if message.calls:
            ids = [f"call_{number}" for number in range(count, count + len(message.calls))]
            count += len(ids)
            waiting = list(zip(ids, (c.name for c in message.calls), strict=True))
            turn["tool_calls"] = [
                _openai_call(i, c) for i, c in zip(ids, message.calls, strict=True)
            ]
        elif message.role == "tool" and waiting:
            named = [one for one in waiting if one[1] == message.name]
            reply = (named or waiting)[0]
            waiting.remove(reply)
            turn["tool_call_id"] = reply[0]
        yield turn


def _with_one_system(messages: Sequence[Message]) -> list[Message]:
    """The turns with all prompts of system and developer in one, which comes first."""
    opening = [m.content for m in messages if m.role in {"system", "developer"} and m.content]
    rest = [message for message in messages if message.role not in {"system", "developer"}]
    return [Message("system", "\n\n".join(opening)), *rest] if opening else rest


def _with_thinking(message: Message) -> str | None:
    if message.thinking:
        return f"<think>\n{message.thinking}\n</think>\n\n{message.content or ''}".rstrip()
    return message.content


def _openai_call(number: str, call: Call) -> dict[str, Any]:
    arguments = orjson.dumps(call.arguments).decode()
    return {
        "id": number,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
