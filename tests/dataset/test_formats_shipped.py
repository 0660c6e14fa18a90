"""Each format that ships turns its rows into examples; what it cannot take is said."""

from __future__ import annotations

import csv
import json
from typing import Any

import orjson
import pytest

from orchestrator.data_files import schema
from orchestrator.dataset.example import Call, Message, answer_calls
from orchestrator.dataset.formats.router_trace import plan_keys
from orchestrator.dataset.output import service_row
from orchestrator.dataset.report import Level
from orchestrator.dataset.tools import load_tools
from tests.dataset.rules_of import (
    CLOCK,
    WEATHER,
    converted,
    example_of,
    finding_of,
    findings_of,
    needs_data,
    outside,
    rules_of,
)

CALL = {"name": "get_weather", "arguments": {"city": "Oslo"}}
USER = {"role": "user", "content": "hello"}
PLAN: dict[str, Any] = {
    "metrics": {"secondary": [], "primary": ["a"]},
    "route_plan": ["/math(x)"],
    "route_rationale": "é because",
    "expected_artifacts": ["a"],
    "thinking_outline": ["first", "then"],
    "handoff_plan": "h",
    "todo_list": ["t"],
    "difficulty": "advanced",
    "tags": ["algebra"],
    "acceptance_criteria": ["c"],
}


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


# ------------------------------------------------------------------------------------- chat


def test_the_last_turn_of_a_chat_is_the_answer() -> None:
    row = chat({"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "hi"})
    found = example_of(rules_of("chat"), row)
    assert found.prompt == (Message("system", "s"), Message("user", "hello"))
    assert found.answer == (Message("assistant", "hi"),)
    assert found.fields == row


@pytest.mark.parametrize(
    "call",
    [
        CALL,
        {"name": "get_weather", "args": {"city": "Oslo"}},
        {"id": "c1", "type": "function", "function": CALL},
        {"function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}},
    ],
)
def test_calls_are_the_same_however_they_are_written(call: dict[str, Any]) -> None:
    row = chat(USER, {"role": "assistant", "content": None, "tool_calls": [call]})
    found = example_of(rules_of("chat", tools=(WEATHER,)), row)
    assert found.answer == (Message("assistant", None, (Call("get_weather", {"city": "Oslo"}),)),)


def test_a_reply_of_a_tool_knows_its_tool_by_the_id_of_the_call() -> None:
    calls = [{"id": "a", "function": CALL}, {"id": "b", "function": {"name": "get_time"}}]
    row = chat(
        USER,
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "assistant", "content": "It rains at noon."},
    )
    found = example_of(rules_of("chat", tools=(WEATHER, CLOCK)), row)
    assert [m.name for m in found.prompt if isinstance(m, Message)][2:] == [
        "get_weather",
        "get_time",
    ]
    assert findings_of(rules_of("chat", tools=(WEATHER, CLOCK)), [row]) == []


@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "reasoning"])
def test_thinking_is_kept_apart_from_the_answer(field: str) -> None:
    row = chat(USER, {"role": "assistant", "content": "hi", field: "hm"})
    found = example_of(rules_of("chat"), row)
    assert found.answer == (Message("assistant", "hi", thinking="hm"),)


def test_parts_of_text_become_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    row = chat({"role": "user", "content": parts}, {"role": "assistant", "content": "c"})
    assert example_of(rules_of("chat"), row).prompt == (Message("user", "ab"),)


def test_the_tools_of_a_row_go_before_those_of_the_spec() -> None:
    row = chat(USER, {"role": "assistant", "tool_calls": [{"name": "get_time"}]})
    rules = rules_of("chat", tools=(WEATHER,))
    assert finding_of(rules, row).code == "unknown-tool"
    for tools in ([CLOCK.declaration], json.dumps([CLOCK.declaration])):
        assert findings_of(rules, [row | {"tools": tools}]) == []
    assert finding_of(rules, row | {"tools": []}).code == "no-tools"


ASSISTANT = {"role": "assistant", "content": "x"}


@pytest.mark.parametrize(
    ("row", "code", "part"),
    [
        ({}, "row-schema", "'messages' is a required property"),
        (chat(), "row-schema", "messages: "),
        (chat(USER), "role-order", "the chat ends with the user's turn"),
        (chat({"role": "human", "content": "x"}, ASSISTANT), "row-schema", "messages[0].role: "),
        (chat({"role": "user", "content": 3}, ASSISTANT), "row-schema", "messages[0].content: 3"),
        (
            chat({"role": "user", "content": [{"type": "image_url"}]}, ASSISTANT),
            "content-part",
            "messages[0].content[0]",
        ),
        (
            chat(USER, {"role": "assistant", "tool_calls": [{"function": {}}]}),
            "row-schema",
            "messages[1].tool_calls[0].function: 'name' is a required property",
        ),
        (
            chat(USER, {"role": "assistant", "tool_calls": [CALL | {"arguments": "{"}]}),
            "field-not-json",
            "messages[1].tool_calls[0].arguments is not JSON",
        ),
        (
            chat(USER, {"role": "assistant", "tool_calls": [CALL | {"arguments": "[1]"}]}),
            "arguments-form",
            "this is a list",
        ),
        (
            chat(
                USER, {"role": "assistant", "tool_calls": [CALL | {"arguments": '{"a":1,"a":2}'}]}
            ),
            "duplicate-key",
            "holds the key 'a' twice",
        ),
        (
            chat(USER, {"role": "assistant", "function_call": {"name": "f"}}),
            "function-call",
            "messages[1].function_call",
        ),
        (chat(USER, ASSISTANT, tools=[{"name": "a b"}]), "tools-form", "tools: name: 'a b' is not"),
        (chat(USER, ASSISTANT, tools="{"), "tools-form", "tools: this is not JSON"),
        (
            chat(
                USER,
                {"role": "assistant", "tool_calls": [{"id": "a", **CALL}]},
                {"role": "tool", "tool_call_id": "z", "content": "x"},
                ASSISTANT,
            ),
            "unknown-call-id",
            "no call before has the id 'z'",
        ),
    ],
)
def test_a_wrong_chat_says_where_and_why(row: dict[str, Any], code: str, part: str) -> None:
    found = finding_of(rules_of("chat"), row)
    assert (found.kind, found.level, found.code) == ("form", Level.ERROR, code)
    assert part in found.message
    assert (found.place.line, bool(found.hint)) == (1, True)


# ------------------------------------------------------------------------------ instruction, math


def test_an_instruction_row_keeps_its_tests_for_an_evaluation() -> None:
    row = {"instruction": "add", "output": "def f(): ...", "code": "def f(): ..."}
    row |= {"entry_point": "f", "testcase": ["assert f()"], "seq_id": 3}  # type: ignore[dict-item]  # rows hold anything
    found = example_of(rules_of("instruction"), row)
    assert found.prompt == (Message("user", "add"),)
    assert found.answer == (Message("assistant", "def f(): ..."),)
    assert found.fields["testcase"] == ["assert f()"]


def test_the_input_of_an_instruction_follows_it() -> None:
    row = {"instruction": "Sum", "input": "1 2", "output": "3"}
    assert example_of(rules_of("instruction"), row).prompt == (Message("user", "Sum\n\n1 2"),)


@pytest.mark.parametrize(
    ("row", "answer", "reference"),
    [
        ({"question": "q", "solution": "so 5", "answer": "5"}, "so 5", "5"),
        ({"problem": "q", "generated_solution": "so 5", "expected_answer": 5}, "so 5", "5"),
        ({"question": "q", "answer": 0.5}, "0.5", "0.5"),
        ({"question": "q", "solution": "s"}, "s", None),
        ({"question": None, "problem": "q", "solution": None, "answer": "5"}, "5", "5"),
    ],
)
def test_a_math_row_answers_with_its_solution_and_refers_to_the_final_answer(
    row: dict[str, Any], answer: str, reference: str | None
) -> None:
    found = example_of(rules_of("math"), row)
    assert found.prompt == (Message("user", "q"),)
    assert found.answer == (Message("assistant", answer),)
    assert found.reference == reference


def test_a_math_request_is_answered_with_the_answer_beside_it() -> None:
    body = {"messages": [{"role": "system", "content": "s"}, USER]}
    found = example_of(rules_of("math"), {"body": body, "answer": "5", "temperature": 0})
    assert found.prompt == (Message("system", "s"), Message("user", "hello"))
    assert (found.answer, found.reference) == ((Message("assistant", "5"),), "5")


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"answer": "5"}, "this is not a row with `question`, `problem` or `body.messages`"),
        ({"question": "q"}, "this is not a row with `solution`"),
        ({"question": " ", "answer": "5"}, "question: ' ' is not text with a visible character"),
        ({"question": "q", "answer": []}, "answer: [] is not text with a visible character, or a"),
        ({"body": {}, "answer": "5"}, "body: 'messages' is a required property"),
    ],
)
def test_a_wrong_math_row_says_what_is_missing(row: dict[str, Any], part: str) -> None:
    found = finding_of(rules_of("math"), row)
    assert found.code == "row-schema"
    assert part in found.message


# ------------------------------------------------------------------------------ calls and routes


@pytest.mark.parametrize("calls", [[CALL], json.dumps([CALL]), CALL, json.dumps(CALL)])
def test_the_calls_of_a_row_are_its_answer(calls: Any) -> None:
    rules = rules_of("tool-calls", tools=(WEATHER,), developer="You call.")
    if isinstance(calls, dict):
        assert finding_of(rules, {"user_message": "u", "tool_calls": calls}).code == "row-schema"
        return
    found = example_of(rules, {"user_message": "u", "tool_calls": calls})
    assert found.prompt == (Message("developer", "You call."), Message("user", "u"))
    assert found.answer == (Message("assistant", None, (Call("get_weather", {"city": "Oslo"}),)),)
    assert found.tools == (WEATHER,)


@pytest.mark.parametrize(
    ("calls", "code"),
    [
        ("[", "field-not-json"),
        ("3", "calls-form"),
        ('["x"]', "calls-form"),
        ('[{"args": {}}]', "calls-form"),
        ('[{"name": "f", "args": 3}]', "arguments-form"),
        ('[{"name": "f", "args": {"a": 1e999}}]', "field-not-json"),
        ("[]", "empty-answer"),
        ('[{"name": "get_wether", "args": {}}]', "unknown-tool"),
        ('[{"name": "get_weather", "args": {}}]', "tool-arguments"),
    ],
)
def test_calls_that_are_none_are_found(calls: str, code: str) -> None:
    rules = rules_of("tool-calls", tools=(WEATHER,))
    found = finding_of(rules, {"user_message": "u", "tool_calls": calls})
    assert found.code == code


@pytest.mark.parametrize("arguments", ['{"city": "Oslo"}', {"city": "Oslo"}])
def test_a_route_is_a_call_of_the_agent(arguments: Any) -> None:
    row = {"user_content": "u", "agent_name": "get_weather", "agent_arguments": arguments}
    found = example_of(rules_of("routing", tools=(WEATHER,)), row)
    assert found.answer == (Message("assistant", None, (Call("get_weather", {"city": "Oslo"}),)),)


def test_a_trace_becomes_a_prompt_and_json_in_the_order_of_the_schema() -> None:
    found = example_of(rules_of("router-trace"), {"user_query": "how much?", **PLAN})
    assert isinstance(found.prompt, str)
    assert isinstance(found.answer, str)
    assert "how much?" in found.prompt
    assert tuple(json.loads(found.answer)) == plan_keys()
    assert json.loads(found.answer) == PLAN
    assert "é" in found.answer
    assert (found.tags, found.difficulty) == (("algebra",), "advanced")
    rules = rules_of("router-trace", answer="route-plan")
    assert findings_of(rules, [{"user_query": "how much?", **PLAN}]) == []


def test_a_trace_from_a_table_holds_its_lists_as_json() -> None:
    flat = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in PLAN.items()}
    rules = rules_of("router-trace", answer="route-plan")
    found = example_of(rules, {"user_query": "q", **flat})
    assert isinstance(found.answer, str)
    assert json.loads(found.answer) == PLAN
    broken = {"user_query": "q", **flat, "todo_list": "- one"}
    assert finding_of(rules, broken).code == "field-not-json"


def test_the_thinking_of_a_trace_goes_before_its_json() -> None:
    rules = rules_of("router-trace", answer="route-plan", think="thinking_outline")
    row = {"user_query": "q", **PLAN}
    found = example_of(rules, row)
    assert isinstance(found.answer, str)
    assert found.answer.startswith("<think>\nfirst\nthen\n</think>\n\n{")
    assert findings_of(rules, [row]) == []


def test_the_schema_of_traces_asks_for_what_the_schema_of_plans_asks_for() -> None:
    plans, traces = schema("route-plan"), schema("router-trace")
    assert traces["required"] == ["user_query", *plans["required"]]
    for key, wanted in plans["properties"].items():
        mine = traces["properties"][key]
        assert mine.get("else", mine) == wanted


# ------------------------------------------------------------------------------------ real data


@needs_data
@pytest.mark.parametrize(
    ("form", "file", "count"),
    [
        ("prompt-completion", "route-plan/rows.jsonl", 322),
        ("math", "math/benchmarks.jsonl", 1451),
        ("routing", "support-router/rows.jsonl", 115),
        ("tool-calls", "cycling-copilot/rows.csv", 942),
    ],
)
def test_all_rows_of_the_outside_data_convert(form: str, file: str, count: int) -> None:
    path = outside(file)
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as text:
            rows: list[dict[str, Any]] = list(csv.DictReader(text))
    else:
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    tools = path.parent / "tools.json"
    declared = load_tools(tools, "tools.json") if tools.exists() else ()
    answer = "route-plan" if form == "prompt-completion" else "text"
    rules = rules_of(form, tools=declared, answer=answer)
    assert len(converted(rules, rows)) == count
    assert findings_of(rules, rows) == []


# --------------------------------------------------------------------- other people's forms


@pytest.mark.parametrize(
    ("form", "row", "hint"),
    [
        ("chat", {"conversations": [{"from": "human", "value": "hi"}]}, "ShareGPT's form"),
        ("chat", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, "Gemini's form"),
        ("chat", {"input": {"messages": [USER]}, "preferred_output": []}, "preferences"),
        ("chat", {"instruction": "Add.", "output": "1"}, "write `format: instruction`"),
        ("prompt-completion", chat(USER), "write `format: chat`"),
        ("prompt-completion", {"prompt": [USER], "completion": [USER]}, "list of `messages`"),
        ("prompt-completion", {"input_text": "a", "output_text": "b"}, "prompt: input_text"),
        ("prompt-completion", {"prompt": "a", "chosen": "b"}, "completion: chosen"),
        ("instruction", {"problem": "1+1", "solution": "2"}, "write `format: math`"),
    ],
)
def test_a_row_of_another_form_is_told_what_to_do(
    form: str, row: dict[str, Any], hint: str
) -> None:
    found = finding_of(rules_of(form), row)
    assert found.code == "row-schema"
    assert hint in found.hint


@pytest.mark.parametrize(
    ("part", "hint"),
    [
        ({"type": "tool_use", "name": "get_weather", "input": {}}, "`tool_calls`"),
        ({"type": "tool_result", "content": "x"}, "role tool"),
        ({"type": "thinking", "thinking": "x"}, "`reasoning_content`"),
        ({"type": "image_url", "image_url": {"url": "x"}}, "Leave the row out"),
    ],
)
def test_a_part_that_is_no_text_is_told_what_to_do(part: dict[str, Any], hint: str) -> None:
    row = chat({"role": "user", "content": [part]}, {"role": "assistant", "content": "yes"})
    found = finding_of(rules_of("chat"), row)
    assert found.code == "content-part"
    assert hint in found.hint


def test_an_answer_of_no_weight_is_an_error_and_an_earlier_turn_may_have_none() -> None:
    def turn(weight: int) -> dict[str, Any]:
        return {"role": "assistant", "content": "yes", "weight": weight}

    found = finding_of(rules_of("chat"), chat(USER, turn(1), USER, turn(0)))
    assert (found.code, found.level) == ("untrained-answer", Level.ERROR)
    assert "messages[3].weight" in found.message
    assert findings_of(rules_of("chat"), [chat(USER, turn(0), USER, turn(1))]) == []


def test_a_system_prompt_beside_the_messages_is_not_lost_in_silence() -> None:
    answer = {"role": "assistant", "content": "yes"}
    row = chat(USER, answer, system="Be brief.")
    assert finding_of(rules_of("chat"), row).code == "system-beside"
    own = chat({"role": "system", "content": "s"}, USER, answer, system="Be brief.")
    assert findings_of(rules_of("chat"), [own, chat(USER, answer, system=" ")]) == []
    assert findings_of(rules_of("chat", system="s"), [row]) == []


def test_openai_s_example_of_calls_in_parallel_converts() -> None:
    def called(number: str, city: str) -> dict[str, Any]:
        function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        return {"id": number, "type": "function", "function": function}

    row = chat(
        {"role": "user", "content": "Weather in Oslo and Rome?", "name": "ann"},
        {"role": "assistant", "tool_calls": [called("a", "Oslo"), called("b", "Rome")]},
        {"role": "tool", "tool_call_id": "b", "content": "warm"},
        {"role": "tool", "tool_call_id": "a", "content": "cold"},
        {"role": "assistant", "content": "Cold and warm.", "weight": 1},
        tools=[WEATHER.declaration],
        parallel_tool_calls=True,
    )
    found = example_of(rules_of("chat"), row)
    asked = found.prompt[1]
    assert isinstance(asked, Message)
    assert [call.arguments for call in asked.calls] == [
        {"city": "Oslo"},
        {"city": "Rome"},
    ]
    # The ids are not kept: what tells which city is cold is that the first reply is the first's.
    assert [turn.content for turn in found.prompt[2:] if isinstance(turn, Message)] == [
        "cold",
        "warm",
    ]
    line = service_row(found, "vertex")["messages"]
    assert [turn.get("tool_call_id") for turn in line] == [None, None, "call_0", "call_1", None]
    assert findings_of(rules_of("chat"), [row]) == []


@pytest.mark.parametrize("calls", ['[{"name": "f", "arguments": {"id": 18446744073709551616}}]'])
def test_numbers_in_a_text_of_calls_keep_their_digits_or_are_refused(calls: str) -> None:
    row = {"user_message": "Hello", "tool_calls": calls}
    found = finding_of(rules_of("tool-calls"), row)
    assert (found.code, "more than 64 bits" in found.message) == ("field-not-json", True)
    sound = row | {"tool_calls": calls.replace("616", "615")}
    example = example_of(rules_of("tool-calls"), sound)
    assert answer_calls(example)[0].arguments == {"id": 2**64 - 1}
