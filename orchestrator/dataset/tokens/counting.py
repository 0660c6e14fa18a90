"""Counts the tokens of rows as training sees them.

Like the training script and TRL 1.16: a chat is rendered twice by its template, once with the
answer and once without, and nothing is put around it; texts get what the tokenizer puts around
texts, and the end-of-text token after the answer. The answer begins where the tokens of the two
part, because a token may reach over the end of the prompt.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.dataset.rules import TokenRules
from orchestrator.dataset.tokens.base import TokenCount
from orchestrator.dataset.tokens.estimate import EstimatingCounter
from orchestrator.dataset.tokens.rendering import Rendered
from orchestrator.dataset.tokens.row_counter import RenderedRow, RowCounter
from orchestrator.dataset.tokens.templates import ChatTemplate, find_template
from orchestrator.dataset.tokens.tokenizer import Tokenizer, load_tokenizer

#: Characters whose counts are remembered before all are forgotten: a few tens of megabytes.
_MOST_REMEMBERED_CHARACTERS = 4_000_000
#: The end of a turn is looked for in this many characters.
_LONGEST_END = 200


def make_counter(tokens: TokenRules, service: str = "hf-jobs") -> RowCounter:
    """The counter for a model: exact with its tokenizer, an estimate without.

    It counts the turns that the service gets. Raises `InputError` if the tokenizer or the template
    is broken.
    """
    template = find_template(tokens)
    if tokens.tokenizer is None:
        return EstimatingCounter(tokens, template, service)
    return _exact(load_tokenizer(tokens.tokenizer), tokens.model, template, service)


def loses_answer(count: TokenCount, max_length: int) -> bool:
    """Whether a row of this many tokens loses some of its answer, be it only its end of turn."""
    return count.total > max_length


@functools.lru_cache(maxsize=4)
def _exact(
    tokenizer: Tokenizer, model: str, template: ChatTemplate | None, service: str
) -> ExactCounter:
    return ExactCounter(tokenizer, model, template, service)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row in pieces: those before the piece in which the answer begins, then the others.

    `opening` is what the prompt has of that piece. `around` says whether the tokenizer's own tokens
    go around the text; `end` is the text that only ends the turn.
    """

    before: tuple[str, ...]
    opening: str
    after: tuple[str, ...]
    around: bool
    end: str = ""


class ExactCounter(RowCounter):
    """Counts with the model's own tokenizer. What many rows share is counted once."""

    exact = True
    fewer = more = 0.0

    def __init__(
        self,
        tokenizer: Tokenizer,
        model: str,
        template: ChatTemplate | None,
        service: str = "hf-jobs",
    ) -> None:
        super().__init__(template, service)
        self._tokenizer = tokenizer
        self._borders = tokenizer.borders(template.text if template is not None else "")
        self._turn_end = self._borders.turn_end
        self._counts: dict[str, int] = {}
        self._characters = 0
        self.basis = f"the tokenizer of {model}"

    def count_rendered(self, rows: Sequence[RenderedRow]) -> list[TokenCount]:
        """The counts of rendered rows, in their order."""
        cut = [self._text(texts) if is_text else self._chat(texts) for texts, is_text in rows]
        ids = self._learn(cut)
        return [self._count(row, ids) for row in cut]

    def _text(self, row: Rendered) -> _Row:
        border = self._borders.last_word(row.prompt)
        before = (row.prompt[:border],) if border else ()
        return _Row(before, row.prompt[border:], (row.whole[border:],), around=True)

    def _chat(self, row: Rendered) -> _Row:
        end = ""
        if self._turn_end is not None and (
            found := self._turn_end.search(row.whole, max(0, len(row.whole) - _LONGEST_END))
        ):
            end = found[0]
        special = self._borders.special
        if special is None or not row.whole.startswith(row.prompt):
            return _Row((), row.prompt, (row.whole,), around=False, end=end)
        *before, opening = special.split(row.prompt)
        after = special.split(row.whole[len(row.prompt) - len(opening) :])
        if not after[0].startswith(opening):  # a special token reaches over the prompt's end
            return _Row((), row.prompt, (row.whole,), around=False, end=end)
        return _Row(tuple(before), opening, tuple(after), around=False, end=end)

    def _learn(self, rows: Sequence[_Row]) -> dict[str, list[int]]:
        """Count the pieces that are new; the ids of those in which an answer begins."""
        if self._characters > _MOST_REMEMBERED_CHARACTERS:
            self._counts.clear()
            self._characters = 0
        known = self._counts
        openings = {
            piece
            for row in rows
            if row.around or (row.opening and row.opening != row.after[0])
            for piece in (row.opening, row.after[0])
        }
        new = dict.fromkeys(openings)
        for row in rows:
            for pieces in (row.before, row.after, (row.end,)):
                new.update((piece, None) for piece in pieces if piece not in known)
        encodings = dict(zip(new, self._tokenizer.encode(list(new)), strict=True))
        for piece, encoding in encodings.items():
            if piece not in known:
                known[piece] = len(encoding)
                self._characters += len(piece)
        return {piece: encodings[piece].ids for piece in openings}

    def _count(self, row: _Row, ids: dict[str, list[int]]) -> TokenCount:
        known = self._counts
        before = sum([known[piece] for piece in row.before])
        if row.around:
            return self._count_text(row, before, ids)
        total = before + sum([known[piece] for piece in row.after])
        if not row.opening:
            shared = 0
        elif row.opening == row.after[0]:
            shared = known[row.opening]
        else:
            shared = _shared(ids[row.opening], ids[row.after[0]])
        end = min(known[row.end], total - before - shared) if row.end else 0
        return TokenCount(before + shared, total - before - shared, end)

    def _count_text(self, row: _Row, before: int, ids: dict[str, list[int]]) -> TokenCount:
        tokenizer = self._tokenizer
        prompt = [*ids[row.opening], *tokenizer.after]
        whole = [*ids[row.after[0]], *tokenizer.after]
        if tokenizer.end is not None and (not whole or whole[-1] != tokenizer.end):
            whole.append(tokenizer.end)
        shared = _shared(prompt, whole)
        end = int(len(whole) > shared and whole[-1] == tokenizer.end)
        return TokenCount(len(tokenizer.before) + before + shared, len(whole) - shared, end)


def _shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences have in common from their start on."""
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return index
    return min(len(one), len(other))
