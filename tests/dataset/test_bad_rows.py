"""Bad rows of every kind: each is found on its line, and nothing else is called an error."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_alarm",
            "description": "Sets an alarm.",
            "parameters": {
                "type": "object",
                "properties": {
                    "hour": {"type": "integer", "minimum": 0, "maximum": 23},
                    "label": {"type": "string"},
                    "days": {"type": "array", "items": {"enum": ["sat", "sun"]}},
                },
                "required": ["hour"],
                "additionalProperties": False,
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "play_music",
            "description": "Plays music.",
            "parameters": {"type": "object", "properties": {"title": {"type": "string"}}},
        },
    },
]
PLAN = {
    "route_plan": ["/math(add the numbers)"],
    "route_rationale": "It is arithmetic.",
    "expected_artifacts": ["a number"],
    "thinking_outline": ["add"],
    "handoff_plan": "none",
    "todo_list": ["add"],
    "difficulty": "introductory",
    "tags": ["arithmetic"],
    "acceptance_criteria": ["the sum is right"],
    "metrics": {"primary": ["accuracy"], "secondary": []},
}


def line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def pair(prompt: Any = "What is the capital of Peru?", completion: Any = "Lima") -> bytes:
    return line({"prompt": prompt, "completion": completion})


def routed(**changes: Any) -> bytes:
    plan = {key: value for key, value in {**PLAN, **changes}.items() if value is not ...}
    return pair(completion=json.dumps(plan))


def chat(*turns: tuple[str, Any], **more: Any) -> bytes:
    messages = [
        {"role": role, "content": content}
        if not isinstance(content, dict)
        else {"role": role} | content
        for role, content in turns
    ]
    return line({"messages": messages, **more})


def called(name: Any, arguments: Any) -> bytes:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    answer = {"content": None, "tool_calls": [call]}
    return chat(("user", "Wake me up at six"), ("assistant", answer))


def support(agent: Any = "set_alarm", arguments: Any = '{"hour": 6}', **more: Any) -> bytes:
    row = {"user_content": "Wake me up at six", "agent_name": agent, "agent_arguments": arguments}
    return line({**row, **more})


@dataclass(frozen=True)
class Case:
    """Rows of a format, and what must be found: (kind, code, line)."""

    name: str
    format: str
    content: bytes
    found: tuple[str, str, int | None]
    suffix: str = ".jsonl"
    answer: str = "text"


def case(
    name: str,
    rows: list[bytes],
    code: str,
    at: int | None,
    *,
    format_name: str = "prompt-completion",
    kind: str = "form",
    suffix: str = ".jsonl",
    answer: str = "text",
) -> Any:
    found = (kind, code, at)
    return pytest.param(
        Case(name, format_name, b"".join(rows), found, suffix, answer), id=name.replace(" ", "-")
    )


GOOD = pair()
OTHER = pair("What is the capital of Chile?", "Santiago")
CHAT = chat(("user", "Hello"), ("assistant", "Good morning"))
PLANNED = routed()
BAD_LINES = [
    case("a byte order mark", [b"\xef\xbb\xbf", GOOD, OTHER], "bom", 1),
    case("bytes that are not UTF-8", [GOOD, pair("caf_").replace(b"_", b"\xe9")], "not-utf8", 2),
    case("a line that is cut", [GOOD, OTHER[:30] + b"\n", OTHER], "cut", 2),
    case("a last line that is cut", [GOOD, OTHER, GOOD[:30]], "cut", 3),
    case("two rows on one line", [GOOD, OTHER[:-1] + GOOD], "two-rows", 2),
    case("text after a row", [GOOD, OTHER[:-1] + b" # fine\n"], "trailing-text", 2),
    case("NaN", [GOOD, b'{"prompt": "p", "completion": "c", "score": NaN}\n'], "not-json", 2),
    case(
        "a number out of range",
        [GOOD, b'{"prompt":"p","completion":"c","n":1e999}\n'],
        "not-json",
        2,
    ),
    case(
        "half of a surrogate pair",
        [GOOD, b'{"prompt":"\\ud83d","completion":"c"}\n'],
        "not-json",
        2,
    ),
    case(
        "a key twice", [GOOD, b'{"prompt":"p","prompt":"q","completion":"c"}\n'], "duplicate-key", 2
    ),
    case(
        "a key twice further in",
        [GOOD, b'{"prompt":"p","completion":"c","meta":{"a":1,"a":2}}\n'],
        "duplicate-key",
        2,
    ),
    case("a list for a row", [GOOD, b'["prompt", "completion"]\n'], "not-object", 2),
    case("a text for a row", [GOOD, b'"prompt"\n'], "not-object", 2),
    case("null for a row", [GOOD, b"null\n"], "not-object", 2),
    case("single quotes", [GOOD, b"{'prompt': 'p', 'completion': 'c'}\n"], "not-json", 2),
    case("a comma too many", [GOOD, b'{"prompt": "p", "completion": "c",}\n'], "not-json", 2),
    case(
        "a raw line break in a text",
        [GOOD, b'{"prompt": "a\n', b'b", "completion": "c"}\n'],
        "cut",
        2,
    ),
    case(
        "a row that is nested too deeply",
        [GOOD, b'{"prompt":' + b"[" * 5000 + b"]" * 5000 + b',"completion":"c"}\n'],
        "nested",
        2,
    ),
    case("no completion", [GOOD, line({"prompt": "p"})], "row-schema", 2),
    case("a prompt that is no text", [GOOD, pair(prompt=7)], "row-schema", 2),
    case("an empty completion", [GOOD, pair(completion="")], "row-schema", 2),
    case("a completion of spaces", [GOOD, pair(completion=" \u00a0\n")], "row-schema", 2),
    case(
        "bad rows after an empty line", [GOOD, b"\n", OTHER, pair(completion="")], "row-schema", 4
    ),
]
BAD_ANSWERS = [
    case(
        "an answer that is no JSON",
        [PLANNED, pair(completion="/math")],
        "answer-not-json",
        2,
        answer="route-plan",
    ),
    case(
        "an answer with text after it",
        [PLANNED, pair(completion=json.dumps(PLAN) + " ok")],
        "answer-not-json",
        2,
        answer="route-plan",
    ),
    case(
        "an answer in a code fence",
        [PLANNED, pair(completion=f"```json\n{json.dumps(PLAN)}\n```")],
        "answer-not-json",
        2,
        answer="route-plan",
    ),
    case(
        "an answer without a key",
        [PLANNED, routed(todo_list=...)],
        "answer-schema",
        2,
        answer="route-plan",
    ),
    case(
        "an answer with a key too many",
        [PLANNED, routed(mood="good")],
        "answer-schema",
        2,
        answer="route-plan",
    ),
    case(
        "a step that is no call",
        [PLANNED, routed(route_plan=["math"])],
        "answer-schema",
        2,
        answer="route-plan",
    ),
    case(
        "a difficulty that nobody knows",
        [PLANNED, routed(difficulty="hard")],
        "answer-schema",
        2,
        answer="route-plan",
    ),
    case(
        "a plan without steps",
        [PLANNED, routed(route_plan=[])],
        "answer-schema",
        2,
        answer="route-plan",
    ),
    case(
        "a list that is a text",
        [PLANNED, routed(tags="math")],
        "answer-schema",
        2,
        answer="route-plan",
    ),
    case(
        "a key twice in an answer",
        [PLANNED, pair(completion=json.dumps(PLAN)[:-1] + ', "tags": []}')],
        "answer-duplicate-key",
        2,
        answer="route-plan",
    ),
]
BAD_CHATS = [
    case(
        "a chat without messages",
        [CHAT, line({"messages": []})],
        "row-schema",
        2,
        format_name="chat",
    ),
    case(
        "a chat that ends with the user",
        [CHAT, chat(("user", "Hello"))],
        "role-order",
        2,
        format_name="chat",
    ),
    case(
        "an assistant that speaks first",
        [CHAT, chat(("assistant", "Hello"))],
        "role-order",
        2,
        format_name="chat",
    ),
    case(
        "a system prompt in the middle",
        [CHAT, chat(("user", "a"), ("system", "b"), ("assistant", "c"))],
        "role-order",
        2,
        format_name="chat",
    ),
    case(
        "two turns of the user",
        [CHAT, chat(("user", "a"), ("user", "b"), ("assistant", "c"))],
        "role-order",
        2,
        format_name="chat",
    ),
    case(
        "a reply of a tool that nobody called",
        [CHAT, chat(("user", "a"), ("tool", "b"), ("assistant", "c"))],
        "role-order",
        2,
        format_name="chat",
    ),
    case(
        "a role that nobody knows",
        [CHAT, chat(("human", "a"), ("gpt", "b"))],
        "row-schema",
        2,
        format_name="chat",
    ),
    case(
        "an empty answer",
        [CHAT, chat(("user", "a"), ("assistant", ""))],
        "empty-answer",
        2,
        format_name="chat",
    ),
    case(
        "an answer of spaces",
        [CHAT, chat(("user", "a"), ("assistant", " \n"))],
        "empty-answer",
        2,
        format_name="chat",
    ),
    case(
        "a message that is a text",
        [CHAT, line({"messages": ["hello"]})],
        "row-schema",
        2,
        format_name="chat",
    ),
    case(
        "a message without a role",
        [CHAT, line({"messages": [{"content": "a"}]})],
        "row-schema",
        2,
        format_name="chat",
    ),
]
CALLED = called("set_alarm", {"hour": 6})
BAD_CALLS = [
    case(
        "a tool that nobody declared",
        [CALLED, called("stop_alarm", {})],
        "unknown-tool",
        2,
        format_name="chat",
    ),
    case(
        "arguments that are cut",
        [CALLED, called("set_alarm", '{"hour": 6')],
        "field-not-json",
        2,
        format_name="chat",
    ),
    case(
        "arguments that are a list",
        [CALLED, called("set_alarm", "[6]")],
        "arguments-form",
        2,
        format_name="chat",
    ),
    case(
        "an argument that is missing",
        [CALLED, called("set_alarm", {"label": "x"})],
        "tool-arguments",
        2,
        format_name="chat",
    ),
    case(
        "an argument of another type",
        [CALLED, called("set_alarm", {"hour": "six"})],
        "tool-arguments",
        2,
        format_name="chat",
    ),
    case(
        "an argument out of range",
        [CALLED, called("set_alarm", '{"hour": 24}')],
        "tool-arguments",
        2,
        format_name="chat",
    ),
    case(
        "an argument that nobody declared",
        [CALLED, called("set_alarm", {"hour": 6, "x": 1})],
        "tool-arguments",
        2,
        format_name="chat",
    ),
    case(
        "an argument that is not among the choices",
        [CALLED, called("set_alarm", {"hour": 6, "days": ["mon"]})],
        "tool-arguments",
        2,
        format_name="chat",
    ),
    case("a call without a name", [CALLED, called("", {})], "row-schema", 2, format_name="chat"),
]
BAD_ROUTES = [
    case(
        "an agent that nobody declared",
        [support(), support(agent="billing")],
        "unknown-tool",
        2,
        format_name="routing",
    ),
    case(
        "arguments of an agent that are cut",
        [support(), support(arguments='{"hour"')],
        "field-not-json",
        2,
        format_name="routing",
    ),
    case(
        "arguments of an agent that do not fit",
        [support(), support(arguments="{}")],
        "tool-arguments",
        2,
        format_name="routing",
    ),
    case(
        "an agent without a name",
        [support(), support(agent="")],
        "row-schema",
        2,
        format_name="routing",
    ),
    case(
        "a route without a question",
        [support(), support(user_content="")],
        "row-schema",
        2,
        format_name="routing",
    ),
]
HEADER = b"user_message,tool_calls\n"
CELL = b'Wake me,"[{""name"": ""set_alarm"", ""args"": {""hour"": 6}}]"\n'
BAD_TABLES = [
    case(
        "a table with a call of no tool",
        [HEADER, CELL, b'Stop,"[{""name"": ""stop"", ""args"": {}}]"\n'],
        "unknown-tool",
        3,
        format_name="tool-calls",
        suffix=".csv",
    ),
    case(
        "a table with calls that are no JSON",
        [HEADER, CELL, b"Stop,stop()\n"],
        "field-not-json",
        3,
        format_name="tool-calls",
        suffix=".csv",
    ),
    case(
        "a table with a cell too many",
        [HEADER, CELL, b"a,b,c\n"],
        "ragged-row",
        3,
        format_name="tool-calls",
        suffix=".csv",
    ),
    case(
        "a table with a cell too few",
        [HEADER, CELL, b"Stop\n"],
        "ragged-row",
        3,
        format_name="tool-calls",
        suffix=".csv",
    ),
    case(
        "a table after a text of two lines",
        [
            HEADER,
            b'"Wake\nme","[{""name"": ""set_alarm"", ""args"": {""hour"": 6}}]"\n',
            b'Stop,"[{""name"": ""stop"", ""args"": {}}]"\n',
        ],
        "unknown-tool",
        4,
        format_name="tool-calls",
        suffix=".csv",
    ),
]
BAD_SUMS = [
    case(
        "a solution without its problem",
        [
            line({"problem": "1+1", "solution": "It is 2.", "answer": "2"}),
            line({"solution": "It is 3.", "answer": "3"}),
        ],
        "row-schema",
        2,
        format_name="math",
    ),
    case(
        "an instruction without an output",
        [line({"instruction": "Add.", "output": "a+b"}), line({"instruction": "Add."})],
        "row-schema",
        2,
        format_name="instruction",
    ),
]
BAD_LISTS = [
    case(
        "a list with a number in it",
        [b'[{"prompt":"p","completion":"c"},\n 7]'],
        "not-object",
        2,
        suffix=".json",
    ),
    case(
        "a list that is cut",
        [b'[{"prompt":"p","completion":"c"},\n{"prompt":"q"'],
        "cut",
        2,
        suffix=".json",
    ),
]
PRIVATE = [
    case(
        "a key of Amazon's",
        [GOOD, pair("My key is AKIAQYLPMN5HHHFPZAM2")],
        "key-or-token",
        2,
        kind="privacy",
    ),
    case(
        "a token of GitHub's",
        [GOOD, pair("Use 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")],
        "key-or-token",
        2,
        kind="privacy",
    ),
]
ALL = [
    *BAD_LINES,
    *BAD_ANSWERS,
    *BAD_CHATS,
    *BAD_CALLS,
    *BAD_ROUTES,
    *BAD_TABLES,
    *BAD_SUMS,
    *BAD_LISTS,
    *PRIVATE,
]


def check(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """Check the rows by the command; its exit code and its one document."""
    rows = folder / f"rows{case.suffix}"
    rows.write_bytes(case.content)
    (folder / "tools.json").write_text(json.dumps(TOOLS))
    tools = "  tools: tools.json\n" if case.format in ("chat", "routing", "tool-calls") else ""
    spec = folder / "spec.yaml"
    spec.write_text(
        "version: 1\nname: bad-rows\nbase_model: meta/llama3_1@llama-3.1-8b-instruct\n"
        f"data:\n  path: {rows.name}\n  format: {case.format}\n  answer: {case.answer}\n{tools}"
    )
    code = run(["check", str(spec), "--json", "--offline"])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, json.loads(out)


def errors(document: Any) -> list[tuple[str, str, int | None, int]]:
    return [
        (found["kind"], found["code"], found["examples"][0]["line"], found["count"])
        for found in document["findings"]
        if found["level"] == "error"
    ]


@pytest.mark.parametrize("case", ALL)
def test_a_bad_row_is_found_on_its_line(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = check(case, tmp_path, capsys)
    assert code == 1
    found = [error[:3] for error in errors(document) if error[0] == case.found[0]]
    assert case.found in found
    for group in document["findings"]:
        for example in group["examples"]:
            assert example["message"]
            assert example["hint"] or group["level"] != "error"


@pytest.mark.parametrize("case", [*BAD_LINES, *BAD_CHATS, *BAD_ROUTES])
def test_a_bad_row_is_found_in_a_compressed_file_too(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = Case(
        case.name, case.format, gzip.compress(case.content), case.found, ".jsonl.gz", case.answer
    )
    code, document = check(packed, tmp_path, capsys)
    assert code == 1
    assert case.found in [error[:3] for error in errors(document)]


def test_there_are_sixty_kinds() -> None:
    assert len(ALL) >= 60
