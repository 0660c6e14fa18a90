"""Cuts files of rows into parts that are checked apart, and checks one part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.checks.kinds import make_check
from orchestrator.dataset.example import Example
from orchestrator.dataset.formats.conversion import Converter
from orchestrator.dataset.reading.jsonl import read_lines
from orchestrator.dataset.reading.opening import kind_of, read_rows
from orchestrator.dataset.reading.rows import Row, bounded_lines, skip_line
from orchestrator.dataset.reading.sources import Compression, Source, reading
from orchestrator.dataset.report import Finding, Level, Report
from orchestrator.dataset.rules import KINDS, RowsFile, Rules
from orchestrator.errors import Place

OnBytes = Callable[[int], None]

#: How many examples a check examines at once, and how many bytes of them at most.
BATCH_ROWS = 256
BATCH_BYTES = 2 << 20
#: The same for kinds that look at one row after another: what fits a core's cache is faster.
QUICK_BATCH_BYTES = 128 << 10
QUICK_KINDS = frozenset({"form", "duplicates"})
#: With the usual 8 KB, lines of some KB are put together from pieces, which takes thrice as long.
_BUFFER_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a file: the bytes from `start` to `end`, or all of them where `end` is None.

    `file` counts the files from 0.
    """

    file: int
    source: RowsFile
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class PartResult:
    """What was found in a part, and the checks, which may conclude more from all of them."""

    part: Part
    report: Report
    checks: tuple[Check, ...]
    size_bytes: int


def cut(files: Sequence[RowsFile], part_bytes: int) -> Iterator[Part]:
    """The parts of all files in order: plain JSONL is cut at line ends, others stay whole."""
    for number, file in enumerate(files):
        if kind_of(file) != (Source.JSONL, Compression.NONE):
            yield Part(number, file)
            continue
        size_bytes = file.path.stat().st_size
        start = 0
        with reading(file.name), file.path.open("rb") as stream:
            while size_bytes - start > part_bytes:
                stream.seek(start + part_bytes)
                skip_line(stream)
                end = min(stream.tell(), size_bytes)
                yield Part(number, file, start, end)
                start = end
        if start < size_bytes or not size_bytes:
            yield Part(number, file, start, size_bytes)


class PartChecker:
    """Checks parts by the same rules; one for each process."""

    def __init__(self, rules: Rules, kinds: Collection[str]) -> None:
        self._rules = rules
        self._kinds = [kind for kind in KINDS if kind in kinds]
        self._converter = Converter(rules)
        quick = QUICK_KINDS.issuperset(self._kinds)
        self._batch_bytes = QUICK_BATCH_BYTES if quick else BATCH_BYTES

    def check(self, part: Part, on_bytes: OnBytes | None = None) -> PartResult:
        """What is in one part."""
        checks = [make_check(kind, self._rules) for kind in self._kinds]
        return _Run(self._converter, checks, self._batch_bytes).over(part, on_bytes)


class _Run:
    """One part on its way through the checks."""

    def __init__(self, converter: Converter, checks: Sequence[Check], batch_bytes: int) -> None:
        self._convert = converter.convert
        self._batch_bytes = batch_bytes
        self._checks = checks
        self._rows = 0
        self._lines = 0
        self._held_bytes = 0

    def over(self, part: Part, on_bytes: OnBytes | None) -> PartResult:
        file, split = part.source.name, part.source.split
        if part.end is None:
            rows = self._streamed(part.source, on_bytes)
        else:
            rows = self._ranged(part, part.end, on_bytes)
        findings = itertools.chain.from_iterable(self._batches(rows, file, split))
        groups = Report.of(0, findings).groups
        report = Report(self._rows, groups, self._lines)
        size_bytes = 0 if part.end is None else part.end - part.start
        return PartResult(part, report, tuple(self._checks), size_bytes)

    def _batches(
        self, rows: Iterable[Row | Finding], file: str, split: str | None
    ) -> Iterator[Sequence[Finding]]:
        """What is wrong with the rows, a batch at a time."""
        convert = self._convert
        findings: list[Finding] = []
        examples: list[Example] = []
        for row in rows:
            self._rows += 1
            found = row if isinstance(row, Finding) else convert(file, row, split)
            if isinstance(found, Finding):
                findings.append(found)
            else:
                examples.append(found)
            if isinstance(row, Row) and row.lost:
                findings.append(_lost(row, file))
            held = len(examples) + len(findings)
            if held >= BATCH_ROWS or self._held_bytes >= self._batch_bytes:
                yield self._examined(examples, findings)
                findings, examples, self._held_bytes = [], [], 0
        yield self._examined(examples, findings)

    def _examined(self, examples: Sequence[Example], findings: list[Finding]) -> Sequence[Finding]:
        """What is wrong with a batch, in the order of the lines."""
        if examples:
            for check in self._checks:
                findings.extend(check.examine(examples))
        # Several checks may share a group, which must not depend on where batches end.
        findings.sort(key=_line)
        return findings

    def _ranged(self, part: Part, end: int, on_bytes: OnBytes | None) -> Iterator[Row | Finding]:
        """The rows of a range of a plain JSONL file."""
        name = part.source.name
        with reading(name), part.source.path.open("rb", buffering=_BUFFER_BYTES) as stream:
            stream.seek(part.start)
            lines = self._lines_until(end, part.start, stream, on_bytes)
            yield from read_lines(lines, name, start_of_file=part.start == 0)

    def _lines_until(
        self, end: int, start: int, stream: BinaryIO, on_bytes: OnBytes | None
    ) -> Iterator[bytes]:
        """The lines from here to `end`; fewer if the file became shorter meanwhile."""
        at = told = start
        for line in bounded_lines(stream):
            self._lines += 1
            self._held_bytes += len(line)
            yield line if at + len(line) <= end else line[: end - at]
            at += len(line)
            # A line without its end is the last one, or one of which the rest was skipped.
            if at - told >= _BUFFER_BYTES or at >= end or line[-1:] != b"\n":
                at = min(stream.tell(), end)
                if on_bytes is not None:
                    on_bytes(at - told)
                told = at
                if at >= end:
                    return

    def _streamed(self, source: RowsFile, on_bytes: OnBytes | None) -> Iterator[Row | Finding]:
        """The rows of a whole file of any kind."""
        for row in read_rows(source, on_bytes):
            self._held_bytes += _size_bytes(row)
            yield row


def _lost(row: Row, file: str) -> Finding:
    message = f"the row holds what JSON cannot: {'; '.join(row.lost)}"
    hint = "Leave the column out if nothing reads it, or write it as text."
    return Finding("form", Level.WARNING, "lost-value", Place(file, row.line), message, hint)


def _size_bytes(row: Row | Finding) -> int:
    """About how much memory a row takes: its long texts."""
    if isinstance(row, Finding):
        return 0
    return sum(len(value) for value in row.value.values() if isinstance(value, str | list))


def _line(finding: Finding) -> int:
    place: Place = finding.place
    return place.line or 0
