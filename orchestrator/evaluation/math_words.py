"""Whole numbers in English words: `twelve`, `one hundred and five`, `two million`."""

from __future__ import annotations

import re

_FIRST = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_TEENS = "fifteen sixteen seventeen eighteen nineteen"
_BY_TEN = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(f"{_FIRST} {_TEENS}".split())}
_TENS = {word: 10 * value for value, word in enumerate(_BY_TEN.split(), start=2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_NUMERALS = {*_SMALL, *_TENS, *_SCALES, "hundred"}
_WORD = re.compile(r"[^\W\d_]+")
#: No number that is written out is longer.
_MOST_WORDS = 30


def spelled(text: str) -> int | None:
    """The number that a text is in words; None for any other text."""
    words = _words(text)
    return _value(words) if words and len(words) <= _MOST_WORDS else None


def last_spelled(text: str) -> int | None:
    """The number that stands last in a text in words; None where none does.

    `one` alone may be a pronoun: it counts at the end, and before a single word (`one apple`).
    """
    words = [one[0].lower() for one in _WORD.finditer(text)]
    end = len(words)
    while end and words[end - 1] not in _NUMERALS:
        end -= 1
    start = end
    while start and (words[start - 1] in _NUMERALS or words[start - 1] == "and"):
        start -= 1
    run = words[start:end]
    while run and run[0] == "and":
        run.pop(0)
    if run == ["one"] and end < len(words) and (start > 0 or len(words) > 2):
        return None
    return _value(run[-_MOST_WORDS:]) if run else None


def _words(text: str) -> list[str]:
    """The words of a text that has nothing else in it; none where it has."""
    if not re.fullmatch(r"\s*(?:[^\W\d_]+(?:\s*-\s*|\s+|\s*,\s*|\s*$))+", text):
        return []
    return [one[0].lower() for one in _WORD.finditer(text)]


def _value(words: list[str]) -> int | None:
    """The number of the words; None where they are not one number as it is said."""
    total = group = 0
    below = 10**12  # each scale is less than the one before
    room = 1000  # what the next word of a group must be less than
    for at, word in enumerate(words):
        if word == "and":
            if not 0 < at < len(words) - 1:
                return None
        elif word in _SMALL or word in _TENS:
            value = _SMALL.get(word, _TENS.get(word, 0))
            if value >= room or (value == 0 and len(words) > 1):
                return None
            group += value
            room = 10 if word in _TENS else 0
        elif word == "hundred":
            if not 0 < group < 10:
                return None
            group, room = group * 100, 100
        elif word in _SCALES:
            if group == 0 or _SCALES[word] >= below:
                return None
            below = _SCALES[word]
            total, group, room = total + group * below, 0, 1000
        else:
            return None
    return total + group
