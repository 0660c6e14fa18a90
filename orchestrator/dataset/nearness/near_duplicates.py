"""Texts that are nearly the same, among any number of them.

Two texts are near-duplicates if the Jaccard similarity of their words, with repetitions and without
the wording that most texts share, reaches a threshold, and they differ in more than their numbers
(`Add 3 and 4`, `Add 3 and 5` are of one template, and have different answers). MinHash (rensa)
proposes pairs; each is verified exactly, so there are no false hits. At the threshold itself fewer
than 2 pairs in a thousand are missed, above it fewer still.

Memory: at its peak four times the text, or 0.75 GB for a million rows of 24 words
(`benchmarks/near_duplicates.py` measures it).
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from orchestrator.dataset.nearness.banding import PERMUTATIONS, band_count, batches, buckets
from orchestrator.dataset.nearness.wording import (
    Run,
    counted,
    is_number,
    own_places,
    placed_words,
    shared_runs,
    similarity,
    without_shared,
    words,
)

#: So many distinct texts, those with the least digests, are searched for shared wording.
_SAMPLED_TEXTS = 512
#: Of a larger crowd of like texts, each is compared with so many that follow by digest.
_CROWD = 64
_NEIGHBOURS = 32
#: Of larger groups only so many rows of the earlier split are compared with each later row.
_MOST_PARTNERS = 200


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows with nearly the same text, by the indexes they were added with."""

    earlier: int
    later: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Templates:
    """Rows that differ in nothing but their numbers from another row.

    `largest` are the templates with most rows: (index of a row, rows).
    """

    rows: int
    templates: int
    largest: tuple[tuple[int, int], ...]


class NearDuplicates:
    """Finds groups of near-duplicates. What it finds does not depend on the order of adding."""

    def __init__(self, threshold: float, seed: int) -> None:
        self._threshold = threshold
        self._seed = seed
        self._texts = bytearray()
        self._ends = array("Q", [0])
        self._indexes = array("Q")
        self._built: _Index | None = None

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
        """
        built = self._index()
        for group in built.groups():
            sides = {position: side(self._indexes[position]) for position in group}
            if len(set(sides.values())) == 1:
                continue
            ordered = sorted(group, key=self._indexes.__getitem__)
            texts = {position: built.words(position) for position in group}
            for later in ordered:
                partners = [one for one in ordered if sides[one] < sides[later]]
                found = _closest(texts[later], partners[:_MOST_PARTNERS], texts, built)
                if found is not None and found[1] >= self._threshold:
                    yield Pair(self._indexes[found[0]], self._indexes[later], found[1])

    def templates(self, most: int = 3) -> Templates:
        """How many distinct texts differ only in their numbers from another; `most` are shown."""
        return self._index().templates(self._indexes, most)

    def excerpt(
        self, index: int, width: int = 80, shown: Callable[[str], str] = lambda text: text
    ) -> str:
        """The beginning of a row's own wording, on one line, as `shown` changes it."""
        return self._index().excerpt(self._indexes.index(index), width, shown)

    def _index(self) -> _Index:
        if self._built is None:
            self._built = _Index(self._text, len(self), self._threshold, self._seed)
        return self._built

    def _text(self, position: int) -> str:
        start, end = self._ends[position], self._ends[position + 1]
        return self._texts[start:end].decode("utf-8", "surrogatepass")


def _closest(
    own: list[str], partners: Sequence[int], texts: dict[int, list[str]], built: _Index
) -> tuple[int, float] | None:
    best: tuple[int, float] | None = None
    for partner in partners:
        if not differ_in_numbers_only(texts[partner], own):
            alike = built.similarity(texts[partner], own)
            if best is None or alike > best[1]:
                best = (partner, alike)
    return best


def differ_in_numbers_only(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two texts (as words) have the same words, and both numbers, which differ."""
    numbers = [[word for word in text if is_number(word)] for text in (first, second)]
    if numbers[0] == numbers[1] or not all(numbers):
        return False
    return _plain(first) == _plain(second)


def _plain(text: Sequence[str]) -> list[str]:
    return sorted(word for word in text if not is_number(word))


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


class _Index:
    """What is known of all texts together. Positions are the order of adding."""

    def __init__(self, text: Callable[[int], str], rows: int, threshold: float, seed: int) -> None:
        self._text = text
        self._threshold = threshold
        self._parent = array("Q", range(rows))
        self._digests = array(
            "Q", (_digest(text(n).encode("utf-8", "surrogatepass")) for n in range(rows))
        )
        self._distinct = self._join_equal()
        self._runs = self._shared()
        self._skeletons, self._numbers, self._sizes = array("Q"), array("Q"), array("L")
        if threshold >= 1:
            return
        bands = [array("q") for _ in range(band_count(threshold))]
        for batch in batches(self._distinct):
            self._sign(batch, bands, seed)
        for band in bands:
            for bucket in buckets(band):
                self._join_alike(bucket)

    def groups(self) -> list[list[int]]:
        """The groups of two or more positions."""
        grouped: dict[int, list[int]] = {}
        for position in range(len(self._parent)):
            root = self.group(position)
            if root != position:
                grouped.setdefault(root, [root]).append(position)
        return list(grouped.values())

    def group(self, position: int) -> int:
        """The position that stands for the group of this one."""
        parent = self._parent
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    def words(self, position: int) -> list[str]:
        """All words of a text."""
        return words(self._text(position))

    def similarity(self, first: Sequence[str], second: Sequence[str]) -> float:
        """How similar two texts (as words) are, shared wording apart."""
        if first == second:
            return 1.0
        return similarity(without_shared(first, self._runs), without_shared(second, self._runs))

    def templates(self, indexes: Sequence[int], most: int) -> Templates:
        """What differs only in numbers."""
        counts = Counter(skeleton for skeleton in self._skeletons if skeleton)
        shared = {skeleton: count for skeleton, count in counts.items() if count > 1}
        first: dict[int, int] = {}
        for number, skeleton in enumerate(self._skeletons):
            if skeleton in shared:
                index = indexes[self._distinct[number]]
                first[skeleton] = min(index, first.get(skeleton, index))
        largest = heapq.nsmallest(most, ((-shared[s], first[s]) for s in shared))
        shown = tuple((index, -count) for count, index in largest)
        return Templates(sum(shared.values()), len(shared), shown)

    def excerpt(self, position: int, width: int, shown: Callable[[str], str]) -> str:
        """The beginning of a text after the wording that most share."""
        text = self._text(position)
        placed = placed_words(text)
        own = own_places([word.text for word in placed], self._runs)
        start = placed[own[0]].start if own and own[0] else 0
        line = " ".join(shown(text[start:]).split())
        return f"{line[: width - 1]}…" if len(line) > width else line

    def _join_equal(self) -> array[int]:
        """Join equal texts, and return one position of each distinct text."""
        first: dict[int, int] = {}
        distinct = array("Q")
        for position, digest in enumerate(self._digests):
            known = first.setdefault(digest, position)
            if known == position:
                distinct.append(position)
            else:
                self._parent[position] = known
        return distinct

    def _shared(self) -> frozenset[Run]:
        sample = heapq.nsmallest(_SAMPLED_TEXTS, self._distinct, key=self._digests.__getitem__)
        return shared_runs(map(self.words, sample))

    def _sign(self, batch: Sequence[int], bands: Sequence[array[int]], seed: int) -> None:
        from rensa import RMinHash

        tokens = []
        for position in batch:
            text = self.words(position)
            numbers = " ".join(filter(is_number, text))
            skeleton = _digest(" ".join(_plain(text)).encode()) if numbers else 0
            self._skeletons.append(skeleton)
            self._numbers.append(_digest(numbers.encode()) if numbers else 0)
            tokens.append(counted(without_shared(text, self._runs)))
            self._sizes.append(len(tokens[-1]))
        signed = RMinHash.digest_matrix_from_token_sets(tokens, PERMUTATIONS, seed).to_rows()
        rows = PERMUTATIONS // len(bands)
        for signature in map(tuple, signed):
            for number, band in enumerate(bands):
                # The hash of a tuple of whole numbers is the same in every process.
                band.append(hash(signature[number * rows : (number + 1) * rows]))

    def _join_alike(self, bucket: Sequence[int]) -> None:
        """Join what is verified among the distinct texts that share a band."""
        ordered = sorted(bucket, key=lambda number: self._digests[self._distinct[number]])
        reach = len(ordered) if len(ordered) <= _CROWD else _NEIGHBOURS
        known: dict[int, list[str]] = {}
        for place, one in enumerate(ordered):
            for other in itertools.islice(ordered, place + 1, place + 1 + reach):
                self._join(one, other, known)

    def _join(self, one: int, other: int, known: dict[int, list[str]]) -> None:
        sizes = sorted((self._sizes[one], self._sizes[other]))
        if not sizes[0] or sizes[0] < self._threshold * sizes[1]:
            return
        same_words = self._skeletons[one] == self._skeletons[other] != 0
        if same_words and self._numbers[one] != self._numbers[other]:
            return
        first, second = (self._distinct[number] for number in (one, other))
        mine, others = self.group(first), self.group(second)
        if mine == others:
            return
        for position in (first, second):
            if position not in known:
                known[position] = without_shared(self.words(position), self._runs)
        if similarity(known[first], known[second]) >= self._threshold:
            self._parent[max(mine, others)] = min(mine, others)
