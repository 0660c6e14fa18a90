"""Estimates of tokens, where the tokenizer is not on this machine."""

from __future__ import annotations

from pathlib import Path

from orchestrator.dataset.rules import TokenRules
from orchestrator.dataset.tokens.counting import make_counter
from orchestrator.dataset.tokens.estimate import ASSUMED_ERROR
from tests.dataset.length_rows import chat_example, text_example
from tests.dataset.tiny_tokenizer import CHATML


def rules(template: Path | None = None, error: tuple[float, float] | None = None) -> TokenRules:
    return TokenRules("the model", None, template, "a test's", 0.25, "the catalog", error)


def test_texts_are_estimated_by_their_characters_with_an_end_of_text() -> None:
    [count] = make_counter(rules()).count([text_example(1, "a" * 400, "b" * 200)])
    assert (count.prompt, count.answer, count.end) == (100, 51, 1)


def test_markers_of_the_template_are_one_token_each(tmp_path: Path) -> None:
    file = tmp_path / "chatml.jinja"
    file.write_text(CHATML, encoding="utf-8")
    [count] = make_counter(rules(file)).count([chat_example(1, "a" * 395, "b" * 199)])
    # <|im_start|> user \n aaa <|im_end|> \n <|im_start|> assistant \n: 3 markers, 411 characters
    assert count.prompt == 3 + round(411 * 0.25)
    assert count.total == count.prompt + 1 + 50


def test_an_estimate_says_that_it_is_one_and_how_far_it_may_be_off() -> None:
    measured, assumed = make_counter(rules(error=(0.2, 0.4))), make_counter(rules())
    assert not measured.exact
    assert (measured.fewer, measured.more) == (0.2, 0.4)
    assert (assumed.fewer, assumed.more) == ASSUMED_ERROR
    assert measured.basis == (
        "0.25 tokens per character (the catalog), 20% fewer to 40% more in a row as measured"
    )
    assert "not measured" in assumed.basis
