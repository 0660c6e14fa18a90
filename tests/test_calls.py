"""Calls are read as models write them, and written so that they read the same."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import calls as calls_module
from orchestrator.calls import (
    END_MARKS,
    MAX_DEPTH,
    CannotRender,
    Syntax,
    ToolCall,
    detect,
    parse,
    render,
)

#: What the syntaxes are made of: a property over plain text alone would never meet them.
PIECES = [
    *(
        "<escape>",
        "<esc",
        "escape>",
        '<|"|>',
        '<|"',
        "<start_function_call>",
        "<end_function_call>",
    ),
    *("<tool_call>", "</tool_call>", "<|tool_call>", "<tool_call|>", "<|python_tag|>", *END_MARKS),
    *(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        ";",
        '"',
        "\\",
        "\n",
        " ",
        "call:",
        "null",
        "1",
        "é",
        "\U0001f6b4",
    ),
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=6).map("".join)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)


def values(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )


def calls_with(keys: st.SearchStrategy[str]) -> st.SearchStrategy[list[ToolCall]]:
    call = st.builds(ToolCall, NAMES, st.dictionaries(keys, values(keys), max_size=4))
    return st.lists(call, max_size=3)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type: 1 is neither true nor 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def assert_comes_back(calls: list[ToolCall], syntax: Syntax) -> None:
    written = render(calls, syntax)
    for end in ("", *END_MARKS[:1]):
        read = parse(written + end, syntax)
        assert read.problems == ()
        assert read.text == ""
        assert [call.name for call in read.calls] == [call.name for call in calls]
        assert same([c.arguments for c in read.calls], [c.arguments for c in calls])


@pytest.mark.parametrize("syntax", [Syntax.HERMES, Syntax.LLAMA, Syntax.OPENAI])
@settings(max_examples=60)
@given(calls=calls_with(TEXTS))
def test_calls_in_json_come_back_whatever_their_strings_hold(
    calls: list[ToolCall], syntax: Syntax
) -> None:
    assert_comes_back(calls, syntax)


@pytest.mark.parametrize(
    ("syntax", "quote"), [(Syntax.FUNCTIONGEMMA, "<escape>"), (Syntax.GEMMA4, '<|"|>')]
)
@settings(max_examples=60)
@given(calls=calls_with(NAMES))
def test_marked_calls_come_back_or_are_refused_for_their_quotes(
    calls: list[ToolCall], syntax: Syntax, quote: str
) -> None:
    def strings(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in strings(item)]
        if isinstance(value, list):
            return [text for item in value for text in strings(item)]
        return [value] if isinstance(value, str) else []

    if any(quote in text for call in calls for text in strings(call.arguments)):
        with pytest.raises(CannotRender, match="cannot be written"):
            render(calls, syntax)
    else:
        assert_comes_back(calls, syntax)


@pytest.mark.parametrize("syntax", list(Syntax))
@settings(max_examples=60)
@given(text=TEXTS | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_breaks_the_parser(text: str, syntax: Syntax) -> None:
    read = parse(text, syntax)
    assert all(0 <= problem.position <= len(text) for problem in read.problems)


def test_a_brace_and_an_end_mark_inside_a_string_are_text() -> None:
    read = parse(
        "<start_function_call>call:say{t:<escape>a } b<end_function_call> {c:<escape>,n:-1.5e3}"
        "<end_function_call><start_function_response>",
        Syntax.FUNCTIONGEMMA,
    )
    assert read.calls == (ToolCall("say", {"t": "a } b<end_function_call> {c:", "n": -1500.0}),)
    assert (read.text, read.problems, read.ended) == ("", (), True)


def test_nested_arguments_of_functiongemma_are_read() -> None:
    read = parse(
        "<start_function_call>call:f{a:{b:[1,<escape>x<escape>,{c:null}],d:true},e:[],g:{}}"
        "<end_function_call>",
        Syntax.FUNCTIONGEMMA,
    )
    assert read.calls[0].arguments == {
        "a": {"b": [1, "x", {"c": None}], "d": True},
        "e": [],
        "g": {},
    }


def test_several_calls_and_the_text_around_them_are_kept_apart() -> None:
    read = parse(
        "First<start_function_call>call:a{}<end_function_call> then "
        "<start_function_call>call:b{n:2}<end_function_call>last<end_of_turn>\n",
        Syntax.FUNCTIONGEMMA,
    )
    assert read.calls == (ToolCall("a", {}), ToolCall("b", {"n": 2}))
    assert read.text == "First then last"


@pytest.mark.parametrize("end", ["<end_of_turn>\n", "<|im_end|>", "<|eot_id|>", "</s>"])
def test_an_answer_that_is_only_the_end_of_a_turn_is_told_apart(end: str) -> None:
    read = parse(end, Syntax.HERMES)
    assert read.empty
    assert read.ended
    assert parse("", Syntax.HERMES).empty
    assert not parse("", Syntax.HERMES).ended
    assert not parse("yes" + end, Syntax.HERMES).empty


def test_a_model_that_repeats_the_end_of_its_turn_is_read_in_a_blink() -> None:
    read = parse("yes" + "<eos> <end_of_turn>\n" * 200_000, Syntax.FUNCTIONGEMMA)
    assert (read.text, read.ended, read.problems) == ("yes", True, ())
    inside = parse("<eos> yes<eos>", Syntax.FUNCTIONGEMMA)
    assert (inside.text, inside.ended) == ("<eos> yes", True)


S, E = "<start_function_call>", "<end_function_call>"


@pytest.mark.parametrize(
    ("text", "position", "words", "kept"),
    [
        (f"{S}get{{}}{E}", 21, "`call:`", 0),
        (f"{S}call:{{}}{E}", 26, "no name", 0),
        (f"{S}call:f(x){E}", 30, "`{`", 0),
        (f"{S}call:f{{k=1}}{E}", 31, "`:`", 0),
        (f"{S}call:f{{k:<escape>v}}{E}", 38, "not closed by <escape>", 0),
        (f"{S}call:f{{k:1{E}", 31, "`,` or `}`", 0),
        (f"{S}call:f{{k:}}{E}", 30, "a value", 0),
        (f"{S}call:f{{:1}}{E}", 28, "a key", 0),
        (f"{S}call:f{{k:London}}{E}", 30, "'London' is not between", 1),
        (f"{S}call:f{{k:01}}{E}", 30, "'01' is not between", 1),
        (f"{S}call:f{{k:1,k:2}}{E}", 32, "there twice", 1),
        (f"{S}call:f{{k:1}}", 32, f"not closed by {E}", 1),
        (f"{S}call:f{{k:[1 2]}}{E}", 33, "`,` or `]`", 0),
        (f"{S}call:f{{k:{'[' * 200}{E}", 30 + MAX_DEPTH, "nested more", 0),
    ],
)
def test_a_broken_call_is_named_with_its_position(
    text: str, position: int, words: str, kept: int
) -> None:
    read = parse(text, Syntax.FUNCTIONGEMMA)
    assert len(read.problems) == 1
    assert words in str(read.problems[0])
    assert len(read.calls) == kept
    assert not read.empty
    if position is not None:
        assert abs(read.problems[0].position - position) <= 2


def test_a_position_is_counted_from_the_start_of_the_answer() -> None:
    text = f"Hello {S}call:f{{k:1}}"
    assert parse(text, Syntax.FUNCTIONGEMMA).problems[0].position == len(text)


@pytest.mark.parametrize(
    ("text", "words", "kept"),
    [
        ('<tool_call>{"name": "f"}</tool_call>', "not an object", 0),
        ('<tool_call>{"arguments": {}}</tool_call>', "a name and arguments", 0),
        ('<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>', "NaN is no JSON", 0),
        ("<tool_call>{'name': 'f'}</tool_call>", "is not JSON", 0),
        ('<tool_call>{"name": "f", "arguments": {}}', "not closed", 1),
        ('<tool_call>{"name": "f", "arguments": "{"}</tool_call>', "a text that is not JSON", 0),
        ('<tool_call>{"name": "f", "arguments": {"x": 1, "x": 2}}</tool_call>', "'x' is there", 0),
        ('<tool_call>{"name": "f", "arguments": "{\\"x\\":1,\\"x\\":2}"}</tool_call>', "twice", 0),
        ("<tool_call>" + "[" * 100_000, "is not JSON", 0),
    ],
)
def test_a_broken_hermes_call_is_named(text: str, words: str, kept: int) -> None:
    read = parse(text, Syntax.HERMES)
    assert [words in str(problem) for problem in read.problems] == [True]
    assert len(read.calls) == kept


def test_arguments_may_be_an_object_or_a_json_text() -> None:
    for written in ('{"n": 1}', '"{\\"n\\": 1}"'):
        text = f'[{{"type": "function", "function": {{"name": "f", "arguments": {written}}}}}]'
        assert parse(text, Syntax.OPENAI).calls == (ToolCall("f", {"n": 1}),)
    message = '{"role": "assistant", "content": "Hm", "tool_calls": [{"name":"f","arguments":{}}]}'
    read = parse(message, Syntax.OPENAI)
    assert (read.calls, read.text) == ((ToolCall("f", {}),), "Hm")


def test_llama_calls_stand_after_a_python_tag_or_alone() -> None:
    one = ToolCall("f", {"n": 1})
    call = '{"name": "f", "parameters": {"n": 1}}'
    assert parse(f"{call}<|eot_id|>", Syntax.LLAMA).calls == (one,)
    tagged = parse(f"Let me see.<|python_tag|>{call}; {call}<|eom_id|>", Syntax.LLAMA)
    assert (tagged.calls, tagged.text) == ((one, one), "Let me see.")
    assert parse(f"{call} and more", Syntax.LLAMA).problems
    assert parse(call[:-5], Syntax.LLAMA).problems


@pytest.mark.parametrize(
    "text", ["Good morning", '{"name": "Ada", "age": 36}', '{"route": []}', '{"a": 1, "a": 2}']
)
def test_an_answer_in_plain_text_or_json_is_no_call_of_llama(text: str) -> None:
    read = parse(text, Syntax.LLAMA)
    assert (read.calls, read.text, read.problems) == ((), text, ())


@pytest.mark.parametrize(
    "call",
    [
        ToolCall("two words", {}),
        ToolCall("f", {"a:b": 1}),
        ToolCall("f", {"": 1}),
        ToolCall("f", {"x": float("nan")}),
        ToolCall("f", {"x": {1, 2}}),
    ],
)
def test_what_functiongemma_cannot_carry_is_refused(call: ToolCall) -> None:
    with pytest.raises(CannotRender):
        render([call], Syntax.FUNCTIONGEMMA)


@pytest.mark.parametrize(
    ("template", "syntax"),
    [
        ("{{ message.tool_calls }}<start_function_call>", Syntax.FUNCTIONGEMMA),
        ("{{ message.tool_calls }}<|tool_call>call:", Syntax.GEMMA4),
        ('{{ tool_calls }}\'<tool_call>{"name": "\', \\"arguments\\"', Syntax.HERMES),
        ("{{ tool_calls }}'\"parameters\": ' <|eot_id|>", Syntax.LLAMA),
        ("{{ tool_calls }}<tool_call><function=", None),
        ('<tool_call> "arguments" in the words of a prompt', None),
        ("{{ message.content }}", None),
    ],
)
def test_the_syntax_is_read_from_the_template(template: str, syntax: Syntax | None) -> None:
    assert detect(template) is syntax


def test_the_module_travels_alone() -> None:
    file = Path(str(calls_module.__file__))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        else:
            continue
        assert all(name.split(".")[0] in sys.stdlib_module_names for name in names), names
