"""Reads answers that the spec says are JSON documents, and judges them by their schema."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import orjson

from orchestrator.dataset.checks.schemas import BrokenSchema, Schema, shipped_schema, written_path
from orchestrator.dataset.reading.repeated_keys import RepeatedKey, TooDeep, read_json
from orchestrator.dataset.rules import Rules
from orchestrator.errors import InputError, Place

_THINK = "<think>"
_END_OF_THINK = "</think>"


class WrongAnswer(Exception):
    """An answer that is not the document that the spec says it is."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class AnswerReader:
    """Reads the answers of one data block. Raises `InputError` if the schema is none."""

    def __init__(self, name: str, schema: Schema, *, shipped: bool) -> None:
        self._name = name
        self._schema = schema
        self._hint = f"See: orchestrator schema {name}" if shipped else f"See the schema: {name}."

    @classmethod
    def of(cls, rules: Rules) -> AnswerReader | None:
        """The reader for the spec's `data.answer`; None if answers are any text."""
        name = rules.data.answer
        if name == "text":
            return None
        if not name.endswith(".json"):
            return cls(name, shipped_schema(name), shipped=True)
        return cls(name, _users_schema(rules.spec_folder / name, name), shipped=False)

    def read(self, answer: str) -> Any:
        """The document in an answer (behind its thinking). Raises `WrongAnswer`."""
        text = _without_thinking(answer)
        try:
            value = read_json(text)
        except orjson.JSONDecodeError as error:
            raise self._not_json(text, error) from None
        except RepeatedKey as repeated:
            message = f"answer: the key {repeated.key!r} stands twice in one object"
            raise WrongAnswer("answer-duplicate-key", message, "Keep one of them.") from None
        if not self._schema.accepts(value):
            message = f"answer: {self._schema.reason(value)}"
            raise WrongAnswer("answer-schema", message, self._hint)
        return value

    def _not_json(self, text: str, error: orjson.JSONDecodeError) -> WrongAnswer:
        hint = f"The spec says that answers are {self._name} documents."
        message = f"the answer is not JSON: {error}"
        begun = text.lstrip()
        if isinstance(error, TooDeep):
            message = f"the answer cannot be used: {error}"
        elif not begun:
            message = "the answer is empty, and no JSON document"
        elif begun.startswith("```"):
            message = "the answer is not JSON: it is fenced as code"
            hint = f"Take the ``` away. {hint}"
        else:
            rest = _trailing(begun)
            if rest:
                message = f"the answer goes on after its JSON document: {rest[:30]!r}"
                hint = f"Take away what follows it. {hint}"
        return WrongAnswer("answer-not-json", message, hint)


def _without_thinking(answer: str) -> str:
    if _THINK in answer[:80] and answer.lstrip().startswith(_THINK):
        return answer.partition(_END_OF_THINK)[2]
    return answer


def _trailing(text: str) -> str:
    """What stands behind the first JSON document of a text."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return ""
    return text[end:].strip()


@functools.lru_cache(maxsize=8)
def _compiled(text: bytes) -> Schema:
    definition = orjson.loads(text)
    if not isinstance(definition, dict):
        raise BrokenSchema("a schema is a JSON object")
    return Schema(definition)


def _users_schema(file: Path, name: str) -> Schema:
    hint = "data.answer names a JSON Schema, relative to the spec."
    try:
        return _compiled(file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}", hint=hint) from error
    except orjson.JSONDecodeError as error:
        place = Place(name, error.lineno)
        raise InputError(f"this is not JSON: {error.msg}", where=place, hint=hint) from None
    except BrokenSchema as broken:
        path = written_path(broken.path)
        message = f"this is no JSON Schema: {path}: {broken.message}" if path else broken.message
        raise InputError(message, where=Place(name), hint=hint) from None
