"""A row on its way into a split: the line that is written, and what has to be known of it."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from typing import Any, cast

import orjson

from orchestrator.dataset.example import (
    Example,
    answer_calls,
    answer_text,
    prompt_text,
    question_text,
)
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.errors import InputError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row as the service takes it, and its figures.

    `question` is what the user asks, `prompt_digest` that of all that the model reads. `stratum` is
    the value that is spread over the splits. `too_long` rows are known of, but never taken.
    """

    line: bytes
    question: str
    prompt_digest: str
    stratum: str
    split: int | None
    tools: tuple[str, ...]
    tags: tuple[str, ...]
    difficulty: str | None
    prompt_characters: int
    answer_characters: int
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    too_long: bool = False

    def packed(self) -> bytes:
        """The candidate as bytes, to be sorted and read again."""
        return orjson.dumps(astuple(self)[1:]) + b"\n" + self.line

    @classmethod
    def unpacked(cls, packed: bytes) -> Candidate:
        """The inverse of `packed`."""
        about, _, line = packed.partition(b"\n")
        values: list[Any] = orjson.loads(about)
        values[4], values[5] = tuple(values[4]), tuple(values[5])
        return cls(line, *values)


def candidate(
    example: Example,
    line: bytes,
    *,
    stratify_by: str | None,
    split: int | None,
    count: TokenCount | None,
    too_long: bool,
) -> Candidate:
    """What has to be known of an example that is written as `line`."""
    prompt = prompt_text(example)
    declared = sum(len(orjson.dumps(tool.declaration).decode()) for tool in example.tools)
    return Candidate(
        line=line,
        question=question_text(example) or prompt,
        prompt_digest=hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest(),
        stratum=_stratum(example, stratify_by) if stratify_by else "",
        split=split,
        tools=tuple(call.name for call in answer_calls(example)),
        tags=example.tags,
        difficulty=example.difficulty,
        prompt_characters=len(prompt) + declared,
        answer_characters=len(answer_text(example)),
        prompt_tokens=count.prompt if count else None,
        answer_tokens=count.answer if count else None,
        too_long=too_long,
    )


def _stratum(example: Example, field: str) -> str:
    """The value of a field of the row (`a.b` for one inside another) as text."""
    value: Any = example.fields
    for name in field.split("."):
        if not isinstance(value, dict) or name not in value:
            raise InputError(
                f"the row has no field `{field}` for data.split.stratify_by",
                where=example.place,
                hint=f"It has: {', '.join(map(str, example.fields))}.",
            )
        value = cast("dict[str, Any]", value)[name]
    return value if isinstance(value, str) else orjson.dumps(value, option=_SORTED).decode()


_SORTED = orjson.OPT_SORT_KEYS
