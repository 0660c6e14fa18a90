"""Which texts of a crowd must be compared: those that share one of their rarest words.

Where many texts are alike (one template, filled with names and places), bands of signatures
propose nearly all pairs. But of two texts whose words are similar enough, each has one of the
other's rarest words among its own (the prefix filter of set similarity joins: Bayardo, Ma and
Srikant 2007). So texts are listed by their rarest words, and long lists again by a second and a
third word that is shared, without losing a pair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

#: Words by which a list is made shorter.
_MOST_WORDS = 3
#: What rounding may take from a threshold times a number of words.
_ROUNDING = 1e-9


def lists_to_compare(
    members: Iterable[int],
    tokens: Callable[[int], Collection[str]],
    threshold: float,
    short: int,
) -> Iterator[list[int]]:
    """Lists of members in which all pairs of a similarity from `threshold` on are together.

    They keep the order of `members`. Lists longer than `short` are those that no word shortens.
    """
    members = list(members)
    counts: Counter[str] = Counter()
    for member in members:
        counts.update(tokens(member))
    ranks = {word: rank for rank, word in enumerate(sorted(counts, key=lambda w: (counts[w], w)))}
    rarest = {member: _rarest(tokens(member), ranks, threshold) for member in members}
    yield from _shared(members, rarest, -1, 0, short)


@dataclass(frozen=True, slots=True)
class _Rarest:
    """The rarest words of a text, by rank.

    A similar text has `least` words of it at least, of which one is among the first `first`, two
    among one more, and so on.
    """

    ranks: tuple[int, ...]
    first: int
    least: int


def _rarest(words: Collection[str], ranks: dict[str, int], threshold: float) -> _Rarest:
    least = max(1, math.ceil(threshold * len(words) - _ROUNDING))
    first = len(words) - least + 1
    return _Rarest(
        tuple(sorted(ranks[word] for word in words)[: first + _MOST_WORDS - 1]), first, least
    )


def _shared(
    members: Sequence[int], rarest: dict[int, _Rarest], after: int, depth: int, short: int
) -> Iterator[list[int]]:
    """Lists by the next word that is shared, after the one of that rank."""
    listed: dict[int, list[int]] = {}
    for member in members:
        own = rarest[member]
        for rank in own.ranks[: own.first + depth]:
            if rank > after:
                listed.setdefault(rank, []).append(member)
    for rank, sharing in listed.items():
        if len(sharing) < 2:
            continue
        if len(sharing) <= short or depth + 1 == _MOST_WORDS:
            yield sharing
            continue
        # Those that need not share a further word.
        yield [member for member in sharing if rarest[member].least <= depth + 1]
        yield from _shared(sharing, rarest, rank, depth + 1, short)
