"""The check `form` finds what makes an example wrong to train on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiter
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.checks.form import FormCheck
from orchestrator.dataset.checks.odd_characters import CONTROLS
from orchestrator.dataset.example import Example
from orchestrator.dataset.reading.repeated_keys import (
    MOST_LEVELS,
    RepeatedKey,
    TooDeep,
    read_json,
)
from orchestrator.dataset.report import Finding, Level
from orchestrator.dataset.rules import Rules
from orchestrator.errors import InputError
from tests.dataset.rules_of import (
    CLOCK,
    WEATHER,
    example_of,
    finding_of,
    findings_of,
    rules_of,
)

U = {"role": "user", "content": "u"}
A = {"role": "assistant", "content": "a"}
S = {"role": "system", "content": "s"}
D = {"role": "developer", "content": "d"}
T = {"role": "tool", "content": "t"}
C = {"role": "assistant", "tool_calls": [{"name": "get_time", "arguments": {}}]}


def roles(messages: Sequence[dict[str, Any]]) -> list[Finding]:
    return findings_of(rules_of("chat", tools=(CLOCK,)), [{"messages": list(messages)}])


@pytest.mark.parametrize(
    "messages",
    [
        (U, A),
        (S, U, A),
        (S, D, U, A),
        (D, U, A, U, A),
        (U, C),
        (U, C, T, A),
        (U, C, T, T, C),
        (U, C, T, C, T, A, U, A),
    ],
)
def test_turns_in_their_order_are_sound(messages: Sequence[dict[str, Any]]) -> None:
    assert roles(messages) == []


@pytest.mark.parametrize(
    ("messages", "part"),
    [
        ((A,), "messages[0]: the assistant speaks before the user"),
        ((S, A), "messages[1]: the assistant speaks before the user"),
        ((U, S, A), "messages[1]: a system prompt after the chat has begun"),
        ((U, A, D, U, A), "messages[2]: a developer prompt after"),
        ((U, U, A), "messages[1]: two turns of the user"),
        ((U, A, A), "messages[2]: two turns of the assistant"),
        ((U, C, C), "messages[2]: two turns of the assistant"),
        ((U, C, U, A), "messages[2]: the user speaks before the tool"),
        ((U, T, A), "messages[1]: a tool replies that was not called"),
        ((U, A, T, A), "messages[2]: a tool replies that was not called"),
        ((U, A, U), "the chat ends with the user's turn"),
        ((U, C, T), "the chat ends with the tool's turn"),
    ],
)
def test_turns_out_of_order_are_errors(messages: Sequence[dict[str, Any]], part: str) -> None:
    (found,) = roles(messages)
    assert (found.code, found.level) == ("role-order", Level.ERROR)
    assert part in found.message


@pytest.mark.parametrize("content", [None, "", " \n", "\ufeff ", "\u00a0"])
def test_an_answer_without_a_visible_character_is_an_error(content: str | None) -> None:
    (found,) = roles((U, {"role": "assistant", "content": content}))
    assert (found.code, found.level) == ("empty-answer", Level.ERROR)
    (found,) = roles((U, {"role": "assistant", "content": content, "thinking": "hm"}))
    assert found.message == "the answer is empty but its thinking"


def test_a_user_who_says_nothing_is_an_error() -> None:
    (found,) = roles(({"role": "user", "content": " "}, A))
    assert (found.code, found.level) == ("empty-prompt", Level.ERROR)


def called(name: str, arguments: dict[str, Any], rules: Rules | None = None) -> Finding:
    row = {"user_content": "u", "agent_name": name, "agent_arguments": json.dumps(arguments)}
    return finding_of(rules or rules_of("routing", tools=(WEATHER, CLOCK)), row)


def test_a_call_of_an_unknown_tool_suggests_the_nearest() -> None:
    found = called("get_wether", {})
    assert (found.code, found.level) == ("unknown-tool", Level.ERROR)
    assert found.hint == "Did you mean get_weather? Tools: get_weather, get_time."


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({}, "arguments of get_weather: 'city' is a required property"),
        ({"city": 3}, "arguments of get_weather: city: 3 is not of type 'string'"),
        ({"city": "x", "days": 0}, "days: 0 is less than the minimum of 1"),
        ({"city": "x", "day": 1}, "'day' was unexpected"),
    ],
)
def test_arguments_that_fail_their_schema_are_errors(arguments: dict[str, Any], part: str) -> None:
    found = called("get_weather", arguments)
    assert (found.code, found.level) == ("tool-arguments", Level.ERROR)
    assert part in found.message


def test_calls_in_earlier_turns_are_checked_too() -> None:
    wrong = {"role": "assistant", "tool_calls": [{"name": "nobody"}]}
    assert [found.code for found in roles((U, wrong, T, A))] == ["unknown-tool"]


def test_a_tool_with_a_broken_schema_is_an_error_of_the_user() -> None:
    broken = dataclasses.replace(CLOCK, parameters={"type": "objekt"})
    with pytest.raises(InputError, match="parameters of the tool get_time are no JSON Schema"):
        called("get_time", {}, rules_of("routing", tools=(broken,)))


def test_calls_where_no_tools_are_declared_are_a_warning() -> None:
    found = called("get_weather", {}, rules_of("routing"))
    assert (found.code, found.level) == ("no-tools", Level.WARNING)


@pytest.mark.parametrize("control", CONTROLS)
def test_control_characters_are_warnings(control: str) -> None:
    for prompt, completion in ((f"a{control}b", "c"), ("p", f"c{control}")):
        found = finding_of(rules_of(), {"prompt": prompt, "completion": completion})
        assert (found.code, found.level) == ("control-character", Level.WARNING)
        assert f"U+{ord(control):04X}" in found.message
    (found,) = roles(({"role": "user", "content": f"{control}x"}, A))
    assert found.code == "control-character"


def test_lost_characters_are_warnings() -> None:
    found = finding_of(rules_of(), {"prompt": "caf\ufffd au lait", "completion": "c"})
    assert (found.code, found.level) == ("lost-character", Level.WARNING)
    assert "caf\ufffd au lait" in found.message
    (found,) = roles((U, {"role": "assistant", "content": "\ufffd"}))
    assert found.code == "lost-character"


@pytest.mark.parametrize("text", ["tab\tand\nline\r\n", "\u00e9\u4e2d\U0001f600", "\u200bx"])
def test_other_characters_are_nobodys_business(text: str) -> None:
    assert findings_of(rules_of(), [{"prompt": text, "completion": text}]) == []


# --------------------------------------------------------------------------------- documents

ANSWER = {
    "type": "object",
    "required": ["a"],
    "properties": {"a": {"type": "integer"}, "tags": {"type": "array"}},
}


def answers(folder: Path, definition: Any = ANSWER) -> Rules:
    (folder / "answer.json").write_bytes(orjson.dumps(definition, option=orjson.OPT_INDENT_2))
    return rules_of(answer="answer.json", folder=folder)


def pair(completion: str) -> dict[str, Any]:
    return {"prompt": "p", "completion": completion}


def test_an_answer_is_read_by_the_schema_beside_the_spec(tmp_path: Path) -> None:
    rules = answers(tmp_path)
    example = example_of(rules, pair('{"a": 3, "tags": ["x"], "difficulty": "hard"}'))
    assert list(FormCheck(rules).examine([example])) == []
    assert example.document == {"a": 3, "tags": ["x"], "difficulty": "hard"}
    assert (example.tags, example.difficulty) == (("x",), "hard")


@pytest.mark.parametrize(
    ("answer", "code", "part"),
    [
        ('{"a": "x"}', "answer-schema", "answer: a: 'x' is not of type 'integer'"),
        ('{"a": 1} and more', "answer-not-json", "goes on after its JSON document: 'and more'"),
        ('{"a": 1}\n{"a": 2}', "answer-not-json", "goes on after its JSON document"),
        ('```json\n{"a": 1}\n```', "answer-not-json", "fenced as code"),
        ('{"a": 1', "answer-not-json", "the answer is not JSON: "),
        ("<think>hm</think>", "answer-not-json", "the answer is empty"),
        ("<think>hm {", "answer-not-json", "the answer is empty"),
        ('{"a": 1, "a": 2}', "answer-duplicate-key", "the key 'a' stands twice"),
        ('{"a": 1, "b": [{"c": 1, "\\u0063": 2}]}', "answer-duplicate-key", "the key 'c' stands"),
    ],
)
def test_an_answer_that_is_not_the_document_is_an_error(
    tmp_path: Path, answer: str, code: str, part: str
) -> None:
    found = finding_of(answers(tmp_path), pair(answer))
    assert (found.code, found.level) == (code, Level.ERROR)
    assert part in found.message


def test_the_one_control_character_that_a_document_can_hold_is_found(tmp_path: Path) -> None:
    found = finding_of(answers(tmp_path), pair('{"a": 1, "b": "\x7f"}'))
    assert (found.code, found.level) == ("control-character", Level.WARNING)


def test_thinking_before_the_document_is_skipped(tmp_path: Path) -> None:
    assert findings_of(answers(tmp_path), [pair('<think>\n{"a": "x"}\n</think>\n\n{"a": 1}')]) == []


def test_the_answer_of_a_chat_is_a_document_too(tmp_path: Path) -> None:
    answers(tmp_path)
    rules = rules_of("chat", answer="answer.json", folder=tmp_path, tools=(CLOCK,))
    assert findings_of(rules, [{"messages": [U, A | {"content": '{"a": 1}'}]}]) == []
    assert finding_of(rules, {"messages": [U, A]}).code == "answer-not-json"
    assert finding_of(rules, {"messages": [U, C]}).message.startswith("the answer is a call")


@pytest.mark.parametrize(
    ("definition", "part"),
    [
        ({"type": "objekt"}, "type: "),
        ([], "a schema is a JSON object"),
        ({"$ref": "https://example.com/x.json"}, "https://example.com/x.json"),
        ({"$ref": "#/$defs/none"}, "/$defs/none"),
    ],
)
def test_a_schema_of_answers_that_is_none_is_refused(
    tmp_path: Path, definition: Any, part: str
) -> None:
    with pytest.raises(InputError, match=r"answer\.json") as caught:
        FormCheck(answers(tmp_path, definition))
    assert part in caught.value.message


def test_a_schema_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read none\.json"):
        FormCheck(rules_of(answer="none.json", folder=tmp_path))
    (tmp_path / "cut.json").write_text('{\n"type":', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        FormCheck(rules_of(answer="cut.json", folder=tmp_path))
    assert str(caught.value.where) == "cut.json:2"
    with pytest.raises(InputError, match="there is no schema route-plans"):
        FormCheck(rules_of(answer="route-plans"))


def test_a_schema_that_the_two_validators_read_differently_still_gives_a_reason(
    tmp_path: Path,
) -> None:
    # The one reads \p{Lu}, the other does not know it.
    rules = answers(tmp_path, {"type": "string", "pattern": "^\\p{Lu}"})
    found = finding_of(rules, pair('"x"'))
    assert found.code == "answer-schema"
    assert "x" in found.message


# ----------------------------------------------------------------------------- repeated keys

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@given(_JSON, st.booleans(), st.sampled_from([None, 1]))
def test_what_json_holds_once_is_read_as_others_read_it(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    try:
        wanted = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return
    assert read_json(text) == wanted


@given(st.text(max_size=30) | st.text(alphabet='{}[]":,1a \\u-.', max_size=12))
def test_whatever_is_read_is_what_orjson_takes(text: str) -> None:
    try:
        wanted = orjson.loads(text)
    except orjson.JSONDecodeError:
        with pytest.raises(orjson.JSONDecodeError):
            read_json(text)
        return
    try:
        assert read_json(text) == wanted
    except RepeatedKey:
        keys: list[list[tuple[str, Any]]] = []
        json.loads(text, object_pairs_hook=keys.append)
        assert any(len({key for key, _ in one}) < len(one) for one in keys)


@pytest.mark.parametrize("depth", [10, 199, 200, 250, 900])
def test_a_key_twice_is_found_at_any_depth_that_python_reads(depth: int) -> None:
    text = "[" * depth + '{"k": 1, "k": 2}' + "]" * depth
    with pytest.raises(RepeatedKey, match="k"):
        read_json(text)


@pytest.mark.parametrize("depth", [199, 200, 201, 202, 254, 255, 900])
def test_what_is_read_can_be_written_and_what_is_nested_deeper_is_refused(depth: int) -> None:
    text = "[" * depth + "1" + "]" * depth
    if depth > MOST_LEVELS:
        with pytest.raises(TooDeep, match="nested deeper than 201 levels"):
            read_json(text)
    else:
        assert orjson.dumps(read_json(text)).decode() == text


def test_the_parser_that_notices_repeated_keys_does() -> None:
    with pytest.raises(ValueError, match="uplicate"):
        jiter.from_json(b'{"a":1,"a":1}', catch_duplicate_keys=True)


def test_findings_come_in_the_order_of_rows_and_batches_do_not_matter() -> None:
    rules = rules_of("chat", tools=(CLOCK,))
    rows = [{"messages": [U, A]}, {"messages": [U, U, A]}, {"messages": [A]}] * 3
    examples: list[Example] = [example_of(rules, row) for row in rows]
    whole = list(FormCheck(rules).examine(examples))
    check = FormCheck(rules)
    assert [f for e in examples for f in check.examine([e])] == whole
    assert len(whole) == 6
