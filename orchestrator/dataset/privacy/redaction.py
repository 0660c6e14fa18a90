"""Masks what is private in all texts of an example."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.json_texts import texts_in

#: A string as it stands in a JSON document.
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')

#: What a declaration of a tool is understood by, and nobody's data.
_LANGUAGE = frozenset({"name", "type", "required", "$ref", "pattern"})

Redact = Callable[[str], str]


def redacted(example: Example, redact: Redact) -> Example:
    """The example with every text masked; the same object if nothing is private.

    Names of tools and of arguments stay: they are the model's language, not somebody's data. An
    answer that is JSON is masked inside its strings, and stays JSON.
    """
    masked = dataclasses.replace(
        example,
        prompt=_side(example.prompt, redact),
        answer=_side(example.answer, redact),
        reference=redact(example.reference) if example.reference else example.reference,
        tools=_tools(example.tools, redact),
        tags=tuple(map(redact, example.tags)),
        difficulty=redact(example.difficulty) if example.difficulty else example.difficulty,
    )
    return example if masked == example else masked


def _tools(tools: tuple[Tool, ...], redact: Redact) -> tuple[Tool, ...]:
    declared = "\n".join(text for tool in tools for text in texts_in(tool.declaration, names=False))
    if redact(declared) == declared:
        return tools
    return tuple(
        Tool(tool.name, _declared(tool.parameters, redact), _declared(tool.declaration, redact))
        for tool in tools
    )


def _declared(value: Any, redact: Redact) -> Any:
    """A part of a declaration with its strings masked, but for those that calls are made with."""
    if isinstance(value, dict):
        return {
            name: item
            if name in _LANGUAGE and not isinstance(item, dict)
            else _declared(item, redact)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_declared(item, redact) for item in value]
    return redact(value) if isinstance(value, str) else value


def _side(side: str | tuple[Message, ...], redact: Redact) -> str | tuple[Message, ...]:
    if isinstance(side, str):
        return _text(side, redact)
    return tuple(_message(message, redact) for message in side)


def _message(message: Message, redact: Redact) -> Message:
    calls = tuple(Call(call.name, _value(call.arguments, redact)) for call in message.calls)
    return dataclasses.replace(
        message,
        content=_text(message.content, redact) if message.content else message.content,
        thinking=redact(message.thinking) if message.thinking else message.thinking,
        calls=calls,
    )


def _text(text: str, redact: Redact) -> str:
    if not _is_json(text):
        return redact(text)

    def mask(string: re.Match[str]) -> str:
        plain = json.loads(string[0], strict=False)
        masked = redact(plain)
        return string[0] if masked == plain else json.dumps(masked, ensure_ascii=False)

    return _JSON_STRING.sub(mask, text)


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _value(value: Any, redact: Redact) -> Any:
    """A value of JSON with its strings masked."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_value(item, redact) for item in value]
    if isinstance(value, dict):
        return {name: _value(item, redact) for name, item in value.items()}
    return value
