"""Texts that are nearly the same, among any number of them.

Two texts are near-duplicates if the Jaccard similarity of their words, with repetitions and without
the wording that most texts share, reaches a threshold, and they differ in more than their numbers
(`Add 3 and 4`, `Add 3 and 5` are of one template, and have different answers). MinHash (rensa)
proposes pairs; each is verified exactly, so there are no false hits. At the threshold itself fewer
than 2 pairs in a thousand are missed, above it fewer still.

Memory: at its peak three times the text, or 0.52 GB for a million rows of 24 words
(`benchmarks/near_duplicates.py` measures it).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from orchestrator.dataset.nearness.index import KNOWN_TEXTS, Index, Templates
from orchestrator.dataset.nearness.wording import differ_in_numbers_only, similarity_of_tokens

#: So many rows of earlier splits are compared with those of later ones, in all and at least each.
_MOST_COMPARISONS = 20_000_000
_LEAST_PARTNERS = 200


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows with nearly the same text, by the indexes they were added with.

    `similarity` is None where too many rows are alike to compare them all.
    """

    earlier: int
    later: int
    similarity: float | None


class NearDuplicates:
    """Finds groups of near-duplicates. What it finds does not depend on the order of adding."""

    def __init__(self, threshold: float, seed: int) -> None:
        self._threshold = threshold
        self._seed = seed
        self._texts = bytearray()
        self._ends = array("Q", [0])
        self._indexes = array("Q")
        self._built: Index | None = None

    def __len__(self) -> int:
        return len(self._indexes)

    def add(self, index: int, text: str) -> None:
        """Add a row's text under a number of its own (not negative)."""
        self._texts += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._texts))
        self._indexes.append(index)
        self._built = None

    def merge(self, later: Self, *, from_index: int = 0) -> None:
        """Add all rows of another one, their indexes raised by `from_index`."""
        offset = len(self._texts)
        self._texts += later._texts
        self._ends.extend(end + offset for end in later._ends[1:])
        self._indexes.extend(index + from_index for index in later._indexes)
        self._built = None

    def groups(self) -> list[tuple[int, ...]]:
        """The groups of two or more rows that are linked by near-duplicates, or are equal.

        Indexes ascend within a group, and groups by their first.
        """
        groups = self._index().groups()
        return sorted(tuple(sorted(self._indexes[at] for at in group)) for group in groups)

    def pairs(self, side: Callable[[int], int]) -> Iterator[Pair]:
        """For each row its closest near-duplicate (or equal) on a lower side, if it has one.

        `side` gives the side of an index: 0 for training rows, 1 for validation rows, and so on.
        Of groups too large to compare every pair, a row that is near none of those it was compared
        with comes as a pair without a similarity.
        """
        built = self._index()
        left = _MOST_COMPARISONS
        for group in built.groups():
            sides = {position: side(self._indexes[position]) for position in group}
            if len(set(sides.values())) == 1:
                continue
            ordered = sorted(group, key=self._indexes.__getitem__)
            lowest = min(sides.values())
            waiting = sum(number > lowest for number in sides.values())
            texts = _Texts(built)
            for later in ordered:
                partners = [one for one in ordered if sides[one] < sides[later]]
                if not partners:
                    continue
                most = max(_LEAST_PARTNERS, left // waiting)
                waiting -= 1
                left = max(0, left - min(len(partners), most))
                found = _closest(later, partners[:most], texts)
                if found is not None and found[1] >= self._threshold:
                    yield Pair(self._indexes[found[0]], self._indexes[later], found[1])
                elif len(partners) > most:
                    yield Pair(self._indexes[partners[0]], self._indexes[later], None)

    @property
    def not_compared(self) -> int:
        """How many distinct texts are of crowds too alike to compare every pair."""
        return self._index().not_compared

    def templates(self, most: int = 3) -> Templates:
        """How many distinct texts differ only in their numbers from another; `most` are shown."""
        return self._index().templates(self._indexes, most)

    def excerpt(
        self, index: int, width: int = 80, shown: Callable[[str], str] = lambda text: text
    ) -> str:
        """The beginning of a row's own wording, on one line, as `shown` changes it."""
        return self._index().excerpt(self._indexes.index(index), width, shown)

    def _index(self) -> Index:
        if self._built is None:
            self._built = Index(self._text, len(self), self._threshold, self._seed)
        return self._built

    def _text(self, position: int) -> str:
        start, end = self._ends[position], self._ends[position + 1]
        return self._texts[start:end].decode("utf-8", "surrogatepass")


class _Texts:
    """Texts as words and as counted own words, each split once."""

    def __init__(self, built: Index) -> None:
        self._built = built
        self._known: dict[int, tuple[list[str], frozenset[str]]] = {}

    def __getitem__(self, position: int) -> tuple[list[str], frozenset[str]]:
        if (text := self._known.get(position)) is None:
            if len(self._known) >= KNOWN_TEXTS:
                self._known.clear()
            text = self._known[position] = self._built.split(position)
        return text


def _closest(later: int, partners: Sequence[int], texts: _Texts) -> tuple[int, float] | None:
    best: tuple[int, float] | None = None
    own, own_tokens = texts[later]
    for partner in partners:
        text, tokens = texts[partner]
        alike = 1.0 if text == own else similarity_of_tokens(tokens, own_tokens)
        if (best is None or alike > best[1]) and not differ_in_numbers_only(text, own):
            best = (partner, alike)
            if alike == 1:
                break
    return best
