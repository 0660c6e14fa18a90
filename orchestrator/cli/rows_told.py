"""What is told, in words, of rows that are not simply in a split of their own."""

from __future__ import annotations

from orchestrator.cli.printing import counted
from orchestrator.dataset.preparing.prepared import KeptTogether as PreparedGroups
from orchestrator.dataset.preparing.prepared import LeftOut
from orchestrator.plan import KeptTogether, LeftOutRows


def left_out_text(left: LeftOut | LeftOutRows) -> str:
    """How many rows are in no split, by why; empty if there are none."""
    reasons = [
        (left.too_long, "too long"),
        (left.subset, "outside the subset"),
        (left.limit, "beyond the limit"),
        (left.numbers_wanted, "more than the numbers wanted"),
    ]
    return ", ".join(f"{rows} {why}" for rows, why in reasons if rows)


def duplicates_text(kept: KeptTogether | PreparedGroups) -> str:
    """How many rows are in groups of duplicates; empty if there are none."""
    if not kept.groups:
        return ""
    groups = counted(kept.groups, "group")
    return f"{kept.rows} rows in {groups} of duplicates or near-duplicates, {kept.largest} at most"
