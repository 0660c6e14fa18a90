"""How long rows are: exact counts that add up, with the place of the longest."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from orchestrator.dataset.report import Histogram
from orchestrator.errors import Place

_MOST_BINS = 20


@dataclass(slots=True)
class Lengths:
    """How many rows have how many tokens. Two of them merge into what the whole would have."""

    rows_of: Counter[int] = field(default_factory=Counter)
    most: int = -1
    file: str = ""
    line: int = 0

    def add(self, tokens: int, file: str, line: int) -> None:
        """One more row; of rows of the same length the first one is remembered."""
        self.rows_of[tokens] += 1
        if tokens > self.most:
            self.most, self.file, self.line = tokens, file, line

    def shift(self, lines: int) -> None:
        """Learn that these rows stand further down in their file."""
        self.line += lines

    def merge(self, later: Lengths) -> None:
        """Take in the rows that follow these."""
        self.rows_of.update(later.rows_of)
        if later.most > self.most:
            self.most, self.file, self.line = later.most, later.file, later.line

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.rows_of.total()

    @property
    def tokens(self) -> int:
        """The tokens of all rows together."""
        return sum(tokens * rows for tokens, rows in self.rows_of.items())

    @property
    def longest(self) -> Place:
        """Where the longest row stands."""
        return Place(self.file, self.line)

    def percentile(self, percent: int) -> int:
        """The least length that this share of the rows does not exceed (nearest rank)."""
        rank = max(1, math.ceil(self.rows * percent / 100))
        for tokens in sorted(self.rows_of):
            rank -= self.rows_of[tokens]
            if rank <= 0:
                return tokens
        return 0

    def rows_over(self, limit: int) -> int:
        """How many rows have more tokens than `limit`."""
        return sum(rows for tokens, rows in self.rows_of.items() if tokens > limit)

    def histogram(self, name: str, marks: tuple[tuple[str, int], ...] = ()) -> Histogram:
        """The rows in at most 20 bins of a round width, empty ones between included."""
        if not self.rows_of:
            return Histogram(name, "tokens", (), marks)
        least, width = min(self.rows_of), _round_width(min(self.rows_of), self.most)
        counts: Counter[int] = Counter()
        for tokens, rows in self.rows_of.items():
            counts[tokens // width] += rows
        bins = range(least // width, self.most // width + 1)
        return Histogram(
            name,
            "tokens",
            tuple((bin_ * width, (bin_ + 1) * width - 1, counts[bin_]) for bin_ in bins),
            marks,
        )


def _round_width(least: int, most: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, … with which at most 20 bins reach from least to most."""
    power = 1
    while True:
        for step in (1, 2, 5):
            width = step * power
            if most // width - least // width < _MOST_BINS:
                return width
        power *= 10
