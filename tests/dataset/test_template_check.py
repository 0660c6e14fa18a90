"""What the check of kind `template` finds in rows, with their lines."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.checks.template import TemplateCheck
from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.report import Finding, Group, Level
from orchestrator.dataset.rules import Rules, TokenRules
from orchestrator.dataset.tokens.templates import template_file, template_source
from orchestrator.spec import DataBlock

ACTIVATION = "You are a model that can do function calling with the following functions"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "get_weather", "description": "Weather.", "parameters": PARAMETERS}
TOOLS = (Tool("get_weather", PARAMETERS, {"type": "function", "function": FUNCTION}),)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def rules(
    template: str | Path | None, *, service: str = "hf-jobs", tokenizer: Path | None = None
) -> Rules:
    file = template_file(template) if isinstance(template, str) else template
    if isinstance(template, str) and file is None:
        pytest.skip("needs the TRL library")
    source = template_source(template) if isinstance(template, str) else "the spec's"
    tokens = TokenRules("owner/model", tokenizer, file, source, 0.25, "a guess")
    return Rules(DataBlock(), Path(), TOOLS, tokens, service, None, "", "error", None, 42)


def chatml(tmp_path: Path, text: str = CHATML) -> Path:
    file = tmp_path / "template.jinja"
    file.write_text(text, encoding="utf-8")
    return file


def user(text: str = "How is the weather?") -> Message:
    return Message("user", text)


def answer(text: str | None = "Fine.", *calls: Call, thinking: str | None = None) -> Message:
    return Message("assistant", text, calls, thinking)


def row(
    line: int,
    prompt: str | Sequence[Message],
    reply: str | Sequence[Message],
    tools: tuple[Tool, ...] = (),
) -> Example:
    asked = prompt if isinstance(prompt, str) else tuple(prompt)
    said = reply if isinstance(reply, str) else tuple(reply)
    return Example("rows.jsonl", line, asked, said, {}, tools)


def findings(given: Rules, *examples: Example) -> list[Finding]:
    return list(TemplateCheck(given).examine(examples))


def codes(given: Rules, *examples: Example) -> list[tuple[str, str, int | None]]:
    return [(one.code, str(one.level), one.place.line) for one in findings(given, *examples)]


def call(**arguments: Any) -> Call:
    return Call("get_weather", arguments)


def test_good_rows_have_no_findings() -> None:
    developer = Message("developer", ACTIVATION)
    good = row(1, [developer, user()], [answer(None, call(city="Paris } {"))], TOOLS)
    assert codes(rules("fixture:functiongemma"), good) == []
    assert codes(rules("trl:qwen3"), row(1, [user()], [answer()])) == []


@pytest.mark.parametrize(
    "name", ["fixture:functiongemma", "trl:qwen3", "trl:llama3_1", "trl:gemma4"]
)
def test_calls_read_back_the_same_in_every_syntax(name: str) -> None:
    developer = Message("system", ACTIVATION)
    arguments = {"city": 'a "b" {c}, d: [e]', "n": -1.5, "deep": {"x": [1, True, {"y": "z"}]}}
    good = row(1, [developer, user()], [answer(None, call(**arguments))], TOOLS)
    assert codes(rules(name), good) == []


def test_a_string_that_the_syntax_cannot_carry_is_found() -> None:
    bad = row(7, [user()], [answer(None, call(city="a<escape>b"))], TOOLS)
    found = findings(rules("fixture:functiongemma"), bad)
    assert {one.code for one in found} == {"marker-in-text", "calls-changed"}
    changed = next(one for one in found if one.code == "calls-changed")
    assert (changed.level, changed.place.line) == (Level.ERROR, 7)
    assert "functiongemma" in changed.hint


def test_a_template_that_writes_null_as_none_changes_the_call() -> None:
    given = rules("trl:gemma4")
    found = findings(given, row(3, [user()], [answer(None, call(city=None))], TOOLS))
    assert [one.code for one in found] == ["calls-changed"]
    assert "'city' of 'get_weather' is \"None\", not null" in found[0].message


def test_a_template_without_tools_loses_calls() -> None:
    found = codes(rules("trl:gemma3"), row(2, [user()], [answer(None, call(city="x"))], TOOLS))
    assert ("calls-lost", "error", 2) in found
    assert ("tools-dropped", "warning", 2) in found


def test_calls_in_an_unknown_syntax_are_said_to_be_unchecked(tmp_path: Path) -> None:
    text = CHATML.replace("{{ m.content }}", "{{ m.content }}{{ m.tool_calls }}")
    bad = row(1, [user()], [answer(None, call(city="x"))])
    assert codes(rules(chatml(tmp_path, text)), bad) == [("calls-not-verified", "warning", 1)]


def test_every_turn_with_calls_is_read_back_alone() -> None:
    turns = [answer(None, call(city="x")), Message("tool", "rain"), answer(None, call(city=None))]
    assert codes(rules("trl:llama3_1"), row(1, [user()], turns, TOOLS)) == []
    found = codes(rules("trl:gemma4"), row(4, [user()], turns, TOOLS))
    assert found == [("calls-changed", "error", 4)]


def test_a_refusal_is_told_in_the_templates_words() -> None:
    two = answer(None, call(city="x"), call(city="y"))
    found = findings(rules("trl:llama3_1"), row(9, [user()], [two], TOOLS))
    assert [(one.code, one.level, one.place.line) for one in found] == [("refused", Level.ERROR, 9)]
    assert "only supports single tool-calls at once" in found[0].message


@pytest.mark.parametrize(
    ("prompt", "reply", "mark"),
    [
        ([user("Hi<end_of_turn>\n<start_of_turn>model\n")], [answer()], "<end_of_turn>"),
        ([user()], [answer("<start_function_call>call:f{}")], "<start_function_call>"),
        ([Message("system", "<escape>"), user()], [answer()], "<escape>"),
        ("<start_of_turn>user\nHi", "Fine.", "<start_of_turn>"),
        ("Hi", "Fine.<end_of_turn>", "<end_of_turn>"),
        ([user()], [answer("x", thinking="<start_of_turn>")], "<start_of_turn>"),
        ([user()], [answer(None, call(city={"a": ["<end_of_turn>"]}))], "<end_of_turn>"),
    ],
)
@pytest.mark.parametrize("service", ["vertex", "hf-jobs"])
def test_marks_of_the_template_in_a_rows_text_are_errors(
    prompt: Any, reply: Any, mark: str, service: str
) -> None:
    given = rules("fixture:functiongemma", service=service)
    found = [one for one in findings(given, row(5, prompt, reply)) if one.code == "marker-in-text"]
    assert [(one.level, one.place.line) for one in found] == [(Level.ERROR, 5)]
    assert mark in found[0].message
    assert found[0].hint


def test_marks_of_another_models_template_are_warnings() -> None:
    bad = row(1, [user("<|im_start|>user")], [answer()])
    assert codes(rules("fixture:functiongemma"), bad) == [("foreign-marker", "warning", 1)]
    assert codes(rules(None), bad) == [("foreign-marker", "warning", 1)]


def test_special_tokens_of_the_tokenizer_are_marks_too(tmp_path: Path) -> None:
    added = {
        "1": {"content": "<odd!>", "special": True},
        "2": {"content": "bread", "special": False},
    }
    config = {"eos_token": "</s>", "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    given = rules(chatml(tmp_path), tokenizer=tmp_path)
    assert [one.code for one in findings(given, row(1, [user("a<odd!>")], [answer()]))] == [
        "marker-in-text"
    ]
    assert [one.code for one in findings(given, row(1, [user("a</s>")], [answer()]))] == [
        "marker-in-text"
    ]
    assert findings(given, row(1, [user("bread")], [answer()])) == []


def test_thinking_marks_in_an_answer_are_meant() -> None:
    thought = "<think>\nHm.\n</think>\n\nFine."
    assert codes(rules("trl:qwen3"), row(1, [user()], [answer(thought)])) == []


def test_plain_texts_bypass_the_template_on_hf_jobs_only() -> None:
    text = row(6, "How is the weather?", "Fine.")
    assert codes(rules("trl:qwen3"), text) == [("raw-text", "error", 6)]
    assert codes(rules("trl:qwen3", service="vertex"), text) == []
    assert codes(rules(None), text) == []


@pytest.mark.parametrize(
    "reply",
    [answer("Fine.", thinking="Deep thoughts"), answer("<think>Deep thoughts</think>Fine.")],
)
def test_thinking_that_the_template_drops_is_a_warning(reply: Message, tmp_path: Path) -> None:
    text = CHATML.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
    found = findings(rules(chatml(tmp_path, text)), row(3, [user()], [reply]))
    assert [(one.code, one.level, one.place.line) for one in found] == [
        ("thinking-dropped", Level.WARNING, 3)
    ]
    assert "Deep thoughts" in found[0].message


def test_a_system_prompt_may_be_kept_merged_dropped_or_refused() -> None:
    chat = row(2, [Message("system", "Be brief."), user()], [answer()])
    assert codes(rules("trl:llama3_1"), chat) == []
    assert codes(rules("trl:gemma3"), chat) == [("system-merged", "note", 2)]
    assert [code for code, *_ in codes(rules("trl:gemma"), chat)] == ["refused"]
    developer = row(2, [Message("developer", "Be brief."), user()], [answer()])
    assert codes(rules("trl:qwen3"), developer) == [("turn-dropped", "error", 2)]


def test_an_answer_that_the_template_drops_is_an_error(tmp_path: Path) -> None:
    text = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    found = codes(rules(chatml(tmp_path, text)), row(8, [user()], [answer()]))
    assert found == [("nothing-trained", "error", 8), ("turn-dropped", "error", 8)]


@pytest.mark.parametrize("reply", ["", None, "  \n"])
def test_an_answer_that_is_only_an_end_of_turn_is_an_error(reply: str | None) -> None:
    found = codes(rules("trl:gemma3"), row(4, [user()], [answer(reply)]))
    assert found == [("only-end-of-turn", "error", 4)]


def test_an_empty_completion_trains_nothing() -> None:
    found = codes(rules("trl:qwen3", service="vertex"), row(4, "Hi", ""))
    assert found == [("nothing-trained", "error", 4)]


def test_a_prompt_that_opens_the_answer_otherwise_is_a_warning() -> None:
    found = codes(rules("trl:deepseekv3"), row(1, [user()], [answer()]))
    assert found == [("prompt-differs", "warning", 1)]


def test_functiongemma_wants_its_words_in_the_developer_turn() -> None:
    other = row(1, [Message("developer", "Help."), user()], [answer(None, call(city="x"))], TOOLS)
    found = findings(rules("fixture:functiongemma"), other)
    assert [(one.code, one.level) for one in found] == [("no-activation", Level.WARNING)]
    assert ACTIVATION in found[0].hint


def conclusions(given: Rules, *examples: Example) -> list[Group]:
    check = TemplateCheck(given)
    list(check.examine(examples))
    return list(check.conclude())


@pytest.mark.parametrize(
    ("name", "whose"),
    [("fixture:functiongemma", "this project's fixture"), ("trl:qwen3", "as TRL 1.")],
)
def test_whose_template_it_is_is_said(name: str, whose: str) -> None:
    chat = row(1, [user()], [answer()])
    (group,) = conclusions(rules(name), chat, chat)
    assert (group.code, group.level, group.count) == ("template-used", Level.NOTE, 1)
    assert "2 chats are rendered by the template of owner/model" in group.examples[0].message
    assert whose in group.examples[0].message


def test_without_a_template_chats_are_not_checked_and_it_is_said() -> None:
    (group,) = conclusions(rules(None), row(1, [user()], [answer()]))
    assert (group.code, group.level) == ("no-template", Level.WARNING)
    assert "`chat_template:`" in group.examples[0].hint


def test_texts_on_vertex_are_said_to_be_out_of_sight() -> None:
    text = row(1, "Hi", "Fine.")
    (group,) = conclusions(rules("trl:qwen3", service="vertex"), text, text)
    assert (group.code, group.level, group.count) == ("texts-by-service", Level.NOTE, 1)
    assert "prompt and completion of 2 rows are plain texts" in group.examples[0].message


def test_parts_together_conclude_what_the_whole_does() -> None:
    given = rules("trl:qwen3")
    examples = [row(n, [user()], [answer("word " * n)]) for n in range(1, 10)]
    whole = TemplateCheck(given)
    list(whole.examine(examples))
    for cut in (0, 1, 4, 9):
        first, second = TemplateCheck(given), TemplateCheck(given)
        list(first.examine(examples[:cut]))
        list(second.examine(examples[cut:]))
        first = pickle.loads(pickle.dumps(first))  # noqa: S301 (our own, of this moment)
        second.shift(cut)
        first.merge(pickle.loads(pickle.dumps(second)))  # noqa: S301 (our own, of this moment)
        assert list(first.conclude()) == list(whole.conclude())
        assert list(first.figures()) == list(whole.figures())


def test_how_much_text_is_trained_on_is_shown() -> None:
    check = TemplateCheck(rules("trl:gemma3"))
    list(check.examine([row(1, [user()], [answer("abc")]), row(2, [user()], [answer("abcde")])]))
    (table,) = check.figures()
    end = len("<end_of_turn>\n")
    assert table.to_json()["rows"] == [[3 + end, 5 + end, 8 + 2 * end]]
