"""Which rows are longer than the model is trained on, and what of them is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.checks.length_conclusions import conclusions, length_figures
from orchestrator.dataset.checks.length_tallies import Code, LengthTallies, Located
from orchestrator.dataset.example import Example
from orchestrator.dataset.report import Figure, Finding, Group
from orchestrator.dataset.rules import Rules
from orchestrator.dataset.tokens.base import TokenCount

if TYPE_CHECKING:
    from orchestrator.dataset.tokens.row_counter import RowCounter


class LengthCheck(Check):
    """Counts the tokens of prompts and answers, and holds them against every limit there is.

    What is said of a row names the smallest limit, which only all rows together tell: so nothing is
    found before the end.
    """

    kind = "length"

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._counter: RowCounter | None = None
        self.tallies = LengthTallies()

    def __getstate__(self) -> dict[str, Any]:
        # The counter holds a tokenizer, which is too large to travel between processes.
        return self.__dict__ | {"_counter": None}

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """Count; nothing is found before the end."""
        counter = self._make_counter()
        for example, count in zip(examples, counter.try_count(examples), strict=True):
            if isinstance(count, str):
                row = Located(example.file, example.line, None, count)
                self.tallies.add("not-counted", row)
                continue
            self._add(example, count)
            if counter.plain_chats and not isinstance(example.prompt, str):
                self.tallies.add("no-template", Located(example.file, example.line, count))
        return ()

    def _make_counter(self) -> RowCounter:
        if self._counter is None:
            from orchestrator.dataset.tokens.counting import make_counter

            self._counter = make_counter(self._rules.tokens, self._rules.service)
            self.tallies.basis = self._counter.basis
            self.tallies.fewer, self.tallies.more = self._counter.fewer, self._counter.more
        return self._counter

    def _add(self, example: Example, count: TokenCount) -> None:
        tallies, limit = self.tallies, self._rules.max_length
        file, line, total = example.file, example.line, count.total
        tallies.prompts.add(count.prompt, file, line)
        tallies.answers.add(count.answer, file, line)
        tallies.rows.add(total, file, line)
        if limit is None or total <= limit or self._rules.too_long != "drop":
            tallies.kept.add(total, file, line)
        if example.split == "test":
            return
        tallies.trained.add(total, file, line)
        if limit is not None and total * (1 + tallies.more) > limit:
            tallies.add(self._loss(count, limit), Located(file, line, count))

    def _loss(self, count: TokenCount, limit: int) -> Code:
        """What a row that is, or may be, over the limit loses."""
        estimated = self.tallies.estimated
        if estimated and count.total * (1 - self.tallies.fewer) <= limit:
            return "perhaps-too-long"
        if count.prompt >= limit:
            return "answer-lost"
        if not estimated and count.total - limit <= count.end:
            return "end-of-turn-cut"
        return "answer-cut"

    def shift(self, lines: int) -> None:
        """Move what was kept of single rows."""
        self.tallies.shift(lines)

    def merge(self, later: Self) -> None:
        """Add the counts of the later rows."""
        self.tallies.merge(later.tallies)

    def conclude(self) -> Iterable[Group]:
        """Rows that lose something, the smallest limits, and how it was counted."""
        return conclusions(self.tallies, self._rules)

    def figures(self) -> Iterable[Figure]:
        """Histograms of prompts, answers and rows with every limit, and the numbers behind them."""
        return length_figures(self.tallies, self._rules)
