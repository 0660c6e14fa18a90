"""What is counted of the rows of a split while they are written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from orchestrator.dataset.preparing.candidates import Candidate
from orchestrator.dataset.preparing.prepared import Bin, Lengths, Named, PreparedSplit, RowLengths
from orchestrator.dataset.privacy.masking import shown
from orchestrator.dataset.rules import SplitName

#: Of more different tags than these, the rest is counted as one: tags may be free text.
_MOST_NAMES = 1000
_REST = "(others)"


class Tally:
    """The figures of one split."""

    def __init__(self, name: SplitName) -> None:
        self.name = name
        self.rows = 0
        self._size_bytes = 0
        self._digest = hashlib.sha256()
        self._characters = (_Spread(), _Spread(), _Spread())
        self._tokens = (_Spread(), _Spread(), _Spread())
        self._counted = True
        self._tools, self._tags, self._difficulties = _Names(), _Names(), _Names()

    def add(self, row: Candidate) -> None:
        """Count a row in that is written next."""
        self.rows += 1
        self._size_bytes += len(row.line)
        self._digest.update(row.line)
        _add(self._characters, row.prompt_characters, row.answer_characters)
        if row.prompt_tokens is None or row.answer_tokens is None:
            self._counted = False
        else:
            _add(self._tokens, row.prompt_tokens, row.answer_tokens)
        self._tools.add(row.tools)
        self._tags.add(row.tags)
        self._difficulties.add([row.difficulty] if row.difficulty else [])

    def facts(self) -> PreparedSplit:
        """The split as it is now."""
        return PreparedSplit(
            name=self.name,
            rows=self.rows,
            size_bytes=self._size_bytes,
            sha256=self._digest.hexdigest(),
            characters=_lengths(self._characters),
            tokens=_lengths(self._tokens) if self._counted and self.rows else None,
            tools=self._tools.frequencies(),
            tags=self._tags.frequencies(),
            difficulties=self._difficulties.frequencies(),
        )


class _Names:
    """How many rows have each name."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, names: Iterable[str]) -> None:
        """Count a row in; a name that it has twice counts once."""
        # In their order: that of a set differs between processes.
        for name in dict.fromkeys(map(_shown, names)):
            known = name in self._counts or len(self._counts) < _MOST_NAMES
            self._counts[name if known else _REST] += 1

    def frequencies(self) -> tuple[Named, ...]:
        """The names, most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Named(name=name, rows=rows) for name, rows in ordered)


@lru_cache(maxsize=2 * _MOST_NAMES)
def _shown(name: str) -> str:
    return shown(name)


class _Spread:
    """Total, ends and histogram of whole numbers."""

    def __init__(self) -> None:
        self.total = 0
        self.least: int | None = None
        self.most = 0
        self.bins: Counter[int] = Counter()

    def add(self, value: int) -> None:
        """Count a number in."""
        self.total += value
        self.least = value if self.least is None else min(self.least, value)
        self.most = max(self.most, value)
        self.bins[_bin(value)] += 1

    def lengths(self) -> Lengths:
        """The figures; the bins run from the first that has rows to the last, without gaps."""
        numbers = range(min(self.bins), max(self.bins) + 1) if self.bins else range(0)
        bins = tuple(
            Bin(low=_low(number), high=_low(number + 1) - 1, rows=self.bins[number])
            for number in numbers
        )
        return Lengths(total=self.total, least=self.least or 0, most=self.most, bins=bins)


def _add(spreads: tuple[_Spread, _Spread, _Spread], prompt: int, answer: int) -> None:
    for spread, value in zip(spreads, (prompt, answer, prompt + answer), strict=True):
        spread.add(value)


def _lengths(spreads: tuple[_Spread, _Spread, _Spread]) -> RowLengths:
    prompt, answer, whole = (spread.lengths() for spread in spreads)
    return RowLengths(prompt=prompt, answer=answer, whole=whole)


def _bin(value: int) -> int:
    """The number of a bin: 0 to 15, then two to each doubling (16, 24, 32, 48, 64, …)."""
    if value < 16:
        return 0
    octave = value.bit_length() - 5
    return 1 + 2 * octave + (value >> (value.bit_length() - 2) & 1)


def _low(number: int) -> int:
    """The least value in a bin."""
    if number == 0:
        return 0
    octave, half = divmod(number - 1, 2)
    return (16 << octave) + (8 << octave) * half
