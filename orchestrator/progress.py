"""How long steps say what they are doing, for whoever draws it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

#: Called with the number of bytes moved since the last call; negative when some are moved again.
Moved = Callable[[int], None]


class Reporter(Protocol):
    """Is told of long steps while they run. Its callbacks may come from several threads."""

    def transfer(self, doing: str, size_bytes: int) -> AbstractContextManager[Moved]:
        """Bytes are moved until the context is left; `size_bytes` is how many at most."""
        ...

    def waiting(self, waiting_for: str) -> AbstractContextManager[None]:
        """Nothing is moved until the context is left, but time passes."""
        ...

    def unbroken(self, waiting_for: str) -> AbstractContextManager[None]:
        """An interruption inside should wait for the end: its cost is an answer that is lost."""
        ...


class Silent:
    """A reporter that draws nothing."""

    def transfer(self, doing: str, size_bytes: int) -> AbstractContextManager[Moved]:  # noqa: ARG002
        return nullcontext(_ignore)

    def waiting(self, waiting_for: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def unbroken(self, waiting_for: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()


def _ignore(size_bytes: int) -> None:
    """Nobody looks."""


SILENT = Silent()
