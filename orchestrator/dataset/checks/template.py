"""What the chat template makes of a row: whether the calls survive it, and what it drops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.example import Example
from orchestrator.dataset.report import Figure, Finding, Group, Level, Table
from orchestrator.dataset.rules import Rules
from orchestrator.errors import Place

if TYPE_CHECKING:
    from orchestrator.dataset.checks.template_rows import TemplateRows

_KIND = "template"


class TemplateCheck(Check):
    """Renders every row and compares what comes out with what went in."""

    kind = _KIND

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._rows: TemplateRows | None = None
        self._chats = 0
        self._texts = 0
        self._file = ""
        self._trained_characters = 0
        self._fewest: int | None = None
        self._most = 0

    def __getstate__(self) -> dict[str, Any]:
        # A compiled template does not travel between processes; it is compiled again there.
        return self.__dict__ | {"_rows": None}

    def _template_rows(self) -> TemplateRows:
        if self._rows is None:
            from orchestrator.dataset.checks.template_rows import TemplateRows

            self._rows = TemplateRows(self._rules)
        return self._rows

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """What is wrong with the rendered rows."""
        rows = self._template_rows()
        for example in examples:
            self._file = self._file or example.file
            is_text = isinstance(example.prompt, str) or isinstance(example.answer, str)
            self._chats += not is_text
            self._texts += is_text
            examined = rows.examine(example)
            if examined.trained_characters is not None:
                self._count(examined.trained_characters)
            yield from examined.findings

    def _count(self, characters: int) -> None:
        self._trained_characters += characters
        self._fewest = characters if self._fewest is None else min(self._fewest, characters)
        self._most = max(self._most, characters)

    def merge(self, later: Self) -> None:
        """Add the counts of the later rows."""
        self._file = self._file or later._file
        self._chats += later._chats
        self._texts += later._texts
        self._trained_characters += later._trained_characters
        if later._fewest is not None:
            self._fewest = min(
                later._fewest, later._fewest if self._fewest is None else self._fewest
            )
        self._most = max(self._most, later._most)

    def conclude(self) -> Iterable[Group]:
        """Which template renders the chats, and whose it is."""
        template = self._template_rows().template
        place = Place(self._file)
        if self._chats and template is None:
            message = (
                f"no chat template of {self._rules.tokens.model} is at hand: nobody can tell here "
                "what the model is trained on"
            )
            hint = (
                "Give its tokenizer's folder by `tokenizer:` or the template by `chat_template:`, "
                "or install the extra `sandbox`, whose TRL library ships the templates of many "
                "models."
            )
            finding = Finding(_KIND, Level.WARNING, "no-template", place, message, hint)
            yield Group.of(finding, self._chats)
        elif self._chats and template is not None:
            message = (
                f"{_rows(self._chats, 'chat is', 'chats are')} rendered by the template of "
                f"{self._rules.tokens.model}: {template.source}"
            )
            yield Group.of(Finding(_KIND, Level.NOTE, "template-used", place, message))
        if self._texts and self._rules.service == "vertex":
            message = (
                f"prompt and completion of {_rows(self._texts, 'row', 'rows')} are plain texts: "
                "Vertex puts them into the model's template, out of sight of these checks"
            )
            yield Group.of(Finding(_KIND, Level.NOTE, "texts-by-service", place, message))

    def figures(self) -> Iterator[Figure]:
        """How much text of a row is trained on."""
        rows = self._chats + self._texts
        if self._fewest is not None and rows:
            yield Table(
                "text that is trained on, in characters of a row",
                ("fewest", "most", "in all rows"),
                ((self._fewest, self._most, self._trained_characters),),
            )


def _rows(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
