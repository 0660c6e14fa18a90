"""How sure a share is: Wilson's interval, and the paired comparison of two answers a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: The standard normal quantile between whose signs 95 % lie.
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `rows` rows, with Wilson's 95 % interval; all shares from 0 to 1."""

    right: int
    rows: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.rows or self.rows == 0:
            raise ValueError(f"{self.right} of {self.rows} rows is no share")

    @property
    def value(self) -> float:
        """The share itself."""
        return self.right / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies, 19 times of 20."""
        return wilson(self.right, self.rows)


def share_of(right: Sequence[bool]) -> Share:
    """The share of rows that are right; `ValueError` where there are no rows."""
    return Share(sum(right), len(right))


def wilson(right: int, rows: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval (Wilson 1927, without continuity correction).

    Sound for few rows and for shares of 0 and 1, where the usual interval has no width.
    """
    Share(right, rows)  # refuses what is no share
    share = right / rows
    spread = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    middle = share + z * z / (2 * rows)
    scale = 1 + z * z / rows
    low, high = (middle - spread) / scale, (middle + spread) / scale
    # At the ends the formula is exact but for the last bit of a float.
    return (0.0 if right == 0 else max(0.0, low), 1.0 if right == rows else min(1.0, high))


@dataclass(frozen=True, slots=True)
class Paired:
    """The same rows answered twice: how many became right, became wrong, or stayed as they were."""

    both: int
    gained: int
    lost: int
    neither: int

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: how likely so uneven a change is by chance alone."""
        more, fewer = max(self.gained, self.lost), min(self.gained, self.lost)
        return min(1.0, 2 * sign_test(more, fewer))


def sign_test(good: int, bad: int) -> float:
    """How likely at least `good` of all changes are good where both ways are as likely."""
    tail: int = sum(math.comb(good + bad, count) for count in range(bad + 1))
    # Whole numbers, divided once: 2**changes is beyond a float for thousands of them.
    share: float = tail / 2 ** (good + bad)
    return share


def paired(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Compare two answers to each row; `ValueError` unless both have as many rows."""
    pairs = list(zip(before, after, strict=True))
    return Paired(
        both=sum(old and new for old, new in pairs),
        gained=sum(new and not old for old, new in pairs),
        lost=sum(old and not new for old, new in pairs),
        neither=sum(not old and not new for old, new in pairs),
    )
