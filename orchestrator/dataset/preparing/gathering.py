"""The first pass over the rows: reads, converts and examines them, and keeps what may be taken."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.dataset.example import Example
from orchestrator.dataset.preparing.candidates import Candidate, candidate
from orchestrator.dataset.preparing.machinery import Machinery
from orchestrator.dataset.preparing.prepared import DataError
from orchestrator.dataset.preparing.sorting import SortedRecords
from orchestrator.dataset.preparing.splits import SPLITS, row_key
from orchestrator.dataset.preparing.subset import Bound
from orchestrator.dataset.privacy.masking import masked
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.report import Finding, Report
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.dataset.tokens.base import TokenCount

_BATCH_ROWS = 256


@dataclass
class Gathered:
    """What the first pass found; `kept` are the packed candidates by their hash."""

    kept: SortedRecords
    rows: int = 0
    redacted_rows: int = 0
    report: Report = field(default_factory=Report)


def gather(files: Iterable[RowsFile], rules: Rules, parts: Machinery, work: Path) -> Gathered:
    """Read all rows that the spec's subset may take. Raises `DataError` if any is wrong.

    Files that a `head` subset does not reach are never drawn from `files`.
    """
    gatherer = _Gatherer(rules, parts, work)
    names: list[str] = []
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(gatherer.found.kept.close)
        for file in files:
            names.append(file.name)
            gatherer.read(file)
            if gatherer.has_enough:
                break
        found = gatherer.found
        found.report = found.report.extended(parts.conclude())
        if found.report.error_count:
            name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more files"
            raise DataError(name, masked(found.report))
        on_failure.pop_all()
    return found


class _Gatherer:
    def __init__(self, rules: Rules, parts: Machinery, work: Path) -> None:
        self._rules = rules
        self._parts = parts
        self.found = Gathered(SortedRecords(work / "rows"))
        subset = rules.data.subset
        self._head = subset.rows if subset is not None and subset.by == "head" else None
        self._bound = Bound(subset.rows) if subset is not None and self._head is None else None
        self._taken = 0

    @property
    def has_enough(self) -> bool:
        """Whether a `head` subset has all its rows."""
        return self._head is not None and self._taken >= self._head

    def read(self, file: RowsFile) -> None:
        """Read a file, to its end or until there are enough rows."""
        with contextlib.closing(_closable(self._parts.read(file))) as rows:
            while not self.has_enough:
                most = _BATCH_ROWS if self._head is None else self._head - self._taken
                batch = list(itertools.islice(rows, min(most, _BATCH_ROWS)))
                if not batch:
                    return
                self._take(batch, file)

    def _take(self, batch: Sequence[Row | Finding], file: RowsFile) -> None:
        findings: list[Finding] = []
        examples: list[Example] = []
        for row in batch:
            made = row if isinstance(row, Finding) else self._parts.convert(file, row)
            if isinstance(made, Finding):
                findings.append(made)
            else:
                examples.append(made)
        findings += self._parts.examine(examples)
        self.found.rows += len(batch)
        part = Report.of(len(batch), findings)
        self.found.report = self.found.report.merge(part, same_file=False)
        if self.found.report.error_count:
            self._taken += len(batch)  # nothing will be written: only the report goes on
            return
        self._keep(self._masked(examples), file)

    def _masked(self, examples: list[Example]) -> list[Example]:
        if self._parts.redact is None:
            return examples
        redacted = [self._parts.redact(example) for example in examples]
        self.found.redacted_rows += sum(
            one is not other for one, other in zip(redacted, examples, strict=True)
        )
        return redacted

    def _keep(self, examples: Sequence[Example], file: RowsFile) -> None:
        lines = [self._parts.line(example) for example in examples]
        keys = [row_key(self._rules.seed, 0, line) for line in lines]
        places = [
            place
            for place, key in enumerate(keys)
            if self._bound is None or self._bound.admits(key)
        ]
        counts = self._count([examples[place] for place in places])
        split = SPLITS.index(file.split) if file.split else None
        for place, count in zip(places, counts, strict=True):
            kept = candidate(
                examples[place],
                lines[place],
                stratify_by=self._rules.data.split.stratify_by,
                split=split,
                count=count,
                too_long=self._is_dropped(count),
            )
            self._add(keys[place], kept)

    def _add(self, key: bytes, row: Candidate) -> None:
        if not row.too_long:
            self._taken += 1
            if self._bound is not None:
                self._bound.take(key)
        if row.too_long:
            # Only that it was there must be known.
            row = dataclasses.replace(row, line=b"", question="")
        self.found.kept.add(key, row.packed())

    def _count(self, examples: Sequence[Example]) -> Sequence[TokenCount | None]:
        if not self._parts.counter.exact or not examples:
            return [None] * len(examples)
        return self._parts.counter.count(examples)

    def _is_dropped(self, count: TokenCount | None) -> bool:
        limit = self._rules.max_length
        if self._rules.too_long != "drop" or count is None or limit is None:
            return False
        return self._parts.loses_answer(count, limit)


def _closable(rows: Iterator[Row | Finding]) -> Generator[Row | Finding, None, None]:
    """The rows as something that can be closed before its end."""
    yield from rows
