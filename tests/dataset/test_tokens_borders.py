"""Texts are only cut where the parts have the same tokens alone as together."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from orchestrator.dataset.tokens.borders import _LLAMA_3, _QWEN, WORD_END, find_borders

MARKS = ("<|im_start|>", "<|im_end|>")
TEXTS = (
    "it's a text with words that go on and on, 12 times or 3.",
    "\n\n  spaces   and\ttabs \n and 'words' don't end   here ",
    "words and words, again and again; the same words and the same ends",
)


def _tokenizer(pre: Any, normalizer: Any = None, tokens: Any = MARKS) -> Any:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre
    backend.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet() + (["\u2581"] if normalizer else [])
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.add_special_tokens(list(tokens))
    return backend


def _split(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _gemma() -> Any:
    """As Gemma's: spaces become letters, nothing is split, no token holds a word and its space."""
    backend = _tokenizer(pre_tokenizers.Split(" ", "merged_with_next"))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    letters = [*string.ascii_letters, *"0123456789'.,;!\n\t\r", "\u2581"]
    joined = ["\u2581\u2581", "\u2581a", "an", "\u2581an", "nd", "en", "\u2581w"]
    vocabulary = {token: index for index, token in enumerate([*letters, *joined])}
    merges = [("\u2581", "a"), ("a", "n"), ("\u2581a", "n"), ("n", "d")]
    merges += [("\u2581", "\u2581"), ("e", "n"), ("\u2581", "w")]
    gemma = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=None, fuse_unk=True))
    gemma.normalizer = normalizers.Replace(" ", "\u2581")
    gemma.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    gemma.add_special_tokens(list(MARKS))
    return gemma


GPT_2 = _tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False))
PROVEN = {
    "GPT-2": GPT_2,
    "GPT-2 with digits apart": _tokenizer(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    ),
    "Llama 3": _tokenizer(_split(_LLAMA_3)),
    "Qwen": _tokenizer(_split(_QWEN), normalizers.NFC()),
    "Gemma": _gemma(),
}
PIECES = (
    *(*MARKS, "<|im_", "start|>", " ", "  ", "\n", "\t", "\r\n", "'s", "'", "a", "and", "words"),
    *("12", "W", ".", " the same", "\u00e9", "e\u0301", "\u2603", "\u4e2d", "!", "\u2581"),
)
TEXT = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


def _ids(backend: Any, text: str) -> list[int]:
    ids: list[int] = backend.encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize("name", PROVEN)
@given(TEXT)
def test_the_parts_have_the_tokens_of_the_whole(name: str, text: str) -> None:
    backend = PROVEN[name]
    borders = find_borders(backend, MARKS)
    assert borders.special is not None
    assert borders.words
    pieces = [part for piece in borders.special.split(text) for part in WORD_END.split(piece)]
    assert [one for piece in pieces for one in _ids(backend, piece)] == _ids(backend, text)


def _no_specials(backend: Any) -> Any:
    backend.add_tokens([AddedToken("word", single_word=True)])
    return backend


UNPROVEN = {
    "a first part that is unlike the others": _tokenizer(
        pre_tokenizers.Metaspace(prepend_scheme="first")
    ),
    "a token that takes the space after it": _tokenizer(
        pre_tokenizers.ByteLevel(), tokens=[*MARKS, AddedToken("<mask>", rstrip=True)]
    ),
    "a token that is a word only alone": _no_specials(_tokenizer(pre_tokenizers.ByteLevel())),
    "tokens that are looked for after the normalizer": _tokenizer(
        pre_tokenizers.ByteLevel(), tokens=[*MARKS, AddedToken("<x>", normalized=True)]
    ),
    "a normalizer that nobody here knows": _tokenizer(
        pre_tokenizers.ByteLevel(), normalizers.Strip()
    ),
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_nothing_is_cut_without_proof(name: str) -> None:
    borders = find_borders(UNPROVEN[name], MARKS)
    assert (borders.special, borders.words) == (None, False)
    assert borders.turn_end is not None


def test_words_are_not_cut_by_a_pattern_that_nobody_knows() -> None:
    borders = find_borders(_tokenizer(_split(r"\w+ \w+|\s+|.")), MARKS)
    assert borders.special is not None
    assert not borders.words


def test_words_are_not_cut_where_a_token_joins_two() -> None:
    backend = _gemma()
    state = backend.get_vocab(with_added_tokens=False)
    joined = Tokenizer(
        models.BPE(
            vocab={**state, "d\u2581": len(state), "d\u2581a": len(state) + 1},
            merges=[("d", "\u2581"), ("d\u2581", "a")],
        )
    )
    joined.normalizer, joined.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    joined.add_special_tokens(list(MARKS))
    assert len(_ids(joined, "d a")) == 1
    assert not find_borders(joined, MARKS).words


@pytest.mark.parametrize(
    "other", ["<|im_start|>x", "a<|im_start|>", "x<|im", "x<", "|><|im_start|"]
)
def test_a_token_that_another_may_swallow_is_no_border(other: str) -> None:
    borders = find_borders(_tokenizer(pre_tokenizers.ByteLevel(), tokens=[*MARKS, other]), MARKS)
    assert borders.special is None or "im_start" not in borders.special.pattern


def test_a_token_that_can_overlap_itself_is_no_border() -> None:
    backend = _tokenizer(pre_tokenizers.ByteLevel(), tokens=["==", "<x>"])
    borders = find_borders(backend, ["==", "<x>"])
    assert borders.special is not None
    assert borders.special.pattern == "(<x>)"
