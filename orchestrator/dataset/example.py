"""A row in the one shape that all checks and outputs know, whatever format it was written in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.errors import Place

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool. `arguments` are always an object here, however the row wrote them."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. `thinking` is text that some templates render apart, or drop.

    `name` is the tool that a reply (role tool) comes from, where that is known.
    """

    role: Role
    content: str | None = None
    calls: tuple[Call, ...] = ()
    thinking: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call. `parameters` is a JSON Schema of its arguments' object.

    `declaration` is the tool as its file has it (`{"type": "function", "function": {...}}`), which
    is what chat templates render.
    """

    name: str
    parameters: dict[str, Any]
    declaration: dict[str, Any]


@dataclass(slots=True)
class Example:
    """What the model reads and what it must answer.

    Either `prompt` is a text and `answer` too (the service puts them into no template or its own),
    or `prompt` is a chat that ends before the answer and `answer` the turns of the assistant that
    are trained on (nearly always one). `reference` is a final answer that stands apart from a
    worked solution. `fields` is the row as it was read.
    """

    file: str
    line: int
    prompt: str | tuple[Message, ...]
    answer: str | tuple[Message, ...]
    fields: dict[str, Any]
    tools: tuple[Tool, ...] = ()
    reference: str | None = None
    tags: tuple[str, ...] = ()
    difficulty: str | None = None
    split: str | None = None
    #: The answer parsed by the schema of the spec's `data.answer`, once the form check read it.
    document: Any = field(default=None)

    @property
    def place(self) -> Place:
        """Where the row stands."""
        return Place(self.file, self.line)


def prompt_text(example: Example) -> str:
    """All that the model reads, as one text without a template: for hashes and comparisons."""
    if isinstance(example.prompt, str):
        return example.prompt
    return "\n".join(f"{message.role}: {_turn(message)}" for message in example.prompt)


def question_text(example: Example) -> str:
    """What the user asks: the user's turns, without the system prompt that all rows share."""
    if isinstance(example.prompt, str):
        return example.prompt
    return "\n".join(_turn(message) for message in example.prompt if message.role == "user")


def answer_text(example: Example) -> str:
    """What the model must answer, as one text without a template; calls as canonical JSON."""
    if isinstance(example.answer, str):
        return example.answer
    return "\n".join(_turn(message) for message in example.answer)


def answer_calls(example: Example) -> tuple[Call, ...]:
    """The calls in the answer, in order."""
    if isinstance(example.answer, str):
        return ()
    return tuple(call for message in example.answer for call in message.calls)


def _turn(message: Message) -> str:
    import orjson

    calls = [
        orjson.dumps(
            {"name": call.name, "arguments": call.arguments}, option=orjson.OPT_SORT_KEYS
        ).decode()
        for call in message.calls
    ]
    parts = [f"<think>{message.thinking}</think>" if message.thinking else "", message.content]
    return "\n".join([part for part in parts if part] + calls)
