"""The outside data as examples, without the readers and formats, which have tests of their own."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.example import Call, Example, Message, Tool


def outside_data() -> Path:
    """The folder of the outside data; skips the test without it."""
    folder = os.environ.get("ORCHESTRATOR_DATA")
    if not folder:
        pytest.skip("the outside data is not here: ORCHESTRATOR_DATA is not set")
    return Path(folder)


def tools_of(folder: Path) -> tuple[Tool, ...]:
    """The tools in a folder's tools.json."""
    found = json.loads((folder / "tools.json").read_text(encoding="utf-8"))
    tools = []
    for one in found:
        function = one.get("function", one)
        declaration = {"type": "function", "function": function}
        tools.append(Tool(function["name"], function.get("parameters", {}), declaration))
    return tuple(tools)


def call_example(
    line: int, question: str, calls: list[tuple[str, Any]], tools: tuple[Tool, ...]
) -> Example:
    """A question that is answered by calls."""
    answer = Message("assistant", calls=tuple(Call(name, arguments) for name, arguments in calls))
    return Example("rows", line, (Message("user", question),), (answer,), {}, tools)


def text_example(line: int, prompt: str, answer: str) -> Example:
    """A pair of texts, which no template renders."""
    return Example("rows", line, prompt, answer, {})


def chat_example(line: int, question: str, answer: str) -> Example:
    """A question and its answer as a chat."""
    return Example("rows", line, (Message("user", question),), (Message("assistant", answer),), {})


def cycling_copilot(data: Path) -> list[Example]:
    """Questions of a rider, answered by a call of one of six tools."""
    folder = data / "cycling-copilot"
    tools = tools_of(folder)
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        return [
            call_example(
                line,
                row["user_message"],
                [(call["name"], call["args"]) for call in json.loads(row["tool_calls"])],
                tools,
            )
            for line, row in enumerate(csv.DictReader(file), start=2)
        ]


def support_router(data: Path) -> list[Example]:
    """Questions of customers, answered by a call of one of three agents."""
    folder = data / "support-router"
    tools = tools_of(folder)
    return [
        call_example(
            line,
            row["user_content"],
            [(row["agent_name"], json.loads(row["agent_arguments"]))],
            tools,
        )
        for line, row in _json_lines(folder / "rows.jsonl")
    ]


def route_plan(data: Path) -> list[Example]:
    """Requests with a route plan as the answer, both texts."""
    rows = _json_lines(data / "route-plan" / "rows.jsonl")
    return [text_example(line, row["prompt"], row["completion"]) for line, row in rows]


def math(data: Path) -> list[Example]:
    """Mathematical questions with short answers."""
    rows = _json_lines(data / "math" / "benchmarks.jsonl")
    return [
        Example(
            "rows",
            line,
            tuple(Message(one["role"], one["content"]) for one in row["body"]["messages"]),
            (Message("assistant", str(row["answer"])),),
            {},
        )
        for line, row in rows
    ]


def _json_lines(file: Path) -> list[tuple[int, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [(number, json.loads(line)) for number, line in enumerate(lines, start=1)]
