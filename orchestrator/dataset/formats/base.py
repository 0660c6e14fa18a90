"""What a format is: a schema for its rows, and how a row becomes an example.

A format of your own is a Python file that sets `FORMAT` to an object of a class like these; a spec
names it by its path: `format: ./my_rows.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from orchestrator.dataset.example import Example, Tool
from orchestrator.spec import MappingBlock


class RowError(Exception):
    """A row that follows its schema and still cannot be understood.

    `code` groups findings (e.g. "role-order"), `message` says what is wrong and in which field,
    `hint` what to do.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class FormatContext:
    """What a format may use beside the row: the spec's mapping and tools."""

    mapping: MappingBlock
    tools: tuple[Tool, ...] = ()


class Format(ABC):
    """A kind of rows. Objects hold no state of rows, so that one serves all of them."""

    #: As a spec names it.
    name: ClassVar[str]
    #: The JSON Schema of a row: the name of one that ships, or the schema itself.
    schema: ClassVar[str | dict[str, Any]]
    #: The format's own fields that `data.mapping.columns` may rename.
    columns: ClassVar[Sequence[str]]
    #: What a row looks like, for hints.
    looks: ClassVar[str]
    #: The parts of the mapping that the format honours; others are refused before rows are read.
    mapped: ClassVar[Sequence[str]] = ("system", "developer", "template", "think")

    @abstractmethod
    def example(
        self, file: str, line: int, fields: dict[str, Any], context: FormatContext
    ) -> Example:
        """The example of a row that follows the schema. Raises `RowError`.

        `fields` have the format's own names already: columns were renamed before.
        """
