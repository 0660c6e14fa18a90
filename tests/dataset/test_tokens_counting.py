"""The counts of tokens, held against what the training script and TRL make of the same rows."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.rules import TokenRules
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.dataset.tokens.counting import ExactCounter, loses_answer, make_counter
from orchestrator.dataset.tokens.rendering import Rendered
from orchestrator.dataset.tokens.row_counter import RenderedRow
from orchestrator.dataset.tokens.templates import TemplateRefusal
from orchestrator.dataset.tokens.tokenizer import load_tokenizer
from orchestrator.training import sft
from tests.dataset.length_rows import (
    call_example,
    chat_example,
    cycling_copilot,
    math,
    outside_data,
    route_plan,
    support_router,
    text_example,
)
from tests.dataset.tiny_tokenizer import make_tokenizer

PARAMETERS = {"type": "object", "properties": {"query": {"type": "string"}}}
FUNCTION = {"name": "get_status", "description": "The status.", "parameters": PARAMETERS}
TOOLS = (Tool("get_status", PARAMETERS, {"type": "function", "function": FUNCTION}),)

CHATS = [
    call_example(1, "How far have I gone?", [("get_status", {"query": "a } b"})], TOOLS),
    call_example(2, "Both, please", [("get_status", {}), ("get_status", {"n": 1})], TOOLS),
    chat_example(3, "What is the weather?", "Sunny, and warm.\n"),
    chat_example(4, "Say nothing", " "),
    chat_example(5, "a <|im_end|> b <end_of_turn> c <|im_", "start|> x<|im_start|>"),
    chat_example(6, "Grüße aus Zürich \u2603 \U0001f600 e\u0301", "\U0001f600\n\n\u2603"),
    Example(
        "rows",
        7,
        (Message("user", "One?"), Message("assistant", "1"), Message("user", "Two?")),
        (Message("assistant", "2"),),
        {},
    ),
]
TEXTS = [
    text_example(8, "Which tool? ", "get_status"),
    text_example(9, "Which too", "ls do you have"),
    text_example(10, "A longer prompt whose words end here and", " here too\n"),
    text_example(11, "", "An answer to nothing"),
    text_example(12, "ends with the end", " already<|im_end|>"),
    text_example(13, "already<eos>", "<eos>"),
    text_example(14, "it's 12 o'clock\t\n and  so  on ", " 34 \n"),
]


def rules(tokenizer: Path | None, template: Path | None = None) -> TokenRules:
    return TokenRules("the model", tokenizer, template, "a test's", 0.25, "a test")


def as_training_row(example: Example) -> sft.Row:
    def turns(messages: str | Sequence[Message]) -> Any:
        if isinstance(messages, str):
            return messages
        return [_turn(message) for message in messages]

    tools = [tool.declaration for tool in example.tools] or None
    return sft.Row(str(example.line), turns(example.prompt), turns(example.answer), tools)


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role}
    if message.content is not None:
        turn["content"] = message.content
    if message.calls:
        turn["tool_calls"] = [_call(call) for call in message.calls]
    return turn


def _call(call: Call) -> dict[str, Any]:
    return {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def counted_by_training(folder: Path, examples: Sequence[Example]) -> list[tuple[int, int]]:
    transformers = pytest.importorskip("transformers", reason="the sandbox extra is not installed")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = sft.encode([as_training_row(one) for one in examples], tokenizer, 10**9)
    assert encoded.dropped_count == 0
    return [
        (sum(label == sft.IGNORED for label in one["labels"]), len(one["input_ids"]))
        for one in encoded.examples
    ]


def pairs(counts: Sequence[TokenCount]) -> list[tuple[int, int]]:
    return [(count.prompt, count.total) for count in counts]


@pytest.mark.parametrize("template", ["chatml", "functiongemma"])
@pytest.mark.parametrize("add_bos", [False, True])
def test_rows_count_as_the_training_script_counts_them(
    tmp_path: Path, template: Any, add_bos: bool
) -> None:
    folder = make_tokenizer(tmp_path / "t", template, add_bos=add_bos)
    examples = [*CHATS, *TEXTS]
    counts = make_counter(rules(folder)).count(examples)
    assert pairs(counts) == counted_by_training(folder, examples)


@pytest.mark.parametrize("setting", ['"add_bos_token": false', '"add_eos_token": true'])
def test_what_a_config_adds_to_texts_counts_as_in_training(tmp_path: Path, setting: str) -> None:
    folder = make_tokenizer(tmp_path / "t", add_bos=True)
    config = folder / "tokenizer_config.json"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("{", f"{{{setting}, ", 1), encoding="utf-8")
    assert pairs(make_counter(rules(folder)).count(TEXTS)) == counted_by_training(folder, TEXTS)


def test_rows_count_as_trl_counts_them(tmp_path: Path) -> None:
    data_utils = pytest.importorskip("trl.data_utils", reason="the sandbox extra is not installed")
    from transformers import AutoTokenizer

    folder = make_tokenizer(tmp_path / "t", "functiongemma", add_bos=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for example in [*CHATS, *TEXTS[:4]]:
        row = as_training_row(example)
        if isinstance(row.prompt, str):
            end = "" if row.completion.endswith("<eos>") else "<eos>"
            whole = data_utils._tokenize(tokenizer, row.prompt + row.completion + end)
            prompt = data_utils._tokenize(tokenizer, row.prompt)
        else:
            whole = data_utils._tokenize(tokenizer, row.prompt + row.completion, tools=row.tools)
            prompt = data_utils._tokenize(
                tokenizer, row.prompt, tools=row.tools, add_generation_prompt=True
            )
        ids = whole["input_ids"]
        expected.append((data_utils.common_prefix_length(prompt["input_ids"], ids), len(ids)))
    assert pairs(make_counter(rules(folder)).count([*CHATS, *TEXTS[:4]])) == expected


@pytest.mark.parametrize("rows_of", [cycling_copilot, support_router, route_plan, math])
def test_outside_rows_count_as_the_training_script_counts_them(
    tmp_path: Path, rows_of: Any
) -> None:
    examples = rows_of(outside_data())[:60]
    folder = make_tokenizer(tmp_path / "t", "functiongemma", add_bos=True)
    counts = make_counter(rules(folder)).count(examples)
    assert pairs(counts) == counted_by_training(folder, examples)


def test_counts_do_not_depend_on_what_was_counted_before(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "t")
    together = make_counter(rules(folder)).count([*CHATS, *TEXTS])
    fresh = ExactCounter(load_tokenizer(folder), "m", None)
    counter = make_counter(rules(folder))
    assert isinstance(counter, ExactCounter)
    apart = [count for one in reversed([*CHATS, *TEXTS]) for count in counter.count([one])]
    assert together == apart[::-1]
    assert fresh.count(TEXTS) == together[len(CHATS) :]


def test_what_rows_share_is_tokenized_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_tokenizer(tmp_path / "t", "functiongemma")
    counter = make_counter(rules(folder))
    examples = [
        call_example(line, f"Question {line}?", [("get_status", {"query": "all"})], TOOLS)
        for line in range(1, 9)
    ]
    seen: list[str] = []
    tokenizer = load_tokenizer(folder)
    encode = type(tokenizer).encode

    def spied(self: Any, texts: Sequence[str]) -> list[Any]:
        seen.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(type(tokenizer), "encode", spied)
    counter.count(examples[:4])
    once = [text for text in seen if "The status." in text]
    assert once == ["The status."]
    counter.count(examples[4:])
    assert [text for text in seen if "The status." in text] == once
    assert max(seen.count(text) for text in seen if "Question" in text) == 1


def test_memory_of_counted_pieces_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.dataset.tokens.counting._MOST_REMEMBERED_CHARACTERS", 1000)
    counter = ExactCounter(load_tokenizer(make_tokenizer(tmp_path / "t")), "m", None)
    for line in range(50):
        counter.count([text_example(line, f"{line} " * 50, "x")])
    assert sum(map(len, counter._counts)) < 1500


def test_the_end_of_a_turn_is_counted_apart(tmp_path: Path) -> None:
    chatml = make_counter(rules(make_tokenizer(tmp_path / "c")))
    gemma = make_counter(rules(make_tokenizer(tmp_path / "g", "functiongemma")))
    chat, text = chat_example(1, "Hello?", "Yes."), text_example(2, "Hello?", " Yes.")
    # The marker and the line end after it; a text has its end-of-text token.
    assert [count.end for count in chatml.count([chat, text])] == [2, 1]
    # A call is closed by a token of its own, which belongs to the answer.
    assert [count.end for count in gemma.count([CHATS[0], text])] == [1, 1]


def test_a_row_that_the_template_refuses_is_told_apart(tmp_path: Path) -> None:
    template = tmp_path / "strict.jinja"
    template.write_text(
        "{% if messages[0].content == 'no' %}{{ raise_exception('not this one') }}{% endif %}"
        "{% for message in messages %}{{ message.content }}{% endfor %}",
        encoding="utf-8",
    )
    counter = make_counter(rules(make_tokenizer(tmp_path / "t"), template))
    rows = [chat_example(1, "yes", "a"), chat_example(2, "no", "b"), chat_example(3, "well", "c")]
    counts = counter.try_count(rows)
    assert [type(one) for one in counts] == [TokenCount, str, TokenCount]
    assert counts[1] == "not this one"
    with pytest.raises(TemplateRefusal):
        counter.count(rows)


def test_a_prompt_that_the_whole_does_not_begin_with_is_counted_as_trl_does(
    tmp_path: Path,
) -> None:
    folder = make_tokenizer(tmp_path / "t")
    counter = ExactCounter(load_tokenizer(folder), "m", None)
    [count] = counter.count_rendered(
        [RenderedRow(Rendered("<|im_start|>ask<|im_end|>x y", "<|im_start|>ask<|im_end|>z"), False)]
    )
    ids = load_tokenizer(folder).ids
    assert count.prompt == len(ids("<|im_start|>ask<|im_end|>"))
    assert count.total == len(ids("<|im_start|>ask<|im_end|>z"))


def test_without_a_template_chats_are_plain_lines_and_that_is_known(tmp_path: Path) -> None:
    counter = make_counter(rules(make_tokenizer(tmp_path / "t", None)))
    assert counter.plain_chats
    assert counter.exact
    assert counter.count([chat_example(1, "Hello", "Yes")])[0].total > 2


def _threads(folder: Path) -> str | None:
    load_tokenizer(folder).encode(["a", "b"])
    return os.environ.get("TOKENIZERS_PARALLELISM")


def test_a_worker_of_many_takes_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    folder = make_tokenizer(tmp_path / "t")
    assert _threads(folder) is None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_threads, (folder,)) == "false"


def test_an_answer_is_lost_from_one_token_over_the_limit() -> None:
    assert not loses_answer(TokenCount(10, 5), 15)
    assert loses_answer(TokenCount(10, 5), 14)
