"""What a kind of check is: it examines batches of examples, and draws its conclusions at the end.

Rows are checked in parts, on all cores. Each part has a check object of its own; the objects of
the parts are then merged in order, and the one that is left concludes. So whatever a check keeps
must be small, picklable and mergeable, and the conclusions must not depend on where parts end.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Sequence
from typing import ClassVar, Self

from orchestrator.dataset.example import Example
from orchestrator.dataset.report import Figure, Finding, Group


class Check(ABC):
    """One kind of check over one part of the rows. The default finds nothing."""

    #: As `--only` and the report name it.
    kind: ClassVar[str]

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:  # noqa: ARG002
        """What is wrong with rows that follow the earlier ones, in the order of their lines."""
        return ()

    def shift(self, lines: int) -> None:  # noqa: B027
        """Learn that this part starts `lines` lines further down in its file."""

    def merge(self, later: Self) -> None:  # noqa: B027
        """Take in the part (shifted, if of the same file) that follows this one."""

    def conclude(self) -> Iterable[Group]:
        """What is wrong with all rows together; called once, after the last merge."""
        return ()

    def figures(self) -> Iterable[Figure]:
        """What is worth seeing of all rows: histograms and tables."""
        return ()
