"""The check `form`: order of turns, empty answers, calls, answers that are documents, characters.

Rows that cannot be read or converted never come here: they are findings before.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import orjson

from orchestrator.dataset.checks.answers import AnswerReader, WrongAnswer
from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.checks.odd_characters import REPLACEMENT, control_character
from orchestrator.dataset.checks.schemas import BrokenSchema, Schema
from orchestrator.dataset.checks.turn_order import turn_problem
from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.formats.turns import difficulty_of, tags_of
from orchestrator.dataset.report import Finding, Group, Level
from orchestrator.dataset.rules import Rules
from orchestrator.errors import InputError, Place

_ANSWER_HINT = "Write what the model must answer, or leave the row out."
#: How many sets of tools that rows carry are kept ready; a set in use is rarely far back.
_MOST_TOOL_SETS = 256


class FormCheck(Check):
    """Whether an example can be trained on at all. Sets `document`, `tags` and `difficulty`."""

    kind: ClassVar[str] = "form"

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._reader = AnswerReader.of(rules)
        self._tool_sets: dict[int, tuple[tuple[Tool, ...], dict[str, Schema]]] = {}
        columns = rules.data.mapping.columns
        #: Columns that no row has had so far; said once, at the end.
        self._unseen = {column: field for field, column in columns.items()}
        self._first: tuple[str, str] | None = None  # file and columns of the first row

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: without what is compiled."""
        return self.__dict__ | {"_tool_sets": {}, "_reader": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reader = AnswerReader.of(self._rules)

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """What is wrong with the form of these examples."""
        findings: list[Finding] = []
        for example in examples:
            if self._unseen:
                self._look_for_columns(example)
            if isinstance(example.prompt, str) and isinstance(example.answer, str):
                self._texts(example, example.prompt, example.answer, findings)
            else:
                findings.extend(self._chat(example))
        return findings

    # ------------------------------------------------------------------------ mapped columns

    def _look_for_columns(self, example: Example) -> None:
        row = example.fields
        if self._first is None:
            self._first = (example.file, ", ".join(row))
        for column in list(self._unseen):
            if column in row or _inside(row, column.split(".")):
                del self._unseen[column]

    def merge(self, later: Self) -> None:
        """A column that either part has seen is there."""
        self._unseen = {c: f for c, f in self._unseen.items() if c in later._unseen}
        self._first = self._first or later._first

    def conclude(self) -> Iterable[Group]:
        """Say once which mapped columns no row has."""
        if self._first is None or not self._unseen:
            return
        file, columns = self._first
        missing = ", ".join(f"`{c}` (for {f})" for c, f in sorted(self._unseen.items()))
        message = f"no row has the mapped column {missing}"
        hint = f"Correct data.mapping.columns. Columns of the first row: {columns}."
        yield Group.of(Finding("form", Level.ERROR, "unknown-column", Place(file), message, hint))

    # ------------------------------------------------------------------------------ texts

    def _texts(self, example: Example, prompt: str, answer: str, found: list[Finding]) -> None:
        document = None
        if self._reader is not None:
            try:
                document = self._reader.read(answer)
            except WrongAnswer as wrong:
                found.append(_error(example, wrong.code, wrong.message, wrong.hint))
            else:
                _take(example, document)
        elif _blank(answer):
            found.append(_error(example, "empty-answer", "the answer is empty", _ANSWER_HINT))
        if _blank(prompt):
            hint = "Write what the model reads, or leave the row out."
            found.append(_error(example, "empty-prompt", "the prompt is empty", hint))
        # A JSON document has no bare control characters: only DEL is left to look for.
        odd = control_character(prompt)
        if odd is None:
            if document is None:
                odd = control_character(answer)
            elif "\x7f" in answer:
                odd = "\x7f"
        if odd is not None or REPLACEMENT in prompt or REPLACEMENT in answer:
            found.extend(_odd(example, odd, prompt, answer))

    # ------------------------------------------------------------------------------ chats

    def _chat(self, example: Example) -> Iterator[Finding]:
        messages = (*_turns(example.prompt, "user"), *_turns(example.answer, "assistant"))
        problem = turn_problem(messages)
        if problem is not None:
            yield _error(example, "role-order", *problem)
        yield from self._answer_of_chat(example)
        asked = [message for message in messages if message.role == "user"]
        if asked and all(_blank(message.content) for message in asked):
            hint = "Write what the user says, or leave the row out."
            yield _error(example, "empty-prompt", "the user says nothing", hint)
        for message in messages:
            for call in message.calls:
                yield from self._call(example, call)
        texts = [text for m in messages for text in (m.content, m.thinking) if text]
        odd = next((c for c in map(control_character, texts) if c is not None), None)
        if odd is not None or any(REPLACEMENT in text for text in texts):
            yield from _odd(example, odd, *texts)

    def _answer_of_chat(self, example: Example) -> Iterator[Finding]:
        turns = _turns(example.answer, "assistant")
        text = "\n".join(turn.content for turn in turns if turn.content)
        calls = any(turn.calls for turn in turns)
        if not calls and _blank(text):
            thought = " but its thinking" if any(turn.thinking for turn in turns) else ""
            yield _error(example, "empty-answer", f"the answer is empty{thought}", _ANSWER_HINT)
        elif self._reader is not None:
            if calls:
                hint = f"The spec says that answers are {self._rules.data.answer} documents."
                message = "the answer is a call, and not a JSON document"
                yield _error(example, "answer-not-json", message, hint)
                return
            try:
                _take(example, self._reader.read(text))
            except WrongAnswer as wrong:
                yield _error(example, wrong.code, wrong.message, wrong.hint)

    def _call(self, example: Example, call: Call) -> Iterator[Finding]:
        if not example.tools:
            message = f"{call.name} is called, and no tools are declared"
            hint = "Name them: data.tools in the spec, or `tools` in the row."
            yield Finding("form", Level.WARNING, "no-tools", example.place, message, hint)
            return
        known = self._schemas(example.tools)
        schema = known.get(call.name)
        if schema is None:
            close = difflib.get_close_matches(call.name, known, 1)
            hint = f"Did you mean {close[0]}? " if close else ""
            hint += f"Tools: {', '.join(known)}."
            yield _error(example, "unknown-tool", f"there is no tool {call.name}", hint)
        elif not schema.accepts(call.arguments):
            message = f"arguments of {call.name}: {schema.reason(call.arguments)}"
            hint = f"Correct the call, or the parameters of {call.name}."
            yield _error(example, "tool-arguments", message, hint)

    def _schemas(self, tools: tuple[Tool, ...]) -> dict[str, Schema]:
        """The tools' schemas, compiled once for each set of tools."""
        kept = self._tool_sets.get(id(tools))
        if kept is None or kept[0] is not tools:
            if len(self._tool_sets) >= _MOST_TOOL_SETS:
                self._tool_sets.clear()
            kept = (tools, {tool.name: _schema(tool) for tool in tools})
            self._tool_sets[id(tools)] = kept
        return kept[1]


def _schema(tool: Tool) -> Schema:
    try:
        return Schema(tool.parameters)
    except BrokenSchema as broken:  # a tool that a format of the user's has made
        raise InputError(
            f"the parameters of the tool {tool.name} are no JSON Schema: {broken.message}",
            hint="Correct them where the tool is declared.",
        ) from None


def _inside(row: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(row, dict) or key not in row:
            return False
        row = row[key]
    return True


def _turns(side: str | tuple[Message, ...], role: Any) -> tuple[Message, ...]:
    return (Message(role, side),) if isinstance(side, str) else side


def _blank(text: str | None) -> bool:
    # Nearly every text begins with something visible: only others are stripped.
    return not text or ((text[0] <= " " or text[0] > "~") and not text.strip("\ufeff").strip())


def _take(example: Example, document: Any) -> None:
    """Keep the document, and the tags and the difficulty that stand in it."""
    example.document = document
    if isinstance(document, dict):
        example.tags = example.tags or tags_of(document)
        example.difficulty = example.difficulty or difficulty_of(document)


def _error(example: Example, code: str, message: str, hint: str) -> Finding:
    return Finding("form", Level.ERROR, code, example.place, message, hint)


def _odd(example: Example, control: str | None, *texts: str) -> Iterator[Finding]:
    def warning(code: str, message: str, hint: str) -> Finding:
        return Finding("form", Level.WARNING, code, example.place, message, hint)

    if control is not None:
        name = f"U+{ord(control):04X}"
        yield warning(
            "control-character", f"a text holds the control character {name}", "Take it out."
        )
    broken = next((text for text in texts if REPLACEMENT in text), None)
    if broken is not None:
        at = broken.index(REPLACEMENT)
        part = orjson.dumps(broken[max(0, at - 15) : at + 15]).decode()
        message = f"a text holds U+FFFD, where a character was lost: {part}"
        yield warning("lost-character", message, "Read the source again, in its own encoding.")
