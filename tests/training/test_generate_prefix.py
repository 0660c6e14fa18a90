"""Beginnings that prompts of a batch share are computed once and change no answer."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.training import generate, generate_model, generate_prefix
from orchestrator.training.generate_model import Stops

assert generate.__file__  # imported first: it puts its folder where the others find each other
torch = pytest.importorskip("torch")

_WORDS = 60
_BEGINNING = list(range(1, 15))
_PROMPTS = [[*_BEGINNING, *rest] for rest in ([20], [21, 22, 23, 24, 25], [26, 27], [28] * 9)]
_SHAPE = {
    "vocab_size": _WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.5,
    "pad_token_id": 0,
    "eos_token_id": 59,
}


class _Tokenizer:
    pad_token_id = 0
    eos_token_id = 59

    def decode(self, ids: list[int], **_options: bool) -> str:
        return " ".join(map(str, ids))


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**_SHAPE)).eval()


def _gemma(window: int) -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(2)
    kinds = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(
        Gemma3TextConfig(**_SHAPE, sliding_window=window, layer_types=kinds, rope_theta=10_000.0)
    ).eval()


def _answers(model: Any, prompts: list[list[int]], new_tokens: int = 12) -> list[tuple[int, ...]]:
    engine = generate_model.TransformersEngine(
        model, _Tokenizer(), Stops(59, frozenset(), ()), new_tokens
    )
    return [answer.ids for answer in engine.answer(prompts)]


def _one_by_one(model: Any, new_tokens: int = 12) -> list[tuple[int, ...]]:
    return [_answers(model, [prompt], new_tokens)[0] for prompt in _PROMPTS]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many places each pass of a Llama has computed."""
    from transformers import LlamaModel

    seen: list[int] = []
    forward = LlamaModel.forward

    def counted(self: Any, input_ids: Any = None, *rest: Any, **options: Any) -> Any:
        seen.append(input_ids.numel())
        return forward(self, input_ids, *rest, **options)

    monkeypatch.setattr(LlamaModel, "forward", counted)
    return seen


def test_answers_are_those_of_each_prompt_alone() -> None:
    model = _llama()
    assert _answers(model, _PROMPTS) == _one_by_one(model)


def test_the_beginning_is_computed_once(computed: list[int]) -> None:
    _answers(_llama(), _PROMPTS)
    assert computed[0] == len(_BEGINNING)
    # Each row's own tokens, padded to the longest.
    assert computed[1] == len(_PROMPTS) * 9


def test_windows_of_attention_that_hold_everything_change_nothing() -> None:
    model = _gemma(window=64)
    longest = max(map(len, _PROMPTS)) + 12
    assert generate_prefix.can_share(model, longest)
    assert _answers(model, _PROMPTS) == _one_by_one(model)


def test_a_text_longer_than_a_window_is_computed_row_by_row() -> None:
    model = _gemma(window=16)
    assert not generate_prefix.can_share(model, 17)
    assert _answers(model, _PROMPTS) == _one_by_one(model)


def test_what_is_padded_lies_between_the_beginning_and_the_rest() -> None:
    layout = generate_prefix.lay_out([[1] * 8 + [2], [1] * 8 + [3, 4]], 0, share=True)
    assert layout.shared == 8
    assert layout.ids == [[1] * 8 + [0, 2], [1] * 8 + [3, 4]]
    assert layout.masks == [[1] * 8 + [0, 1], [1] * 10]


def test_short_beginnings_and_single_prompts_share_nothing() -> None:
    assert generate_prefix.shared_tokens([[1, 2, 3, 4], [1, 2, 3, 5]]) == 0
    assert generate_prefix.shared_tokens([list(range(40))]) == 0


def test_a_prompt_that_begins_another_keeps_a_token_of_its_own() -> None:
    short = list(range(10))
    assert generate_prefix.shared_tokens([short, [*short, 11], short]) == 9
