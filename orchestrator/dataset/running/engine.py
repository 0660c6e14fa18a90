"""Checks whole files of rows: in parts, on all cores, and the parts merged in their order.

The report does not depend on how many processes there are, nor on where parts end.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.formats.conversion import require_columns
from orchestrator.dataset.privacy.masking import masked
from orchestrator.dataset.reading.jsonl import no_rows
from orchestrator.dataset.report import Report
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.dataset.running.parts import (
    QUICK_KINDS,
    OnBytes,
    Part,
    PartChecker,
    PartResult,
    cut,
)
from orchestrator.dataset.running.workers import in_order

#: The size of a part. Small enough to spread over the cores and to be kept in memory.
PART_BYTES = 8 << 20
#: The same for kinds that take far longer over a row.
SLOW_PART_BYTES = 2 << 20
_SLOW_KINDS = frozenset({"length", "template", "leaks", "privacy"})
#: Each process takes some 50 MB: more of them than this cost memory and gain little.
_MOST_WORKERS = 16
#: The same for the quick kinds, of which a few processes read faster than most disks.
_MOST_QUICK_WORKERS = 4


def check_files(
    files: Sequence[RowsFile],
    rules: Rules,
    kinds: Collection[str],
    *,
    workers: int | None = None,
    on_bytes: OnBytes | None = None,
) -> Report:
    """The report on the rows of all files, by these kinds of checks.

    Rows that cannot be read or understood are errors whatever the kinds are. `on_bytes` is told
    how many more bytes of the files were checked. Raises `InputError` for a file that holds no
    rows at all.
    """
    part_bytes = SLOW_PART_BYTES if _SLOW_KINDS & set(kinds) else PART_BYTES
    return check_in_parts(
        files, rules, kinds, workers=workers, part_bytes=part_bytes, on_bytes=on_bytes
    )


def check_in_parts(
    files: Sequence[RowsFile],
    rules: Rules,
    kinds: Collection[str],
    *,
    part_bytes: int,
    workers: int | None = None,
    on_bytes: OnBytes | None = None,
) -> Report:
    """The same, with the size of parts given."""
    require_columns(files, rules)
    parts = cut(files, part_bytes)
    few = list(itertools.islice(parts, 2))
    count = workers or min(_cores(), _most_workers(kinds))
    if count == 1 or len(few) < 2:
        checker = PartChecker(rules, kinds)
        results: Iterable[PartResult] = (
            checker.check(part, on_bytes) for part in itertools.chain(few, parts)
        )
    else:
        prepare = functools.partial(_checker, rules, tuple(kinds))
        told = in_order(itertools.chain(few, parts), prepare, count)
        results = _telling(told, on_bytes)
    return _merged(results)


def _cores() -> int:
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:
        available = os.cpu_count() or 1
    return available


def _most_workers(kinds: Collection[str]) -> int:
    return _MOST_QUICK_WORKERS if QUICK_KINDS.issuperset(kinds) else _MOST_WORKERS


def _checker(rules: Rules, kinds: tuple[str, ...]) -> Callable[[Part], PartResult]:
    return PartChecker(rules, kinds).check


def _telling(results: Iterable[PartResult], on_bytes: OnBytes | None) -> Iterator[PartResult]:
    for result in results:
        if on_bytes is not None:
            part = result.part
            whole = part.end is None
            on_bytes(part.source.path.stat().st_size if whole else result.size_bytes)
        yield result


@dataclass
class _Sum:
    """The parts so far."""

    report: Report
    checks: tuple[Check, ...]

    def take(self, later: PartResult, *, same_file: bool) -> None:
        for mine, new in zip(self.checks, later.checks, strict=True):
            if same_file:
                new.shift(self.report.lines)
            mine.merge(new)
        self.report = self.report.merge(later.report, same_file=same_file)


def _merged(results: Iterable[PartResult]) -> Report:
    total: _Sum | None = None
    for _, parts in itertools.groupby(results, key=lambda result: result.part.file):
        before = total.report.rows if total else 0
        name = ""
        for number, result in enumerate(parts):
            name = result.part.source.name
            if total is None:
                total = _Sum(result.report, result.checks)
            else:
                total.take(result, same_file=number > 0)
        if total is not None and total.report.rows == before:
            raise no_rows(name)
    if total is None:
        return Report()
    groups = [group for check in total.checks for group in check.conclude()]
    figures = [figure for check in total.checks for figure in check.figures()]
    return masked(total.report.extended(groups, figures))
