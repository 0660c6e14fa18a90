"""What is known of all texts together: the groups of those that are nearly the same."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.dataset.nearness.banding import PERMUTATIONS, band_count, batches, buckets
from orchestrator.dataset.nearness.crowds import lists_to_compare
from orchestrator.dataset.nearness.wording import (
    Run,
    counted,
    is_number,
    own_places,
    placed_words,
    shared_runs,
    similarity_of_tokens,
    without_numbers,
    without_shared,
    words,
)

#: So many distinct texts, those with the least digests, are searched for shared wording.
_SAMPLED_TEXTS = 512
#: In a larger crowd of like texts, those are compared that share their rarest words.
_CROWD = 64
#: Of lists of such texts that are longer still, each is compared with so many that follow by
#: digest: they share all but their commonest words, so that one links the other.
_MOST_LISTED = 400
_NEIGHBOURS = 32
#: Texts that are kept as words, at most.
KNOWN_TEXTS = 50_000


@dataclass(frozen=True, slots=True)
class Templates:
    """Rows that differ in nothing but their numbers from another row.

    `largest` are the templates with most rows: (index of a row, rows).
    """

    rows: int
    templates: int
    largest: tuple[tuple[int, int], ...]


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


class Index:
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
        self._skeletons, self._numbers, self._sizes = array("Q"), array("Q"), array("I")
        self.not_compared = 0
        if threshold >= 1:
            return
        bands = [array("I") for _ in range(band_count(threshold))]
        for batch in batches(self._distinct):
            self._sign(batch, bands, seed)
        crowded: set[int] = set()
        for band in bands:
            for bucket in buckets(band):
                self._join_alike(bucket, crowded)
        del bands
        if crowded:
            self._join_crowded(crowded)

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

    def split(self, position: int) -> tuple[list[str], frozenset[str]]:
        """All words of a text, and those outside shared wording, counted."""
        text = self.words(position)
        return text, frozenset(counted(without_shared(text, self._runs)))

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
            skeleton = _digest(" ".join(without_numbers(text)).encode()) if numbers else 0
            self._skeletons.append(skeleton)
            self._numbers.append(_digest(numbers.encode()) if numbers else 0)
            tokens.append(counted(without_shared(text, self._runs)))
            self._sizes.append(len(tokens[-1]))
        signed = RMinHash.digest_matrix_from_token_sets(tokens, PERMUTATIONS, seed).to_rows()
        rows = PERMUTATIONS // len(bands)
        for signature in map(tuple, signed):
            for number, band in enumerate(bands):
                # The hash of a tuple of whole numbers is the same in every process. Two texts with
                # the same half of it by chance are only compared for nothing.
                band.append(hash(signature[number * rows : (number + 1) * rows]) & 0xFFFFFFFF)

    def _join_alike(self, bucket: Sequence[int], crowded: set[int]) -> None:
        """Join what is verified among the distinct texts that share a band."""
        if len(bucket) <= _CROWD:
            known: dict[int, frozenset[str]] = {}
            for one, other in itertools.combinations(bucket, 2):
                self._join(one, other, known)
        else:
            crowded.update(bucket)

    def _join_crowded(self, crowded: Iterable[int]) -> None:
        """Join what is verified among the texts of crowds."""
        ordered = sorted(crowded, key=lambda number: self._digests[self._distinct[number]])
        known: dict[int, frozenset[str]] = {}
        alone = self._join_same_words(ordered)
        spared: set[int] = set()
        for listed in lists_to_compare(alone, self._tokens, self._threshold, _CROWD):
            if len({self._skeletons[number] or -number for number in listed}) == 1:
                continue  # one template with different numbers
            reach = len(listed)
            if reach > _MOST_LISTED:
                reach = _NEIGHBOURS
                spared.update(listed)
            for place, one in enumerate(listed):
                for other in itertools.islice(listed, place + 1, place + 1 + reach):
                    self._join(one, other, known)
            if len(known) > KNOWN_TEXTS:
                known.clear()
        self.not_compared = len(spared)

    def _join_same_words(self, numbers: Iterable[int]) -> list[int]:
        """Join the texts with the same words and numbers, and return one of each."""
        first: dict[tuple[int, int], int] = {}
        alone = []
        for number in numbers:
            if not self._sizes[number]:
                continue
            key = self._skeletons[number], self._numbers[number]
            known = first.setdefault(key, number) if key[0] else number
            if known == number:
                alone.append(number)
            else:
                self._unite(self._distinct[known], self._distinct[number])
        return alone

    def _tokens(self, number: int) -> frozenset[str]:
        return frozenset(counted(without_shared(self.words(self._distinct[number]), self._runs)))

    def _join(self, one: int, other: int, known: dict[int, frozenset[str]]) -> None:
        sizes = sorted((self._sizes[one], self._sizes[other]))
        if not sizes[0] or sizes[0] < self._threshold * sizes[1]:
            return
        same_words = self._skeletons[one] == self._skeletons[other] != 0
        if same_words and self._numbers[one] != self._numbers[other]:
            return
        first, second = self._distinct[one], self._distinct[other]
        if self.group(first) == self.group(second):
            return
        for number in (one, other):
            if number not in known:
                known[number] = self._tokens(number)
        if similarity_of_tokens(known[one], known[other]) >= self._threshold:
            self._unite(first, second)

    def _unite(self, first: int, second: int) -> None:
        mine, others = self.group(first), self.group(second)
        self._parent[max(mine, others)] = min(mine, others)
