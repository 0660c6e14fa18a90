"""A service's own reader takes the lines that are written for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.dataset.example import Call, Example, Message
from orchestrator.dataset.formats.conversion import Converter
from orchestrator.dataset.output import service_line
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.tokens.templates import ChatTemplate
from orchestrator.sandbox.vertex.rows import read_rows as vertex_reads
from orchestrator.training.sft import read_rows as training_reads
from tests.dataset.rules_of import CLOCK, WEATHER, example_of, rules_of

OSLO, ROME = Call("get_weather", {"city": "Oslo"}), Call("get_weather", {"city": "Rome"})
TALK = Example(
    "f",
    1,
    (
        Message("system", "S"),
        Message("developer", "D"),
        Message("user", "u"),
        Message("assistant", None, (OSLO, Call("get_time", {}), ROME), "hm"),
        Message("tool", "noon", name="get_time"),
        Message("tool", "rain", name="get_weather"),
        Message("tool", "sun", name="get_weather"),
    ),
    (Message("assistant", "Rain in Oslo."),),
    {},
    (WEATHER, CLOCK),
)
TEXTS = Example("f", 1, "p\u00e9", "c", {"more": 1})


def line(example: Example, service: str) -> Any:
    written = service_line(example, service)
    assert written.endswith(b"\n")
    assert written.count(b"\n") == 1
    return orjson.loads(written)


@pytest.mark.parametrize("service", ["vertex", "hf-jobs"])
def test_two_texts_stay_two_texts_and_nothing_else_goes_along(service: str) -> None:
    assert service_line(TEXTS, service) == '{"prompt":"pé","completion":"c"}\n'.encode()


def test_a_chat_for_vertex_is_in_the_form_of_openai() -> None:
    written = line(TALK, "vertex")
    system, user, calling, *replies, answer = written["messages"]
    assert system == {"role": "system", "content": "S\n\nD"}
    assert user == {"role": "user", "content": "u"}
    assert calling["content"] == "<think>\nhm\n</think>"
    assert [call["id"] for call in calling["tool_calls"]] == ["call_0", "call_1", "call_2"]
    assert json.loads(calling["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    assert [(r["tool_call_id"], r["content"]) for r in replies] == [
        ("call_1", "noon"),
        ("call_0", "rain"),
        ("call_2", "sun"),
    ]
    assert answer == {"role": "assistant", "content": "Rain in Oslo."}
    assert written["tools"] == [WEATHER.declaration, CLOCK.declaration]


def test_a_chat_for_jobs_is_a_prompt_and_a_completion_of_messages() -> None:
    written = line(TALK, "hf-jobs")
    assert [turn["role"] for turn in written["prompt"]] == [
        *("system", "developer", "user", "assistant", "tool", "tool", "tool")
    ]
    calling = written["prompt"][3]
    assert calling["tool_calls"][0] == {
        "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Oslo"}},
    }
    assert (calling["content"], calling["reasoning_content"], calling["thinking"]) == (
        *("", "hm", "hm"),
    )
    assert written["prompt"][4] == {"role": "tool", "content": "noon", "name": "get_time"}
    assert written["completion"] == [{"role": "assistant", "content": "Rain in Oslo."}]


def test_jobs_get_the_messages_that_the_checks_render() -> None:
    template = ChatTemplate("{{ messages | tojson }}", "a test")
    seen = template.render([*TALK.prompt, *TALK.answer], (), add_generation_prompt=False)
    written = line(TALK, "hf-jobs")
    assert json.loads(seen) == written["prompt"] + written["completion"]


def test_the_readers_of_both_services_take_their_lines(tmp_path: Path) -> None:
    (tool_row,) = vertex_reads([service_line(TALK, "vertex")])
    (text_row,) = vertex_reads([service_line(TEXTS, "vertex")])
    assert (tool_row.messages, tool_row.uses_tools, text_row.output_chars) == (7, True, 1)
    file = tmp_path / "train.jsonl"
    file.write_bytes(service_line(TALK, "hf-jobs") + service_line(TEXTS, "hf-jobs"))
    chat, texts = training_reads(file)
    assert chat.completion == [{"role": "assistant", "content": "Rain in Oslo."}]
    assert chat.tools == [WEATHER.declaration, CLOCK.declaration]
    assert (texts.prompt, texts.completion) == ("pé", "c")


def test_what_vertex_reads_comes_back_as_the_same_chat() -> None:
    again = example_of(rules_of("chat"), line(TALK, "vertex"))
    assert [m.calls for m in again.prompt if isinstance(m, Message)][2] == TALK.prompt[3].calls  # type: ignore[union-attr]  # a chat
    assert [m.name for m in again.prompt if isinstance(m, Message)][3:] == [
        "get_weather",
        "get_time",
        "get_weather",
    ]
    assert [m.content for m in again.prompt if isinstance(m, Message)][3:] == [
        "rain",
        "noon",
        "sun",
    ]
    assert [tool.name for tool in again.tools] == ["get_weather", "get_time"]
    once_more = example_of(rules_of("chat"), line(again, "vertex"))
    assert service_line(once_more, "vertex") == service_line(again, "vertex")


def test_other_libraries_load_the_lines_for_jobs(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the sandbox extra")
    rules = rules_of("routing", tools=(WEATHER, CLOCK))
    rows: list[dict[str, Any]] = [
        {"user_content": "u", "agent_name": "get_weather", "agent_arguments": '{"city": "Oslo"}'},
        {"user_content": "v", "agent_name": "get_weather", "agent_arguments": '{"days": 3}'},
    ]
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"".join(service_line(example_of(rules, row), "hf-jobs") for row in rows))
    loaded = datasets.load_dataset(
        "json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.column_names == ["prompt", "completion", "tools"]
    call = loaded[1]["completion"][0]["tool_calls"][0]["function"]
    # Arguments of other names must not be filled up with nulls.
    assert call == {"name": "get_weather", "arguments": {"days": 3}}
    from trl.data_utils import is_conversational

    assert is_conversational(loaded[0])


def test_the_same_row_gives_the_same_bytes_whatever_the_order_of_its_fields() -> None:
    converter = Converter(rules_of())
    lines = set()
    for row in ({"prompt": "p", "completion": "c", "x": 1}, {"completion": "c", "prompt": "p"}):
        example = converter.convert("f", Row(1, row), None)
        assert isinstance(example, Example)
        lines.add(service_line(example, "vertex"))
    assert len(lines) == 1
