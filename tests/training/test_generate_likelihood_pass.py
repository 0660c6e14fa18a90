"""The pass that measures expected answers, and what of a row it measures."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.answer_files import read_answers
from orchestrator.training import generate, generate_likelihood
from orchestrator.training.generate_likelihood import Likelihood, LikelihoodMeter, Target
from orchestrator.training.sft_rows import Row

assert generate.__file__  # imported first: it puts its folder where the others find each other

TARGETS = [
    Target((1, 2, 3, 4, 5, 6), 4),
    None,
    Target((7, 8, 9), 1),
    Target(tuple(range(10, 30)), 15),
    Target((30, 31, 32, 33, 34, 35, 36), 2),
]


def _llama() -> Any:
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**_SHAPE)).eval()


def _gemma() -> Any:
    torch = pytest.importorskip("torch")
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(2)
    kinds = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(
        Gemma3TextConfig(**_SHAPE, sliding_window=6, layer_types=kinds, rope_theta=10_000.0)
    ).eval()


def _whole() -> Any:
    """A model whose head always computes every place."""
    model = _llama()

    class Whole:
        config, device = model.config, model.device

        def forward(
            self, input_ids: Any, attention_mask: Any = None, use_cache: bool = True
        ) -> Any:
            return model(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

        __call__ = forward

    return Whole()


_SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.5,
}


def by_hand(model: Any, target: Target) -> Likelihood:
    """The chain rule, a token at a time, nothing padded and nothing left out."""
    import torch

    loss, right = 0.0, 0
    for end in range(target.start, len(target.ids)):
        with torch.no_grad():
            last = model(torch.tensor([target.ids[:end]])).logits[0, -1].double()
        loss -= float(last.log_softmax(0)[target.ids[end]])
        right += int(last.argmax()) == target.ids[end]
    return Likelihood(len(target.ids) - target.start, loss, right)


@pytest.mark.parametrize("make", [_llama, _gemma, _whole])
@pytest.mark.parametrize("most_logits", [2**28, 40 * 40, 1])
def test_a_batch_gives_what_the_chain_rule_gives_for_each_row(
    make: Callable[[], Any], most_logits: int
) -> None:
    model = make()
    found = LikelihoodMeter(model, most_logits).measure(TARGETS)
    for one, target in zip(found, TARGETS, strict=True):
        if target is None:
            assert one is None
            continue
        expected = by_hand(model, target)
        assert one is not None
        assert (one.tokens, one.right) == (expected.tokens, expected.right)
        assert one.loss == pytest.approx(expected.loss, abs=1e-4)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and places of each pass of a Llama's head."""
    pytest.importorskip("torch")
    from transformers import LlamaForCausalLM

    seen: list[tuple[int, int]] = []
    forward = LlamaForCausalLM.forward

    def counted(self: Any, input_ids: Any = None, logits_to_keep: Any = 0, **rest: Any) -> Any:
        out = forward(self, input_ids, logits_to_keep=logits_to_keep, **rest)
        seen.append(tuple(out.logits.shape[:2]))
        return out

    monkeypatch.setattr(LlamaForCausalLM, "forward", counted)
    return seen


def test_the_head_computes_no_more_than_it_has_room_for(computed: list[tuple[int, int]]) -> None:
    model = _llama()
    LikelihoodMeter(model, 40 * 20).measure(TARGETS)
    assert [rows * places <= 20 for rows, places in computed] == [True] * len(computed)
    assert sum(rows for rows, _ in computed) == 4
    assert 1 < len(computed) < 4


def test_the_head_skips_what_all_rows_are_asked(computed: list[tuple[int, int]]) -> None:
    LikelihoodMeter(_llama()).measure([TARGETS[3], Target(tuple(range(20)), 14)])
    assert computed == [(2, 6)]


class _Fixed:
    """A model of no choice: its logits are what they are, for every place."""

    def __init__(self, logits: list[float]) -> None:
        self._logits = logits
        text = SimpleNamespace(vocab_size=len(logits))
        self.config = SimpleNamespace(get_text_config=lambda: text)
        self.device = "cpu"

    def forward(self, input_ids: Any, **_: Any) -> Any:
        import torch

        rows, places = input_ids.shape
        return SimpleNamespace(logits=torch.tensor(self._logits).expand(rows, places, -1))

    def __call__(self, **given: Any) -> Any:
        assert "logits_to_keep" not in given
        return self.forward(**given)


def test_a_model_that_cannot_leave_places_out_is_measured_all_the_same() -> None:
    pytest.importorskip("torch")
    targets = [Target((0, 0, 3), 2), Target((0, 0, 0), 1)]
    even = [one for one in LikelihoodMeter(_Fixed([1.0] * 8)).measure(targets) if one]
    assert [(one.tokens, one.right) for one in even] == [(1, 0), (2, 2)]
    assert [one.loss for one in even] == pytest.approx([math.log(8), 2 * math.log(8)])


@pytest.mark.parametrize("bad", [[math.nan] * 4, [-math.inf, 1.0, 1.0, 1.0]])
def test_what_is_no_number_is_said_to_be_none_and_nothing_right(bad: list[float]) -> None:
    pytest.importorskip("torch")
    (found,) = LikelihoodMeter(_Fixed(bad)).measure([Target((1, 0, 0), 1)])
    assert found == Likelihood(2, None, 0)


# --- What is measured -----------------------------------------------------------------------------


class _Letters:
    """A token a letter, and an end."""

    eos_token_id = 0
    chat_template = None

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(one) for one in text]}


def test_the_answer_and_its_end_are_measured_behind_the_prompt() -> None:
    found = generate_likelihood.target_of(Row("r:1", "ab", "cd"), _Letters(), 5)
    assert found == Target((97, 98, 99, 100, 0), 2)


def test_a_row_that_the_model_cannot_hold_is_not_measured() -> None:
    assert generate_likelihood.target_of(Row("r:1", "ab", "cd"), _Letters(), 4) is None


def test_the_first_token_of_all_is_foretold_by_nothing() -> None:
    assert generate_likelihood.target_of(Row("r:1", "", "cd"), _Letters(), None) == Target(
        (99, 100, 0), 1
    )


def test_a_line_says_null_for_a_loss_that_is_no_number(tmp_path: Path) -> None:
    record, prompts = sys.modules["generate_record"], sys.modules["generate_prompts"]
    answers = sys.modules["generate_model"]
    header = record.Header("r", "m", None, None, None, None, 0, 1, 9, (), "e", "fp32", True)
    prompt = prompts.Prompt(0, "r:1", "d", "t", (1,), "x")
    answer = answers.Answer("x", "x", (2,), "eos", None)
    written = record.Record(tmp_path, header, ["d"])
    written.add(prompt, answer, Likelihood(3, None, 0))
    written.close()
    (row,) = read_answers(tmp_path / "predictions.jsonl", "predicted")
    assert row.likelihood is not None
    assert (row.likelihood.tokens, row.likelihood.right) == (3, 0)
    assert row.likelihood.loss is not None
    assert math.isnan(row.likelihood.loss)


def test_measuring_takes_transformers_where_the_engine_is_left_open() -> None:
    words = ["--base-model", "b", "--rows", "r", "--output", "o", "--likelihood"]
    assert generate.parse_arguments(words).engine == "transformers"
    assert generate.parse_arguments(words[:-1]).engine == "auto"
