"""Prepares rows: what is taken of them, in which order and split, written as the service reads it.

Two passes: the first reads, converts and examines the rows and puts what may be taken on disk, by
the hash that decides its place; the second writes the splits. In memory is only what finds
near-duplicates, and a few bytes a row. The result depends on the content of the rows, the rules and
the limit, and on nothing else: not on the names or the order of files.
"""

from __future__ import annotations

import contextlib
import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.dataset.preparing.candidates import Candidate
from orchestrator.dataset.preparing.gathering import Gathered, gather
from orchestrator.dataset.preparing.groups import GroupFinder
from orchestrator.dataset.preparing.machinery import Machinery
from orchestrator.dataset.preparing.ordering import SeededOrder
from orchestrator.dataset.preparing.prepared import (
    KeptTogether,
    LeftOut,
    PreparedSplit,
    TooLong,
    file_name,
)
from orchestrator.dataset.preparing.splits import LEFT_OUT, SPLITS, Groups, assign, wanted_rows
from orchestrator.dataset.preparing.tallies import Tally
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.errors import InputError


@dataclass(frozen=True)
class Written:
    """What was written, for the summary."""

    rows: int
    redacted_rows: int | None
    left_out: LeftOut
    kept_together: KeptTogether
    too_long: TooLong
    splits: tuple[PreparedSplit, ...]


def prepare_rows(
    files: Iterable[RowsFile], rules: Rules, parts: Machinery, folder: Path, *, limit: int | None
) -> Written:
    """Write the splits of the rows to `folder`, which is made when it is needed.

    Raises `DataError` for rows that are wrong, `InputError` if too few are left.
    """
    subset = rules.data.subset
    if subset is not None and rules.data.split.files is not None:
        raise InputError(
            "data.subset and data.split.files do not go together: whoever split the rows has "
            "chosen them",
            hint="Leave one of them out.",
        )
    work = folder / ".work"
    found = gather(files, rules, parts, work)
    order = SeededOrder(found.kept, rules.seed, work, subset.rows if subset else None)
    try:
        return _Writing(found, order, rules, parts, work, limit).write(folder)
    finally:
        order.close()
        with contextlib.suppress(OSError):
            work.rmdir()


class _Writing:
    def __init__(
        self,
        found: Gathered,
        order: SeededOrder,
        rules: Rules,
        parts: Machinery,
        work: Path,
        limit: int | None,
    ) -> None:
        self._found = found
        self._order = order
        self._rules = rules
        self._parts = parts
        self._work = work
        self._rows = min(len(order), limit) if limit is not None else len(order)
        self._over = 0
        self._lost = 0

    def write(self, folder: Path) -> Written:
        """Decide on the splits, and write them."""
        into, kept_together = self._decide()
        if not len(self._order) and self._order.too_long:
            raise InputError(
                f"all {self._order.too_long} rows lose their answer at {self._rules.max_length} "
                f"tokens ({self._rules.max_length_source}), and tuning.too_long drops them",
                hint="Give a larger tuning.max_length. See: orchestrator check --only length",
            )
        if not into.count(0):
            raise InputError(
                f"{self._rows} rows leave none for training",
                hint="Give more rows, or a larger share to `train`.",
            )
        tallies = tuple(map(Tally, SPLITS))
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            streams = _Streams(folder, stack)
            for row, number in zip(self._taken(), into, strict=True):
                if number == LEFT_OUT:
                    continue
                tallies[number].add(row)
                self._measure(row)
                streams.open(number).write(row.line)
        return Written(
            rows=self._found.rows,
            redacted_rows=self._found.redacted_rows if self._rules.data.redact else None,
            left_out=self._left_out(into),
            kept_together=kept_together,
            too_long=self._too_long(),
            splits=tuple(tally.facts() for tally in tallies),
        )

    def _taken(self) -> Iterator[Candidate]:
        return itertools.islice(iter(self._order), self._rows)

    def _decide(self) -> tuple[bytearray, KeptTogether]:
        """The split of each row, and what the groups came to."""
        data = self._rules.data
        given = bytearray()
        strata = array("L") if data.split.stratify_by else None
        numbers: dict[str, int] = {}
        finder = GroupFinder(data.near_duplicates, self._rules.seed, self._work)
        try:
            for index, row in enumerate(self._taken()):
                finder.add(index, row)
                if row.split is not None:
                    given.append(row.split)
                if strata is not None:
                    strata.append(numbers.setdefault(row.stratum, len(numbers)))
            groups = finder.groups()
        finally:
            finder.close()
        if data.split.files is not None:
            return given, _kept(groups, given)
        limited = self._rows < len(self._order)
        wanted = wanted_rows(self._rows, data.split, limited=limited)
        return assign(wanted, groups, strata), _kept(groups, None)

    def _left_out(self, into: bytearray) -> LeftOut:
        too_long = self._order.too_long
        return LeftOut(
            too_long=too_long,
            subset=self._found.rows - too_long - len(self._order),
            limit=len(self._order) - self._rows,
            numbers_wanted=into.count(LEFT_OUT),
        )

    def _measure(self, row: Candidate) -> None:
        limit = self._rules.max_length
        if limit is None:
            return
        if row.prompt_tokens is None or row.answer_tokens is None:
            characters = row.prompt_characters + row.answer_characters
            self._over += characters * self._rules.tokens.tokens_per_character > limit
            return
        count = TokenCount(row.prompt_tokens, row.answer_tokens)
        self._over += count.total > limit
        self._lost += self._parts.loses_answer(count, limit)

    def _too_long(self) -> TooLong:
        counter = self._parts.counter
        return TooLong(
            limit=self._rules.max_length,
            limit_source=self._rules.max_length_source,
            exact=counter.exact,
            basis=counter.basis,
            rows=self._over,
            answers_lost=self._lost if counter.exact else None,
        )


class _Streams:
    """The files of the splits, each opened when its first row comes."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._open: dict[int, BinaryIO] = {}

    def open(self, number: int) -> BinaryIO:
        """The file of a split."""
        if number not in self._open:
            file = (self._folder / file_name(SPLITS[number])).open("wb")
            self._open[number] = self._stack.enter_context(file)
        return self._open[number]


def _kept(groups: Groups, given: Sequence[int] | None) -> KeptTogether:
    sizes = [len(rows) for rows in groups.values()]
    torn = [rows for rows in groups.values() if given and len({given[row] for row in rows}) > 1]
    return KeptTogether(
        groups=len(sizes), rows=sum(sizes), largest=max(sizes, default=0), straddling=len(torn)
    )
