"""Estimates tokens from characters, where the model's tokenizer is not on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.dataset.rules import TokenRules
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.dataset.tokens.row_counter import RenderedRow, RowCounter
from orchestrator.dataset.tokens.templates import ChatTemplate

#: How many fewer and how many more tokens a row is taken to have where nobody measured it. Where it
#: was measured, 95 of 100 rows were less off than this in every data set.
ASSUMED_ERROR = (0.4, 0.6)
#: What looks like a special token in the text of a template (`<end_of_turn>`, `<|im_start|>`).
_MARKER = re.compile(r"<[|/]?[A-Za-z][A-Za-z0-9_|]{1,40}>")


class EstimatingCounter(RowCounter):
    """Characters times the catalog's tokens per character; a template's markers are one each."""

    exact = False

    def __init__(
        self, tokens: TokenRules, template: ChatTemplate | None, service: str = "hf-jobs"
    ) -> None:
        super().__init__(template, service)
        self._rate = tokens.tokens_per_character
        self._markers = sorted(set(_MARKER.findall(template.text if template is not None else "")))
        measured = tokens.estimate_error
        self.fewer, self.more = ASSUMED_ERROR if measured is None else measured
        said = "as measured" if measured is not None else "assumed, for it was not measured"
        self.basis = (
            f"{self._rate:g} tokens per character ({tokens.estimate_source}), "
            f"{self.fewer:.0%} fewer to {self.more:.0%} more in a row {said}"
        )

    def count_rendered(self, rows: Sequence[RenderedRow]) -> list[TokenCount]:
        """The estimates of rendered rows; texts get an end-of-text token."""
        counts = []
        for texts, is_text in rows:
            prompt = self._tokens(texts.prompt)
            answer = max(0, self._tokens(texts.whole) + is_text - prompt)
            counts.append(TokenCount(prompt, answer, min(1, answer)))
        return counts

    def _tokens(self, text: str) -> int:
        markers, characters = 0, len(text)
        for marker in self._markers:
            found = text.count(marker)
            markers += found
            characters -= found * len(marker)
        return markers + round(characters * self._rate)
