"""Which answers people look at: drawn by a seed, in proportion to what there is. Pure.

Rows are drawn from each group in proportion to its size (largest remainder), so that the plain mean
of their scores stands for all rows. Within a group the digest of seed and key decides: neither the
order of files nor the library's generator can change a sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from orchestrator.evaluation.scores import MetricKind, RowScores

#: A group of rows: whether the answer is right, and the slice it belongs to.
Group = tuple[str, str]


def groups(kind: MetricKind, rows: Sequence[RowScores]) -> dict[str, Group]:
    """The group of every row: right or wrong by the main metric, and its slice.

    Of several ways to slice it is the first by name that tells any rows apart.
    """
    values: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.slices.items():
            values.setdefault(name, set()).add(value)
    name = next((one for one in sorted(values) if len(values[one]) > 1), "")
    return {row.key: (_verdict(kind, row), row.slices.get(name, "")) for row in rows}


def is_right(kind: MetricKind, row: RowScores) -> bool | None:
    """Whether a row has all that the metric asks for; None where it says nothing about it."""
    parts = kind.parts_of(row)
    if parts is None:
        return None
    return kind.value_of([parts]) == (1.0 if kind.higher_is_better else 0.0)


def _verdict(kind: MetricKind, row: RowScores) -> str:
    right = is_right(kind, row)
    return "unknown" if right is None else "right" if right else "wrong"


def draw(by_key: Mapping[str, Group], count: int, *, seed: int) -> tuple[str, ...]:
    """`count` keys, or all if there are fewer, in an order that shows no groups."""
    members: dict[Group, list[str]] = {}
    for key, group in by_key.items():
        members.setdefault(group, []).append(key)
    found: list[str] = []
    for group, share in _shares(members, min(count, len(by_key)), seed).items():
        found += sorted(members[group], key=lambda key: _rank(seed, key))[:share]
    return tuple(sorted(found, key=lambda key: _rank(seed, f"order {key}")))


def _shares(members: Mapping[Group, Sequence[str]], count: int, seed: int) -> dict[Group, int]:
    """How many of each group are drawn: in proportion, what is left to the largest remainders."""
    every = sum(map(len, members.values()))
    shares = {group: count * len(keys) // every for group, keys in members.items()}
    rest = sorted(
        members,
        key=lambda group: (-(count * len(members[group]) % every), _rank(seed, repr(group))),
    )
    for group in rest[: count - sum(shares.values())]:
        shares[group] += 1
    return shares


def _rank(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest()
