"""Tool calls as models write them: one parser and one renderer for every syntax.

Standard library only, and one file: it travels beside the scripts that run in jobs.

    functiongemma  <start_function_call>call:NAME{key:<escape>text<escape>,n:15}<end_function_call>
    gemma4         <|tool_call>call:NAME{key:<|"|>text<|"|>,n:15}<tool_call|>
    hermes         <tool_call>{"name": NAME, "arguments": {...}}</tool_call>
    llama          {"name": NAME, "parameters": {...}}, after <|python_tag|> or not
    openai         [{"type": "function", "function": {"name": NAME, "arguments": "{...}"}}]

A parser rather than patterns: braces and end marks are legal inside strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn


class Syntax(StrEnum):
    """How a model writes calls."""

    FUNCTIONGEMMA = "functiongemma"
    GEMMA4 = "gemma4"
    HERMES = "hermes"
    LLAMA = "llama"
    OPENAI = "openai"


@dataclass(frozen=True)
class ToolCall:
    """A call as a model wrote it."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """What is wrong at a position of the text (characters, from 0)."""

    position: int
    message: str

    def __str__(self) -> str:
        return f"character {self.position + 1}: {self.message}"


@dataclass(frozen=True)
class Parsed:
    """What an answer holds: calls, the text around them, and what is wrong with either.

    A call whose arguments could be read is among `calls` even if something around it is wrong.
    `ended` says whether the text closes with a mark for the end of a turn.
    """

    calls: tuple[ToolCall, ...]
    text: str
    problems: tuple[Problem, ...]
    ended: bool

    @property
    def empty(self) -> bool:
        """Whether there is no call and no text: nothing at all, or only the end of a turn."""
        return not self.calls and not self.text and not self.problems


class CannotRender(ValueError):
    """A call that a syntax has no way to write; the message says what stands in its way."""


#: With these models close their turn, or hand over to a tool.
END_MARKS = (
    *("<end_of_turn>", "<eos>", "<start_function_response>", "<turn|>", "<|tool_response>"),
    *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "</s>"),
)
#: Deeper than this no arguments are nested; it keeps the parser from exhausting Python's stack.
MAX_DEPTH = 100

_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?(?![^\s,}\]<])", re.ASCII)
_WORD = re.compile(r"[^,{}\[\]<]*")
_BARE_NAME = re.compile(r"[^\s,:{}\[\]<>]+")
_CALL_START = re.compile(r'\{\s*"(name|type|function|parameters)"\s*:')
#: Marks that end a turn and space between them, read from the end of a text.
_ENDS = re.compile(rf"(?:(?:{'|'.join(re.escape(mark[::-1]) for mark in END_MARKS)})\s*)+")
_WORDS = {"true": True, "false": False, "null": None}


def parse(text: str, syntax: Syntax) -> Parsed:
    """Read the calls in an answer. Never raises: what is wrong is in `problems`."""
    body, ended = _without_end(text)
    calls, around, problems = _PARSERS[syntax](body)
    return Parsed(tuple(calls), around.strip(), tuple(problems), ended)


def render(calls: Sequence[ToolCall], syntax: Syntax) -> str:
    """Write calls so that `parse` reads the same again. Raises `CannotRender`."""
    if syntax in _MARKS:
        marks = _MARKS[syntax]
        return "".join(_render_marked(call, marks) for call in calls)
    if syntax is Syntax.HERMES:
        return "\n".join(
            f"<tool_call>\n{_json({'name': c.name, 'arguments': c.arguments})}\n</tool_call>"
            for c in calls
        )
    if syntax is Syntax.LLAMA:
        return "; ".join(_json({"name": c.name, "parameters": c.arguments}) for c in calls)
    if not calls:
        return ""
    functions = [{"name": c.name, "arguments": _json(c.arguments)} for c in calls]
    return _json([{"type": "function", "function": function} for function in functions])


def detect(template_text: str) -> Syntax | None:
    """The syntax in which a chat template writes calls; None for none, and for an unknown one."""
    if "tool_calls" not in template_text:
        return None
    if "<start_function_call>" in template_text:
        return Syntax.FUNCTIONGEMMA
    if "<|tool_call>call:" in template_text:
        return Syntax.GEMMA4
    plain = template_text.replace("\\", "")
    if "<tool_call>" in plain:
        other = "<function=" in plain or "<arg_key>" in plain
        return Syntax.HERMES if '"arguments"' in plain and not other else None
    return Syntax.LLAMA if '"parameters": \'' in plain and "<|eot_id|>" in plain else None


def _without_end(text: str) -> tuple[str, bool]:
    """The text before the marks that end a turn, and whether there were any."""
    body = text.rstrip()
    found = _ENDS.match(body[::-1])
    return (body[: -found.end()], True) if found is not None else (body, False)


_Read = tuple[list[ToolCall], str, list[Problem]]


def _between(
    text: str, start: str, read_call: Callable[[int, list[Problem]], tuple[ToolCall | None, int]]
) -> _Read:
    """Calls that a mark opens; `read_call` reads one behind the mark and says where it ends."""
    calls: list[ToolCall] = []
    around: list[str] = []
    problems: list[Problem] = []
    position = 0
    while (found := text.find(start, position)) >= 0:
        around.append(text[position:found])
        call, position = read_call(found + len(start), problems)
        if call is not None:
            calls.append(call)
    around.append(text[position:])
    return calls, "".join(around), problems


# --- FunctionGemma and Gemma 4 ------------------------------------------------------------------


@dataclass(frozen=True)
class _Marks:
    start: str
    end: str
    quote: str


_MARKS = {
    Syntax.FUNCTIONGEMMA: _Marks("<start_function_call>", "<end_function_call>", "<escape>"),
    Syntax.GEMMA4: _Marks("<|tool_call>", "<tool_call|>", '<|"|>'),
}


class _Wrong(Exception):
    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(position, message)


class _MarkedReader:
    """Reads `call:NAME{key:value,...}` from a position on."""

    def __init__(self, text: str, position: int, marks: _Marks, problems: list[Problem]) -> None:
        self.text = text
        self.position = position
        self.marks = marks
        self.problems = problems

    def call(self) -> ToolCall:
        self._space()
        if not self._take("call:"):
            self._fail("`call:` and the name of a tool must follow")
        name = _BARE_NAME.match(self.text, self.position)
        if name is None:
            self._fail("the call has no name")
        self.position = name.end()
        self._space()
        if not self._take("{"):
            self._fail("`{` must follow the name of the tool")
        return ToolCall(name[0], self._pairs(0))

    def _pairs(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._space()
        if self._take("}"):
            return found
        while True:
            start = self.position
            key = self._key()
            if key in found:
                self.problems.append(Problem(start, f"the key {key!r} is there twice"))
            found[key] = self._value(depth)
            if self._ends("}"):
                return found

    def _key(self) -> str:
        self._space()
        if self._take(self.marks.quote):
            key = self._quoted()
        else:
            name = _BARE_NAME.match(self.text, self.position)
            if name is None:
                self._fail("a key must stand here")
            key, self.position = name[0], name.end()
        self._space()
        if not self._take(":"):
            self._fail(f"`:` must follow the key {key!r}")
        return key

    def _value(self, depth: int) -> Any:
        self._space()
        if depth >= MAX_DEPTH:
            self._fail(f"nested more than {MAX_DEPTH} deep")
        if self._take(self.marks.quote):
            return self._quoted()
        if self._take("{"):
            return self._pairs(depth + 1)
        if self._take("["):
            return self._items(depth + 1)
        number = _NUMBER.match(self.text, self.position)
        if number is not None:
            self.position = number.end()
            return _number(number[0])
        return self._word()

    def _items(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self._space()
        if self._take("]"):
            return found
        while True:
            found.append(self._value(depth))
            if self._ends("]"):
                return found

    def _ends(self, close: str) -> bool:
        """Whether a list or object closes here; otherwise a comma is taken."""
        self._space()
        if self._take(close):
            return True
        if not self._take(","):
            self._fail(f"`,` or `{close}` must stand here")
        return False

    def _quoted(self) -> str:
        end = self.text.find(self.marks.quote, self.position)
        if end < 0:
            self._fail(f"the string is not closed by {self.marks.quote}")
        found = self.text[self.position : end]
        self.position = end + len(self.marks.quote)
        return found

    def _word(self) -> Any:
        """true, false, null; other text without quotes is taken as it is, and named a problem."""
        match = _WORD.match(self.text, self.position)
        word = match[0].strip() if match else ""
        if not word or match is None:
            self._fail("a value must stand here")
        if word not in _WORDS:
            self.problems.append(
                Problem(self.position, f"the text {word!r} is not between {self.marks.quote} marks")
            )
        self.position = match.end()
        return _WORDS.get(word, word)

    def _space(self) -> None:
        match = _SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position

    def _take(self, expected: str) -> bool:
        if self.text.startswith(expected, self.position):
            self.position += len(expected)
            return True
        return False

    def _fail(self, message: str) -> NoReturn:
        raise _Wrong(self.position, message)


def _parse_marked(text: str, marks: _Marks) -> _Read:
    def read_call(start: int, problems: list[Problem]) -> tuple[ToolCall | None, int]:
        reader = _MarkedReader(text, start, marks, problems)
        try:
            call = reader.call()
        except _Wrong as wrong:
            problems.append(wrong.problem)
            end = text.find(marks.end, reader.position)
            return None, len(text) if end < 0 else end + len(marks.end)
        reader._space()
        if not reader._take(marks.end):
            problems.append(Problem(reader.position, f"the call is not closed by {marks.end}"))
        return call, reader.position

    return _between(text, marks.start, read_call)


def _render_marked(call: ToolCall, marks: _Marks) -> str:
    if not _BARE_NAME.fullmatch(call.name):
        raise CannotRender(f"the name {call.name!r} cannot be written in this syntax")
    return f"{marks.start}call:{call.name}{_marked(call.arguments, marks)}{marks.end}"


def _marked(value: Any, marks: _Marks) -> str:
    if isinstance(value, dict):
        pairs = (f"{_marked_key(key)}:{_marked(item, marks)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_marked(item, marks) for item in value) + "]"
    if isinstance(value, str):
        if marks.quote in value:
            raise CannotRender(f"a text with {marks.quote} in it cannot be written in this syntax")
        return f"{marks.quote}{value}{marks.quote}"
    return _json(value)


def _marked_key(key: Any) -> str:
    if not isinstance(key, str) or not _BARE_NAME.fullmatch(key):
        raise CannotRender(f"the key {key!r} cannot be written in this syntax")
    return key


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:  # a fraction, or more digits than Python reads
        return float(text)


# --- JSON: Hermes, Llama, OpenAI ----------------------------------------------------------------


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:  # of two values nobody knows which is meant
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_once)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CannotRender(f"cannot be written as JSON: {error}") from error


def _decode(text: str, position: int) -> tuple[Any, int]:
    """The JSON value at a position, and where it ends. Raises `_Wrong`."""
    start = _skip(text, position)
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _Wrong(error.pos, f"is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise _Wrong(start, f"is not JSON: {error}") from error


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _as_call(value: Any, position: int) -> ToolCall:
    """The call that a JSON object describes, in any of its usual shapes. Raises `_Wrong`."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise _Wrong(position, "a call is an object with a name and arguments")
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError) as error:
            raise _Wrong(position, f"the arguments are a text that is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise _Wrong(position, f"the arguments of {value['name']!r} are not an object")
    return ToolCall(value["name"], arguments)


def _parse_hermes(text: str) -> _Read:
    end = "</tool_call>"

    def read_call(start: int, problems: list[Problem]) -> tuple[ToolCall | None, int]:
        try:
            value, position = _decode(text, start)
            call = _as_call(value, start)
        except _Wrong as wrong:
            problems.append(wrong.problem)
            found = text.find(end, start)
            return None, len(text) if found < 0 else found + len(end)
        position = _skip(text, position)
        if not text.startswith(end, position):
            problems.append(Problem(position, f"the call is not closed by {end}"))
            return call, position
        return call, position + len(end)

    return _between(text, "<tool_call>", read_call)


def _parse_llama(text: str) -> _Read:
    """Calls are JSON objects, one after the other, that make up all of the answer's end."""
    before, tag, position = "", "", _skip(text, 0)
    if not _CALL_START.match(text, position):  # then a tag is no part of a string in a call
        before, tag, _ = text.partition("<|python_tag|>")
        if not tag:
            return [], text, []
        position = _skip(text, len(before) + len(tag))
    calls: list[ToolCall] = []
    problems: list[Problem] = []
    while position < len(text):
        try:
            value, end = _decode(text, position)
            calls.append(_as_call(value, position))
        except _Wrong as wrong:
            if not tag and not calls and _is_document(text):
                return [], text, []  # an answer in JSON that is no call
            problems.append(wrong.problem)
            break
        position = _skip(text, end)
        if text.startswith(";", position):
            position = _skip(text, position + 1)
    return calls, before + (text[position:] if problems else ""), problems


def _is_document(text: str) -> bool:
    """Whether a text is JSON as a whole, of an object without a call's two fields."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not ({"arguments", "parameters"} & value.keys())


def _parse_openai(text: str) -> _Read:
    """A list of calls, or a message that has one; anything else is text."""
    start = _skip(text, 0)
    if not text.startswith(("[", "{"), start):
        return [], text, []
    try:
        value, end = _decode(text, start)
    except _Wrong as wrong:
        return [], text, [wrong.problem]
    if text[end:].strip():
        return [], text, [Problem(end, "text follows the calls")]
    content = ""
    if isinstance(value, dict) and "name" not in value and "function" not in value:
        content = str(value.get("content") or "")
        if "tool_calls" not in value:
            return [], content or text, []
        value = value["tool_calls"] or []
    calls: list[ToolCall] = []
    problems: list[Problem] = []
    for one in value if isinstance(value, list) else [value]:
        try:
            calls.append(_as_call(one, start))
        except _Wrong as wrong:
            problems.append(wrong.problem)
    return calls, content, problems


_PARSERS: dict[Syntax, Callable[[str], _Read]] = {
    Syntax.FUNCTIONGEMMA: lambda text: _parse_marked(text, _MARKS[Syntax.FUNCTIONGEMMA]),
    Syntax.GEMMA4: lambda text: _parse_marked(text, _MARKS[Syntax.GEMMA4]),
    Syntax.HERMES: _parse_hermes,
    Syntax.LLAMA: _parse_llama,
    Syntax.OPENAI: _parse_openai,
}
