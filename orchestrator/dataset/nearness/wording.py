"""The words of a text, and the wording that most texts of a data set share."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NUMBER_STARTS = frozenset("0123456789-+*/^=<>%")
_WORD = re.compile(
    # Scripts that put no spaces between words: each letter is one.
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
    r"|\d+(?:[.,]\d+)*"
    r"|[^\W\d_]+(?:['\u2019][^\W\d_]+)*"
    # An operator is a word only before a number, so that 3 + 4 and 3 * 4 differ.
    r"|[-+*/^=<>%](?=\s?[-\d(.])"
)
_DIGIT = re.compile(r"(?![0-9])\d")
#: Shared wording is looked for in runs of so many words. Fewer shared words cannot lift two short
#: texts with one differing word to a similarity of 0.8.
RUN_WORDS = 8
#: Where runs are looked for in a sampled text: instructions stand at its ends.
_ENDS_WORDS = 300


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it counts (case folded) and where it begins in the text."""

    text: str
    start: int


def words(text: str) -> list[str]:
    """The words, numbers and operators of a text, without case and punctuation."""
    return _WORD.findall(_folded(text))


def placed_words(text: str) -> list[Word]:
    """The words with their places. Places fit only if folding leaves the length as it is."""
    return [Word(match.group(), match.start()) for match in _WORD.finditer(_folded(text))]


def is_number(word: str) -> bool:
    """Whether a word is a number or an operator."""
    first = word[0]
    return first in _NUMBER_STARTS or (first > "\x7f" and first.isdigit())


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return _DIGIT.sub(_ascii_digit, unicodedata.normalize("NFKC", text).casefold())


def _ascii_digit(digit: re.Match[str]) -> str:
    """A digit of any script as `0` to `9`: ٣ + ٤ asks what 3 + 4 does."""
    return str(unicodedata.decimal(digit[0]))


Run = tuple[str, ...]


def shared_runs(texts: Iterable[Sequence[str]]) -> frozenset[Run]:
    """The runs of words that so many texts have that they tell none from another.

    In small sets that is half of the texts, but never fewer than five; from twenty texts on that
    share it, a tenth is enough, so that each of several instructions of a mixed set counts.
    """
    counts: Counter[Run] = Counter()
    number = 0
    for text in texts:
        number += 1
        ends = (text[:_ENDS_WORDS], text[max(_ENDS_WORDS, len(text) - _ENDS_WORDS) :])
        counts.update({run for end in ends for run in _runs(end)})
    least = max(5.0, min(number / 2, max(20.0, number / 10)))
    return frozenset(run for run, count in counts.items() if count >= least)


def without_shared(text: Sequence[str], runs: frozenset[Run]) -> list[str]:
    """The words outside shared runs; all of them, if nothing else is there."""
    kept = own_places(text, runs)
    return [text[place] for place in kept] if kept else list(text)


def own_places(text: Sequence[str], runs: frozenset[Run]) -> list[int]:
    """The numbers of the words that stand in no shared run."""
    if not runs:
        return list(range(len(text)))
    kept = []
    covered_to = 0
    for place in range(len(text)):
        if tuple(text[place : place + RUN_WORDS]) in runs:
            covered_to = place + RUN_WORDS
        if place >= covered_to:
            kept.append(place)
    return kept


def _runs(text: Sequence[str]) -> Iterable[Run]:
    for place in range(len(text) - RUN_WORDS + 1):
        yield tuple(text[place : place + RUN_WORDS])


def counted(text: Iterable[str]) -> list[str]:
    """The words as a set that keeps repetitions: the second `a` becomes a word of its own."""
    text = list(text)
    if len(set(text)) == len(text):
        return text
    seen: dict[str, int] = {}
    tokens = []
    for word in text:
        times = seen.get(word, 0)
        seen[word] = times + 1
        tokens.append(f"{word} {times}" if times else word)
    return tokens


def similarity(first: Iterable[str], second: Iterable[str]) -> float:
    """Jaccard similarity of two texts' words with their repetitions, from 0 to 1."""
    return similarity_of_tokens(frozenset(counted(first)), frozenset(counted(second)))


def similarity_of_tokens(one: frozenset[str], other: frozenset[str]) -> float:
    """The same, of words that are counted already."""
    common = len(one & other)
    union = len(one) + len(other) - common
    return common / union if union else 1.0


def differ_in_numbers_only(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two texts (as words) have the same words, and both numbers, which differ."""
    numbers = [[word for word in text if is_number(word)] for text in (first, second)]
    if numbers[0] == numbers[1] or not all(numbers):
        return False
    return without_numbers(first) == without_numbers(second)


def without_numbers(text: Sequence[str]) -> list[str]:
    """The words that are no numbers, sorted."""
    return sorted(word for word in text if not is_number(word))
