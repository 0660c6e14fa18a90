"""Tools are read from their file, and what is wrong in it is said with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.dataset.tools import ToolProblem, load_tools, row_tools
from orchestrator.errors import InputError
from tests.dataset.rules_of import needs_data, outside

SOUND: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "description": "d",
            "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
    },
    {"name": "g"},
]


def load(folder: Path, content: Any) -> tuple[Any, ...]:
    file = folder / "tools.json"
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    file.write_text(text, encoding="utf-8")
    return load_tools(file, "tools.json")


def test_functions_are_taken_bare_or_as_openai_has_them(tmp_path: Path) -> None:
    first, second = load(tmp_path, SOUND)
    assert (first.name, first.declaration) == ("f", SOUND[0])
    assert first.parameters == SOUND[0]["function"]["parameters"]
    assert second.declaration == {"type": "function", "function": {"name": "g"}}
    assert second.parameters == {"type": "object"}


def test_types_may_be_written_in_capitals_or_as_python_has_them(tmp_path: Path) -> None:
    parameters = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "enum": ["STRING"]},
            "n": {"type": "float"},
            "l": {"type": "ARRAY", "items": {"type": "INTEGER"}},
            "d": {"type": "dict", "properties": {"x": {"type": "any"}}},
            "const": {"type": "STRING", "const": {"type": "STRING"}},
        },
    }
    (tool,) = load(tmp_path, [{"name": "f", "parameters": parameters}])
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["STRING"]},
            "n": {"type": "number"},
            "l": {"type": "array", "items": {"type": "integer"}},
            "d": {"type": "object", "properties": {"x": {}}},
            "const": {"type": "string", "const": {"type": "STRING"}},
        },
    }
    assert tool.declaration["function"]["parameters"] == parameters


def _with(**function: Any) -> list[dict[str, Any]]:
    return [SOUND[0], {"type": "function", "function": {"name": "h", **function}}]


@pytest.mark.parametrize(
    ("content", "line", "part"),
    [
        ("[{", 1, "this is not JSON"),
        ('[\n{"name": "f",}]', 2, "this is not JSON"),
        ('[{"name": "f", "name": "g"}]', None, "an object holds the key 'name' twice"),
        ({"name": "f"}, 1, "is not of type 'array'"),
        ([SOUND[0], {"type": "function"}], 17, "[1]: 'name' is a required property"),
        ([SOUND[0], {"type": "function", "function": {}}], 17, "'name' is a required property"),
        ([{"name": "a b"}], 2, "[0]: name: 'a b' is not a name of letters"),
        ([{"name": "f"}, {"name": "f"}], 5, "a second tool is called f"),
        (_with(parameters=[]), 17, "function.parameters: [] is not of type 'object'"),
        (_with(parameters={"type": "array"}), 17, "is not object: arguments are always an object"),
        (
            _with(parameters={"properties": {"x": {"type": "strin"}}}),
            24,
            "the parameters of h are no JSON Schema: properties.x.type: 'strin' is no type: string",
        ),
        (_with(parameters={"$ref": "https://example.com/x"}), 21, "https://example.com/x"),
    ],
)
def test_a_broken_file_of_tools_says_where(
    tmp_path: Path, content: Any, line: int | None, part: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, content)
    assert part in caught.value.message
    assert caught.value.hint
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == ("tools.json", line)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file tools\.json"):
        load_tools(tmp_path / "tools.json", "tools.json")
    with pytest.raises(InputError, match="is a folder"):
        load_tools(tmp_path, "tools.json")
    (tmp_path / "tools.json").write_bytes(b"[\n\xff]")
    with pytest.raises(InputError, match="not UTF-8") as caught:
        load_tools(tmp_path / "tools.json", "tools.json")
    assert str(caught.value.where) == "tools.json:2"


def test_the_tools_of_rows_are_parsed_once_for_equal_rows() -> None:
    assert row_tools(SOUND) is row_tools(json.loads(json.dumps(SOUND)))
    assert row_tools(json.dumps(SOUND)) == row_tools(SOUND)
    with pytest.raises(ToolProblem, match="not JSON"):
        row_tools("[")


@needs_data
@pytest.mark.parametrize(("folder", "count"), [("support-router", 3), ("cycling-copilot", 6)])
def test_the_outside_tools_are_sound(folder: str, count: int) -> None:
    assert len(load_tools(outside(folder, "tools.json"), "tools.json")) == count


@pytest.mark.parametrize("name", ["input_schema", "inputSchema", "parametersJsonSchema"])
def test_arguments_that_others_name_otherwise_are_not_lost_in_silence(
    name: str, tmp_path: Path
) -> None:
    tool = {"name": "get_time", "description": "Says the time.", name: {"type": "object"}}
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([tool]))
    with pytest.raises(InputError, match=f"`{name}`") as caught:
        load_tools(file, "tools.json")
    assert caught.value.hint == "Call it `parameters`."
    file.write_text(json.dumps([tool | {"parameters": {"type": "object"}}]))
    assert len(load_tools(file, "tools.json")) == 1


def test_a_key_twice_in_a_text_of_tools_is_found() -> None:
    with pytest.raises(ToolProblem, match="'name' twice"):
        row_tools('[{"name": "a", "name": "b"}]')


def test_tools_that_are_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text("[" * 300 + "]" * 300)
    with pytest.raises(InputError, match="nested deeper"):
        load_tools(file, "tools.json")
    with pytest.raises(ToolProblem, match="nested deeper"):
        row_tools(file.read_text())


def test_numbers_of_tools_have_64_bits_as_those_of_rows_do(tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    schema = '{"type": "object", "properties": {"n": {"maximum": 123456789012345678901234567890}}}'
    file.write_text(f'[{{"name": "f", "parameters": {schema}}}]')
    (tool,) = load_tools(file, "tools.json")
    assert json.loads(orjson.dumps(tool.declaration))["function"]["name"] == "f"


def test_a_schema_that_refers_elsewhere_says_where() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}
    with pytest.raises(
        ToolProblem, match=r"it refers to https://example\.com/a\.json, and schemas"
    ):
        row_tools([{"name": "f", "parameters": schema}])
