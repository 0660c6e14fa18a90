"""What is known of the tokens of an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.dataset.example import Example


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of one example: what the model reads, and what it is trained to answer.

    `answer` counts the end of turn too. Their sum is what `max_length` limits. `end` is how many of
    the answer's tokens only end the turn.
    """

    prompt: int
    answer: int
    end: int = 0

    @property
    def total(self) -> int:
        """The tokens of the whole row."""
        return self.prompt + self.answer


class TokenCounter(Protocol):
    """Counts the tokens of examples, exactly or as an estimate."""

    @property
    def exact(self) -> bool:
        """Whether the model's own tokenizer counts."""

    @property
    def basis(self) -> str:
        """How it counts, for people: "the tokenizer of X" or "0.231 tokens per character (…)"."""

    def count(self, examples: Sequence[Example]) -> list[TokenCount]:
        """The counts of examples, in their order."""
