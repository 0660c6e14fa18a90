"""What the exact counter and the estimate have in common: both count what a template rendered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from orchestrator.dataset.example import Example
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.dataset.tokens.rendering import Rendered, as_sent, render_example
from orchestrator.dataset.tokens.templates import ChatTemplate, TemplateRefusal


class RenderedRow(NamedTuple):
    """A rendered row; `is_text` says that it is a pair of texts, which no template rendered."""

    texts: Rendered
    is_text: bool


class RowCounter(ABC):
    """Counts the tokens of examples as their service gets them; a `TokenCounter`.

    A row may have `fewer` tokens than counted, or `more` (0.2: a fifth); both are 0 if it is exact.
    """

    exact: ClassVar[bool]
    fewer: float
    more: float
    basis: str

    def __init__(self, template: ChatTemplate | None, service: str) -> None:
        self._template = template
        self._service = service

    @property
    def plain_chats(self) -> bool:
        """Whether there is no template, so that chats are counted as plain lines."""
        return self._template is None

    def count(self, examples: Sequence[Example]) -> list[TokenCount]:
        """The counts of examples, in their order. Raises `TemplateRefusal`."""
        return self.count_rendered([self._rendered(example) for example in examples])

    def try_count(self, examples: Sequence[Example]) -> list[TokenCount | str]:
        """As `count`, with the template's words in place of the rows that it refuses."""
        rendered: list[RenderedRow] = []
        counts: list[TokenCount | str] = []
        for example in examples:
            try:
                rendered.append(self._rendered(example))
            except TemplateRefusal as refusal:
                counts.append(str(refusal))
            else:
                counts.append("")
        found = iter(self.count_rendered(rendered))
        return [refusal or next(found) for refusal in counts]

    @abstractmethod
    def count_rendered(self, rows: Sequence[RenderedRow]) -> list[TokenCount]:
        """The counts of rendered rows, in their order."""

    def _rendered(self, example: Example) -> RenderedRow:
        sent = as_sent(example, self._service)
        return RenderedRow(render_example(sent, self._template), isinstance(sent.prompt, str))
