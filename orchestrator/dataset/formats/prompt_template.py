"""The template of a prompt: text with fields of the row in braces; literal braces are doubled."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from string import Formatter
from typing import Any

import orjson

from orchestrator.dataset.formats.base import RowError
from orchestrator.errors import InputError


@dataclass(frozen=True)
class PromptTemplate:
    """Pieces of text, each with the field that follows it (None after the last)."""

    pieces: tuple[tuple[str, str | None], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it names, in their order."""
        return tuple(field for _, field in self.pieces if field is not None)

    def fill(self, fields: dict[str, Any]) -> str:
        """The text for a row. Raises `RowError` if the row lacks a field."""
        parts: list[str] = []
        for text, field in self.pieces:
            parts.append(text)
            if field is None:
                continue
            value = fields.get(field)
            if value is None:
                message = f"the row has no `{field}`, which data.mapping.template names"
                raise RowError("template-field", message, "Give the field, or leave the row out.")
            parts.append(value if isinstance(value, str) else written(value))
        return "".join(parts)


def written(value: Any) -> str:
    """A value as text: a text as it is, a list of texts as lines, all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return orjson.dumps(value, default=str).decode()


@functools.lru_cache(maxsize=64)
def prompt_template(text: str) -> PromptTemplate:
    """Read a template; raises `InputError` where its braces do not fit."""
    pieces: list[tuple[str, str | None]] = []
    hint = "Write a field as {question}; write {{ and }} for braces that the model shall see."
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise InputError(f"data.mapping.template: {error}", hint=hint) from None
    for literal, field, form, conversion in parsed:
        if field is not None and (form or conversion or not field.isidentifier()):
            message = f"data.mapping.template: {{{field}}} is not the name of a field"
            raise InputError(message, hint=hint)
        pieces.append((literal, field))
    return PromptTemplate(tuple(pieces))


def check_template(text: str, known: Collection[str]) -> None:
    """Raise `InputError` if a template names a field that no row can have."""
    for field in prompt_template(text).fields:
        if field not in known:
            raise InputError(
                f"data.mapping.template names {{{field}}}, and there is no such field",
                hint=f"Fields: {', '.join(known)}. Others are named under data.mapping.columns; "
                "write {{ and }} for braces that the model shall see.",
            )
