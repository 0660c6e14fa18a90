"""The tools that rows may call: read from a file, and taken from the rows that carry their own."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from orchestrator.dataset.checks.schemas import BrokenSchema, Schema, shipped_schema, written_path
from orchestrator.dataset.example import Tool
from orchestrator.dataset.reading.repeated_keys import RepeatedKey, TooDeep, read_json
from orchestrator.errors import InputError, Place

#: Types as some descriptions write them (Gemini in capitals, Python's own names) and as JSON
#: Schema has them.
_TYPES = {
    "dict": "object",
    "float": "number",
    "int": "integer",
    "str": "string",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "any": None,
}
_JSON_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
#: Keywords whose values are data, not schemas.
_DATA = frozenset({"const", "default", "enum", "example", "examples"})
#: Keywords whose objects hold schemas by names, which may be those of keywords.
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
#: What others call the schema of the arguments: without it, any arguments would do.
_OTHER_PARAMETERS = ("input_schema", "inputSchema", "parametersJsonSchema")
_LOOKS = (
    'A file of tools is a list of {"type": "function", "function": {"name": "...", '
    '"description": "...", "parameters": {...}}}. See: orchestrator schema tools'
)


class ToolProblem(Exception):
    """A tool that is described wrongly; `path` leads from the list of tools to what is wrong."""

    def __init__(self, message: str, path: tuple[str | int, ...] = (), hint: str = _LOOKS) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint


def load_tools(file: Path, name: str) -> tuple[Tool, ...]:
    """The tools of a JSON file; `name` is how messages call it. Raises `InputError`."""
    text = _read(file, name)
    try:
        return parse_tools(_json(text))
    except UnicodeDecodeError as error:
        place = Place(name, text.count(b"\n", 0, error.start) + 1)
        raise InputError("this is not UTF-8", where=place, hint="Save it as UTF-8.") from None
    except TooDeep as deep:
        raise InputError(f"this cannot be used: {deep}", where=Place(name), hint=_LOOKS) from None
    except orjson.JSONDecodeError as error:
        message = f"this is not JSON: {error.msg}"
        raise InputError(message, where=Place(name, error.lineno), hint=_LOOKS) from None
    except RepeatedKey as repeated:
        message = f"an object holds the key {repeated.key!r} twice"
        hint = "Keep one of them: all but the last would be ignored."
        raise InputError(message, where=Place(name), hint=hint) from None
    except ToolProblem as problem:
        where = written_path(problem.path)
        message = f"{where}: {problem.message}" if where else problem.message
        place = _place(file, name, problem.path)
        raise InputError(message, where=place, hint=problem.hint) from None


def _json(text: bytes) -> Any:
    """The value of a JSON text, with numbers as rows have them: of 64 bits, and finite."""
    read_json(text.decode())
    return orjson.loads(text)


def _read(file: Path, name: str) -> bytes:
    try:
        return file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except IsADirectoryError:
        hint = "Give the JSON file with the tools."
        raise InputError(f"{name} is a folder, not a file", hint=hint) from None
    except FileNotFoundError:
        hint = "The path under `data.tools` is relative to the spec."
        raise InputError(f"there is no file {name}", hint=hint) from None
    except OSError as error:
        hint = "Check the path and the rights to read it."
        raise InputError(f"cannot read {name}: {error.strerror}", hint=hint) from error


def _place(file: Path, name: str, path: tuple[str | int, ...]) -> Place:
    """The line of a value in the file, as near as it can be told: JSON is nearly always YAML."""
    from orchestrator.yaml_places import load_yaml

    try:
        return load_yaml(file, name).place(path)
    except InputError:
        return Place(name)


def parse_tools(value: Any) -> tuple[Tool, ...]:
    """The tools of a list in OpenAI's form (or of functions alone). Raises `ToolProblem`."""
    judge = shipped_schema("tools")
    if not judge.accepts(value):
        raise ToolProblem(*_wrong_form(value, judge))
    tools: list[Tool] = []
    seen: set[str] = set()
    for index, declaration in enumerate(value):
        tool = _tool(declaration, index)
        if tool.name in seen:
            hint = "Give every tool a name of its own."
            raise ToolProblem(f"a second tool is called {tool.name}", (index,), hint)
        seen.add(tool.name)
        tools.append(tool)
    return tuple(tools)


def _wrong_form(value: Any, judge: Schema) -> tuple[str, tuple[str | int, ...]]:
    """What is wrong, and where: in one tool of the list, where it is a list."""
    if isinstance(value, list):
        for index, tool in enumerate(value):
            if not judge.accepts([tool]):
                return judge.reason([tool]).removeprefix("[0]").lstrip(".: "), (index,)
    return judge.reason(value), ()


def _tool(declaration: dict[str, Any], index: int) -> Tool:
    function = declaration.get("function", declaration)
    if function is declaration:
        declaration = {"type": "function", "function": function}
        path: tuple[str | int, ...] = (index, "parameters")
    else:
        path = (index, "function", "parameters")
    for other in _OTHER_PARAMETERS:
        if other in function and "parameters" not in function:
            message = f"the arguments of {function['name']} are described by `{other}`"
            raise ToolProblem(message, (*path[:-1], other), "Call it `parameters`.")
    parameters = _as_json_schema(function.get("parameters") or {"type": "object"})
    try:
        Schema(parameters)
    except BrokenSchema as broken:
        what = written_path(broken.path)
        message = f"the parameters of {function['name']} are no JSON Schema: "
        message += f"{what}: {broken.message}" if what else broken.message
        hint = "Correct the schema: json-schema.org."
        raise ToolProblem(message, path + broken.path, hint) from None
    return Tool(function["name"], parameters, declaration)


def _as_json_schema(value: Any) -> Any:
    """The same with the types' names as JSON Schema has them."""
    if isinstance(value, list):
        return [_as_json_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    return dict(_keywords(value))


def _keywords(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if key == "type" and isinstance(item, str) and item not in _JSON_TYPES:
            name = item.lower()
            known = _TYPES.get(name, name)
            if known is not None:
                yield key, known
        elif key in _NAMED and isinstance(item, dict):
            yield key, {name: _as_json_schema(inner) for name, inner in item.items()}
        else:
            yield key, item if key in _DATA else _as_json_schema(item)


def row_tools(value: Any) -> tuple[Tool, ...]:
    """The tools that a row carries, as a list or as JSON of one. Raises `ToolProblem`."""
    if isinstance(value, str):
        return _from_json(value.encode())
    return _from_json(orjson.dumps(value))


@functools.lru_cache(maxsize=1024)
def _from_json(text: bytes) -> tuple[Tool, ...]:
    try:
        value = _json(text)
    except TooDeep as deep:
        raise ToolProblem(f"they cannot be used: {deep}") from None
    except orjson.JSONDecodeError as error:
        raise ToolProblem(f"this is not JSON: {error.msg}") from None
    except RepeatedKey as repeated:
        hint = "Keep one of them: all but the last would be ignored."
        raise ToolProblem(f"an object holds the key {repeated.key!r} twice", (), hint) from None
    return parse_tools(value)
