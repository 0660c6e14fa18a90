"""Rows whose answers are asked for: prompt, tools and what is expected."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.answer_files import answer_text, prompt_sha256
from orchestrator.answering.questions import Question
from orchestrator.dataset.reading.opening import read_rows
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.rules import RowsFile
from orchestrator.errors import InputError, Place

#: Roles whose turns say what holds for the whole talk: they stay in front of examples.
_LEADING = ("system", "developer")
_BETWEEN_TEXTS = "\n\n"


@dataclass(frozen=True)
class AskedRow:
    """One row: a text and its completion, or turns. `number` counts rows from 0."""

    number: int
    place: Place
    prompt: Any
    completion: Any
    tools: Any = None

    @property
    def sha256(self) -> str:
        """The digest of prompt and tools, as `generate.py` writes it."""
        return prompt_sha256(self.prompt, self.tools)

    @property
    def expected(self) -> str:
        """The right answer as text; turns with calls as OpenAI's protocol has them."""
        return answer_text(self.completion) or ""

    @property
    def question(self) -> Question:
        """What is asked."""
        return Question(self.prompt, tuple(self.tools or ()))


def read_asked_rows(file: Path) -> list[AskedRow]:
    """All rows of a file with `prompt` and `completion`, or `messages`, and perhaps `tools`.

    Raises `InputError` with the place of the first that is wrong.
    """
    rows = []
    for number, found in enumerate(read_rows(RowsFile(file, str(file)))):
        if not isinstance(found, Row):
            raise InputError(found.message, where=found.place, hint=found.hint)
        rows.append(_row(number, found.value, Place(str(file), found.line)))
    return rows


def _row(number: int, value: dict[str, Any], place: Place) -> AskedRow:
    tools = _parsed(value.get("tools"), "tools", place)
    if tools is not None and not isinstance(tools, list):
        raise InputError("`tools` is no list", where=place, hint="Write a list of tools.")
    if "messages" in value:
        turns = _parsed(value["messages"], "messages", place)
        if not _are_turns(turns) or turns[-1]["role"] not in ("assistant", "model"):
            raise InputError(
                "`messages` must be a list of turns that ends with the assistant's",
                where=place,
                hint="The last turn is the answer.",
            )
        return AskedRow(number, place, turns[:-1], turns[-1:], tools)
    prompt, completion = value.get("prompt"), value.get("completion")
    texts = isinstance(prompt, str) and isinstance(completion, str)
    if not texts and not (_are_turns(prompt) and _are_turns(completion)):
        raise InputError(
            "this row needs `prompt` and `completion`, both texts or both turns, or `messages`",
            where=place,
            hint="`orchestrator prepare` writes rows of any format so.",
        )
    return AskedRow(number, place, prompt, completion, tools)


def _parsed(value: Any, name: str, place: Place) -> Any:
    """A value, also as JSON of it, which is what tables hold."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"`{name}` is a text that is not JSON", where=place, hint="Write a list."
        ) from error


def _are_turns(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in value)
    )


class Shots:
    """Examples to put before prompts, chosen as `generate.py --few-shot` chooses them.

    The first `count` of a shuffled file that are not the row itself.
    """

    def __init__(self, rows: Sequence[AskedRow], count: int, seed: int) -> None:
        order = list(rows)
        random.Random(seed).shuffle(order)  # noqa: S311 (not a secret)
        self._order = [(row.sha256, row) for row in order]
        self._count = count

    def before(self, row: AskedRow) -> Question:
        """The row's question behind its examples; raises `InputError` where none fit."""
        own = row.sha256
        chosen = [one for digest, one in self._order if digest != own][: self._count]
        if len(chosen) < self._count:
            raise InputError(
                f"{self._count} examples are wanted, and only {len(chosen)} are not the row itself",
                where=row.place,
                hint="Ask for fewer, or give more rows.",
            )
        texts = isinstance(row.prompt, str)
        other = next((one for one in chosen if isinstance(one.prompt, str) != texts), None)
        if other is not None:
            raise InputError(
                "prompts and examples must both be texts, or both turns",
                where=other.place,
                hint="Write them in the same format.",
            )
        if texts:
            shown = [f"{one.prompt}{one.completion}{_BETWEEN_TEXTS}" for one in chosen]
            return Question("".join(shown) + row.prompt)
        place = next(
            (n for n, turn in enumerate(row.prompt) if turn["role"] not in _LEADING),
            len(row.prompt),
        )
        turns = [
            turn
            for one in chosen
            for turn in [*one.prompt, *one.completion]
            if turn["role"] not in _LEADING
        ]
        prompt = [*row.prompt[:place], *turns, *row.prompt[place:]]
        return Question(prompt, tuple(row.tools or ()))
