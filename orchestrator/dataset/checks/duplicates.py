"""The check `duplicates`: equal rows, one prompt with several answers, prompts in several splits.

Prompts are equal if the model reads the same: the same turns, with the same tools. A row counts
once under each of the codes, at its own line, and names the earlier row.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import orjson

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.checks.prompt_index import Entry, PromptIndex
from orchestrator.dataset.example import Example, Message, Tool
from orchestrator.dataset.report import MAX_EXAMPLES, Finding, Group, Level
from orchestrator.dataset.rules import Rules
from orchestrator.errors import Place

#: Answers of one prompt that are told apart; from then on each further answer counts as new.
_MOST_ANSWERS = 100_000
_CODES = {
    "across-splits": Level.ERROR,
    "contradictory-answers": Level.WARNING,
    "duplicate-row": Level.WARNING,
}


class DuplicatesCheck(Check):
    """Whether rows, or prompts, are there more than once."""

    kind: ClassVar[str] = "duplicates"

    def __init__(self, rules: Rules) -> None:
        self._tools = rules.tools
        self._split_later = rules.data.split.files is None
        self._index = PromptIndex()

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """Remember the prompts and answers; findings come at the end."""
        first = examples[0]
        self._index.add(self._texts(examples), first.file, first.split)
        return ()

    def shift(self, lines: int) -> None:
        """Learn that the rows stand further down."""
        self._index.shift(lines)

    def merge(self, later: Self) -> None:
        """Take in the rows that follow."""
        self._index.merge(later._index)

    def conclude(self) -> Iterable[Group]:
        """The rows that repeat others."""
        found = {code: _Found() for code in _CODES}
        for entries in self._index.repeated():
            self._compare(entries, found)
        self._index.close()
        for code, level in _CODES.items():
            if found[code].count:
                examples = tuple(self._finding(code, level, *pair) for pair in found[code].first())
                yield Group(self.kind, level, code, found[code].count, examples)

    def _texts(self, examples: Sequence[Example]) -> Iterator[tuple[bytes, bytes, int]]:
        for example in examples:
            prompt, answer, tools = example.prompt, example.answer, example.tools
            text = _bytes(prompt)
            if tools and tools is not self._tools and tools != self._tools:
                text += _tools_bytes(tools)
            yield text, _bytes(answer), example.line

    def _compare(self, entries: Iterable[Entry], found: dict[str, _Found]) -> None:
        splits = [segment.split for segment in self._index.segments]
        prompts: dict[int, _Prompt] = {}
        for entry in entries:
            prompt = prompts.setdefault(entry.prompt, _Prompt(splits[entry.segment], entry))
            split = splits[entry.segment]
            if split != prompt.split:
                found["across-splits"].add(entry, prompt.first)
            answers = prompt.answers.setdefault(split, {})
            same = answers.get(entry.answer)
            if same is not None:
                found["duplicate-row"].add(entry, same)
                continue
            if answers:
                found["contradictory-answers"].add(entry, next(iter(answers.values())))
            if len(answers) < _MOST_ANSWERS:
                answers[entry.answer] = entry

    def _finding(self, code: str, level: Level, entry: Entry, earlier: Entry) -> Finding:
        here = self._index.segments[entry.segment]
        there = self._index.segments[earlier.segment]
        where = f"line {earlier.line}"
        if there.file != here.file:
            where = f"{there.file}:{earlier.line}"
        if code == "across-splits":
            message = f"the same prompt is in {there.split}, on {where}"
            hint = f"Take it out of {here.split}: what was trained on measures nothing."
        elif code == "duplicate-row":
            message = f"the same prompt and answer as on {where}"
            hint = "Leave one of them out, unless it shall count twice."
        else:
            message = f"the same prompt as on {where}, and another answer"
            hint = "Decide for one: the model cannot learn both."
        if self._split_later and code != "across-splits":
            hint += " Rows with one prompt go into one split."
        return Finding(self.kind, level, code, Place(here.file, entry.line), message, hint)


@dataclass(slots=True)
class _Prompt:
    """A prompt that is there more than once: its first row, and its answers in each split."""

    split: str | None
    first: Entry
    answers: dict[str | None, dict[int, Entry]] = field(default_factory=dict)


@dataclass(slots=True)
class _Found:
    """Pairs of a row and an earlier one: how many, and the first few."""

    count: int = 0
    pairs: list[tuple[tuple[int, int], Entry, Entry]] = field(default_factory=list)

    def add(self, entry: Entry, earlier: Entry) -> None:
        """Take in a pair; they come in no order."""
        self.count += 1
        self.pairs.append(((entry.segment, entry.line), entry, earlier))
        if len(self.pairs) > 1000:
            self.pairs = heapq.nsmallest(MAX_EXAMPLES, self.pairs)

    def first(self) -> list[tuple[Entry, Entry]]:
        """The first few, in the order of the rows."""
        return [(mine, other) for _, mine, other in heapq.nsmallest(MAX_EXAMPLES, self.pairs)]


def _bytes(side: str | tuple[Message, ...]) -> bytes:
    """What the model reads or answers, as bytes that differ wherever it does."""
    if isinstance(side, str):
        return side.encode("utf-8", "surrogatepass")
    turns = [
        (
            message.role,
            message.content,
            message.thinking,
            [(call.name, call.arguments) for call in message.calls],
        )
        for message in side
    ]
    return _canonical(turns)


def _tools_bytes(tools: tuple[Tool, ...]) -> bytes:
    return _canonical([tool.declaration for tool in tools])


def _canonical(value: object) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers of more than 64 bits, or texts with broken escapes
        import json

        return json.dumps(value, sort_keys=True).encode()
