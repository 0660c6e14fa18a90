"""What the check of lengths keeps of all rows: small, picklable, and it adds up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.dataset.lengths import Lengths
from orchestrator.dataset.report import MAX_EXAMPLES
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.errors import Place

#: What a row can be, apart from in order.
Code = Literal[
    "answer-lost", "answer-cut", "end-of-turn-cut", "perhaps-too-long", "not-counted", "no-template"
]


@dataclass(frozen=True, slots=True)
class Located:
    """A row and its tokens; `said` is why they could not be counted."""

    file: str
    line: int
    count: TokenCount | None
    said: str = ""

    @property
    def place(self) -> Place:
        """Where the row stands."""
        return Place(self.file, self.line)


@dataclass(slots=True)
class Tally:
    """The rows of one sort: their exact count and the first few of them."""

    count: int = 0
    first: list[Located] = field(default_factory=list)

    def add(self, row: Located) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < MAX_EXAMPLES:
            self.first.append(row)


@dataclass(slots=True)
class LengthTallies:
    """Lengths of prompts, answers and rows, and the rows that are not in order.

    `trained` are the rows that are trained on: all but those of a file that is kept for tests.
    `kept` are those that stay when rows that are too long are left out, if they are. `basis` says
    how tokens were counted, `fewer` and `more` how far off they may be (0.2: by a fifth).
    """

    prompts: Lengths = field(default_factory=Lengths)
    answers: Lengths = field(default_factory=Lengths)
    rows: Lengths = field(default_factory=Lengths)
    trained: Lengths = field(default_factory=Lengths)
    kept: Lengths = field(default_factory=Lengths)
    of: dict[Code, Tally] = field(default_factory=dict)
    basis: str = ""
    fewer: float = 0.0
    more: float = 0.0

    @property
    def estimated(self) -> bool:
        """Whether tokens were not counted but estimated."""
        return bool(self.fewer or self.more)

    @property
    def smallest_limit(self) -> int:
        """The smallest `max_length` that loses no answer; with an estimate, a safe one."""
        return max(0, math.ceil(self.trained.most * (1 + self.more)))

    def add(self, code: Code, row: Located) -> None:
        """One more row of this sort."""
        self.of.setdefault(code, Tally()).add(row)

    def count_of(self, code: Code) -> int:
        """How many rows of this sort there are."""
        tally = self.of.get(code)
        return tally.count if tally is not None else 0

    def shift(self, lines: int) -> None:
        """Learn that the rows stand further down in their file."""
        for lengths in self._lengths():
            lengths.shift(lines)
        for tally in self.of.values():
            tally.first = [replace(row, line=row.line + lines) for row in tally.first]

    def merge(self, later: LengthTallies) -> None:
        """Take in the rows that follow these."""
        for mine, theirs in zip(self._lengths(), later._lengths(), strict=True):
            mine.merge(theirs)
        for code, tally in later.of.items():
            own = self.of.setdefault(code, Tally())
            own.count += tally.count
            own.first = (own.first + tally.first)[:MAX_EXAMPLES]
        if later.basis:
            self.basis, self.fewer, self.more = later.basis, later.fewer, later.more

    def _lengths(self) -> tuple[Lengths, ...]:
        return (self.prompts, self.answers, self.rows, self.trained, self.kept)
