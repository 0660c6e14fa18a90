"""Bands of MinHash signatures: texts that share a band are candidates for near-duplicates."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator

#: Numbers of a signature.
PERMUTATIONS = 128
#: What share of the pairs right at the threshold must be proposed.
_LEAST_RECALL = 0.998
_BATCH_ROWS = 2000


def band_count(threshold: float) -> int:
    """The fewest bands that propose a pair right at the threshold often enough."""
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _LEAST_RECALL:
            return bands
    return PERMUTATIONS


def buckets(band: array[int]) -> Iterator[list[int]]:
    """The places of equal values, where there are two or more."""
    seen: set[int] = set()
    repeated: set[int] = set()
    for value in band:
        (repeated if value in seen else seen).add(value)
    del seen
    found: dict[int, list[int]] = {}
    for number, value in enumerate(band):
        if value in repeated:
            found.setdefault(value, []).append(number)
    yield from found.values()


def batches(positions: Iterable[int]) -> Iterator[tuple[int, ...]]:
    """The positions in pieces that are signed together."""
    iterator = iter(positions)
    while batch := tuple(itertools.islice(iterator, _BATCH_ROWS)):
        yield batch
