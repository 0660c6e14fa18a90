"""Checks the rows of a spec: what is wrong with them, and with the files that they become."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from orchestrator.dataset.checks.service import KIND as SERVICE
from orchestrator.dataset.checks.service import (
    SplitSize,
    near_a_limit,
    sizes_table,
    split_groups,
)
from orchestrator.dataset.report import Finding, Group, Level, Report
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.dataset.running.engine import check_files
from orchestrator.errors import InputError
from orchestrator.spec import LoadedSpec

#: Gives the splits as they would be uploaded; raises `InputError` where rows cannot be split.
Sizes = Callable[[], Sequence[SplitSize]]


def inspect(
    loaded: LoadedSpec,
    files: Sequence[RowsFile],
    rules: Rules,
    kinds: Collection[str],
    *,
    sizes: Sizes | None = None,
    large: bool = False,
    workers: int | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Report:
    """The report on all rows, by these kinds of checks.

    `sizes` is asked only where the rows are sound, stand in files that are still to be split,
    and the kind `service` is wanted. It prepares the rows, which takes many times as long as the
    quick kinds: `large` asks it only where the shares do not tell what the service would say.
    """
    report = check_files(files, rules, kinds, workers=workers, on_bytes=on_bytes)
    split_already = any(file.split is not None for file in files)
    if SERVICE not in kinds or sizes is None or split_already or _unsound(report):
        return report
    try:
        found = _by_shares(report.rows, files, rules) if large else []
        if not found or near_a_limit(found, rules.service):
            found = sizes()
    except InputError as error:
        place = error.where or loaded.place("data", "split")
        finding = Finding(SERVICE, Level.ERROR, "no-splits", place, error.message, error.hint)
        return report.extended([Group.of(finding)])
    return report.extended(split_groups(found, rules.service), [sizes_table(found)])


def _by_shares(rows: int, files: Sequence[RowsFile], rules: Rules) -> Sequence[SplitSize]:
    """The rows of each split; the bytes are not known without preparing them."""
    from orchestrator.dataset.preparing.splits import SPLITS, wanted_rows

    subset = rules.data.subset
    kept = rows if subset is None else min(rows, subset.rows)
    wanted = wanted_rows(kept, rules.data.split, limited=False)
    return [
        SplitSize(name, count, None, files[0].name)
        for name, count in zip(SPLITS, wanted, strict=False)
    ]


def _unsound(report: Report) -> bool:
    """Whether rows cannot be prepared at all."""
    return any(
        group.kind == "form" and group.level is Level.ERROR for group in report.groups.values()
    )
