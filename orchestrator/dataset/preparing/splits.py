"""The seeded order of rows and their splits, the same on every machine and in every Python.

The order of rows is that of a hash of seed and row, not that of a random generator: it does not
depend on the implementation of one, and adding a row leaves the others in their order.

Without strata and groups the splits are cuts of that order. Rows that belong together (duplicates
and near-duplicates) go into one split as a whole, the largest groups first, each to where its first
row stands, if there is room; the other rows fill what is left.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from orchestrator.dataset.rules import SplitName
from orchestrator.errors import InputError
from orchestrator.spec_data import SplitBlock

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
#: The number of what is in no split, after those of the splits: rows beyond the numbers wanted.
LEFT_OUT = len(SPLITS)

#: Rows that belong together, by the first of them; every row in at most one group.
Groups = Mapping[int, tuple[int, ...]]


def row_key(seed: int, number: int, line: bytes) -> bytes:
    """The place of a row in the seeded order; `number` counts the equal rows before it."""
    return hashlib.sha256(b"%d\0%d\0%s" % (seed, number, line)).digest()


def apportioned(rows: int, weights: Sequence[Fraction]) -> list[int]:
    """Whole numbers that add up to `rows`, by weight: largest remainders first, then in order."""
    total = sum(weights)
    exact = [rows * weight / total for weight in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (counts[i] - exact[i], i))
    for index in by_remainder[: rows - sum(counts)]:
        counts[index] += 1
    return counts


def split_counts(rows: int, ratios: Sequence[float]) -> list[int]:
    """How many of `rows` each split gets."""
    # As decimals, the way people wrote them: in binary 50 × 0.07 is more than 3.5.
    return apportioned(rows, [Fraction(str(ratio)) for ratio in ratios])


def wanted_rows(rows: int, split: SplitBlock, *, limited: bool) -> list[int]:
    """How many of `rows` go into each split, and last how many into none.

    Numbers of rows count as shares where a `--limit` made the rows fewer. Raises `InputError` if
    there are too few.
    """
    parts = (split.train, split.validation, split.test)
    if not split.counts or (limited and sum(parts) > rows):
        return [*split_counts(rows, parts), 0]
    counts = [int(part) for part in parts]
    if sum(counts) > rows:
        names = ", ".join(
            f"{count} for {name}" for name, count in zip(SPLITS, counts, strict=True) if count
        )
        raise InputError(
            f"data.split wants {sum(counts)} rows ({names}), and there are {rows}",
            hint="Give smaller numbers or shares in the spec, or more rows.",
        )
    return [*counts, rows - sum(counts)]


def assign(wanted: Sequence[int], groups: Groups, strata: array[int] | None = None) -> bytearray:
    """The number of the split of each row, in the seeded order.

    `wanted` is how many rows each split gets; `strata` has the number of each row's stratum, and
    then each split gets its share of every stratum, give or take two rows, in the totals wanted.
    A group goes whole into one split, and counts for the stratum of its first row.
    """
    into = bytearray(sum(wanted))
    if strata is None:
        _fill(range(len(into)), list(wanted), groups, into)
        return into
    weights = [Fraction(count) for count in wanted]
    given = [0] * len(wanted)
    so_far = 0
    # Small strata first: what rounding does to them is made good in the larger ones.
    for rows in sorted(_by_stratum(strata, groups), key=len):
        so_far += len(rows)
        due = apportioned(so_far, weights)
        want = [a - b for a, b in zip(due, given, strict=True)]
        taken = _fill(rows, want, groups, into)
        given = [a + b for a, b in zip(given, taken, strict=True)]
    return into


def _by_stratum(strata: array[int], groups: Groups) -> list[array[int]]:
    """The rows of each stratum in the seeded order, groups where their first row is."""
    moved = {row: strata[first] for first, rows in groups.items() for row in rows}
    found: dict[int, array[int]] = {}
    for row, own in enumerate(strata):
        found.setdefault(moved.get(row, own), array("Q")).append(row)
    return [found[number] for number in sorted(found)]


def _fill(rows: Sequence[int], wanted: Sequence[int], groups: Groups, into: bytearray) -> list[int]:
    """Write the split of each of these rows; gives the numbers of rows that each split got."""
    wanted = _reachable(len(rows), wanted)
    room = list(wanted)
    placed: set[int] = set()
    for size, first, natural in _grouped(rows, wanted, groups):
        # Where it fits nowhere, it overfills what has most room: it must not be torn apart.
        target = natural if room[natural] >= size else room.index(max(room))
        for row in groups[first]:
            into[row] = target
        placed.update(groups[first])
        room[target] -= size
    room = _reachable(len(rows) - len(placed), room)
    taken = list(room)
    for row in placed:
        taken[into[row]] += 1
    target = 0
    for row in rows:
        if row in placed:
            continue
        while not room[target]:
            target += 1
        into[row] = target
        room[target] -= 1
    return taken


def _reachable(rows: int, wanted: Sequence[int]) -> list[int]:
    """Numbers that add up to `rows` and are not below 0, as near to those wanted as can be."""
    if min(wanted) >= 0:
        return list(wanted)
    return apportioned(rows, [Fraction(max(count, 0)) for count in wanted])


def _grouped(
    rows: Sequence[int], wanted: Sequence[int], groups: Groups
) -> list[tuple[int, int, int]]:
    """Size, first row and natural split of each group that begins in these rows, largest first."""
    if not groups:
        return []
    ends = [sum(wanted[: index + 1]) for index in range(len(wanted))]
    found = [
        (len(groups[row]), row, next(n for n, end in enumerate(ends) if position < end))
        for position, row in enumerate(rows)
        if row in groups
    ]
    return sorted(found, key=lambda group: (-group[0], group[1]))


def joined(pairs: Iterable[Sequence[int]]) -> dict[int, tuple[int, ...]]:
    """Groups of rows that are connected, directly or through others, by their first row."""
    above: dict[int, int] = {}

    def root(row: int) -> int:
        while above.setdefault(row, row) != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    for rows in pairs:
        for row in rows[1:]:
            one, other = root(rows[0]), root(row)
            above[max(one, other)] = min(one, other)
    found: dict[int, list[int]] = {}
    for row in sorted(above):
        found.setdefault(root(row), []).append(row)
    return {first: tuple(rows) for first, rows in found.items() if len(rows) > 1}
