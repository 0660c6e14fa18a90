"""Near-duplicates: across splits that files give, and how many there are to keep together.

Memory: what `near_duplicates` states for each row, and 30 bytes for its place.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.example import Example, prompt_text, question_text
from orchestrator.dataset.nearness.near_duplicates import NearDuplicates, Pair
from orchestrator.dataset.privacy.detection import redact
from orchestrator.dataset.report import MAX_EXAMPLES, Finding, Group, Level
from orchestrator.dataset.rules import Rules
from orchestrator.errors import Place

_SIDES = (None, "train", "validation", "test")


class LeaksCheck(Check):
    """Finds questions that are nearly the same as another; equal ones are left to duplicates."""

    kind = "leaks"

    def __init__(self, rules: Rules) -> None:
        self._near = NearDuplicates(rules.data.near_duplicates, rules.seed)
        self._files: list[str] = []
        self._file_of = array("I")
        self._lines = array("Q")
        self._sides = array("B")
        self._prompts = array("Q")

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """Keep the questions and their places."""
        for example in examples:
            self._near.add(len(self._lines), question_text(example))
            self._file_of.append(self._number(example.file))
            self._lines.append(example.line)
            self._sides.append(_SIDES.index(example.split) if example.split in _SIDES else 0)
            prompt = prompt_text(example).encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(prompt, digest_size=8).digest()
            self._prompts.append(int.from_bytes(digest, "big"))
        return ()

    def shift(self, lines: int) -> None:
        """Learn that this part starts further down."""
        self._lines = array("Q", (line + lines for line in self._lines))

    def merge(self, later: Self) -> None:
        """Take in the questions of the next part."""
        self._near.merge(later._near, from_index=len(self._lines))
        numbers = [self._number(file) for file in later._files]
        self._file_of.extend(numbers[file] for file in later._file_of)
        self._lines.extend(later._lines)
        self._sides.extend(later._sides)
        self._prompts.extend(later._prompts)

    def conclude(self) -> Iterable[Group]:
        """Pairs across splits, groups, and templates."""
        return [*self._leaks(), *self._groups(), *self._templates()]

    def _leaks(self) -> Iterator[Group]:
        """Rows of validation and test that are nearly known from training."""
        pairs = [
            pair
            for pair in self._near.pairs(self._sides.__getitem__)
            if self._prompts[pair.earlier] != self._prompts[pair.later]
        ]
        leaks = [(-pair.similarity, pair) for pair in pairs if pair.similarity is not None]
        if leaks:
            leaks.sort(key=lambda leak: (leak[0], leak[1].later))
            examples = tuple(self._leak(pair, -alike) for alike, pair in leaks[:MAX_EXAMPLES])
            yield Group("leaks", Level.ERROR, "near-duplicate-leak", len(leaks), examples)
        unsure = [pair for pair in pairs if pair.similarity is None]
        if unsure:
            examples = tuple(map(self._unsure, unsure[:MAX_EXAMPLES]))
            yield Group("leaks", Level.WARNING, "leak-not-ruled-out", len(unsure), examples)
        if any(self._sides) and (count := self._near.not_compared):
            message = f"{count} questions are so alike that not every pair of them was compared."
            hint = "Leaks among them may be missed: look whether most rows are of one template."
            place = Place(self._files[0])
            yield Group.of(
                Finding("leaks", Level.WARNING, "not-all-compared", place, message, hint)
            )

    def _unsure(self, pair: Pair) -> Finding:
        later = _SIDES[self._sides[pair.later]]
        return Finding(
            "leaks",
            Level.WARNING,
            "leak-not-ruled-out",
            self._place(pair.later),
            f"This {later} question is linked to rows of an earlier split by others like it, too "
            f"many to compare all: “{self._excerpt(pair.later)}”.",
            "Look whether most rows are of one template, or split by shares.",
        )

    def _leak(self, pair: Pair, similarity: float) -> Finding:
        earlier, later = _SIDES[self._sides[pair.earlier]], _SIDES[self._sides[pair.later]]
        return Finding(
            "leaks",
            Level.ERROR,
            "near-duplicate-leak",
            self._place(pair.later),
            f"This {later} question is nearly that of {self._place(pair.earlier)} ({earlier}), "
            f"similarity {similarity:.2f}: “{self._excerpt(pair.later)}” and "
            f"“{self._excerpt(pair.earlier)}”.",
            "Remove one of the two, or split by shares: then near-duplicates stay together.",
        )

    def _groups(self) -> Iterator[Group]:
        """Groups with texts that differ; those of equal texts alone are duplicates."""
        groups = [
            group
            for group in self._near.groups()
            if len({self._prompts[index] for index in group}) > 1
        ]
        if not groups:
            return
        rows = sum(map(len, groups))
        largest = sorted(groups, key=lambda group: (-len(group), group))[:MAX_EXAMPLES]
        split_by_files = any(self._sides)
        total = f"{len(groups)} groups of near-duplicates, {rows} rows in all"
        hint = (
            "Within a split they only weigh more; across splits they are errors."
            if split_by_files
            else "Each group goes into one split; `data.near_duplicates` sets the similarity."
        )
        examples = tuple(
            Finding(
                "leaks",
                Level.NOTE,
                "near-duplicates",
                self._place(group[0]),
                f"{len(group)} questions are nearly the same, e.g. “{self._excerpt(group[0])}” and "
                f"“{self._excerpt(self._other(group))}” ({self._place(self._other(group))}). "
                f"({total}.)",
                hint,
            )
            for group in largest
        )
        yield Group("leaks", Level.NOTE, "near-duplicates", len(groups), examples)

    def _other(self, group: Sequence[int]) -> int:
        """A row of the group that is not equal to its first."""
        return next(one for one in group if self._prompts[one] != self._prompts[group[0]])

    def _templates(self) -> Iterator[Group]:
        found = self._near.templates(MAX_EXAMPLES)
        if not found.rows:
            return
        examples = tuple(
            Finding(
                "leaks",
                Level.NOTE,
                "same-template",
                self._place(index),
                f"{rows} questions differ only in their numbers: “{self._excerpt(index)}”. "
                f"({found.rows} questions of {found.templates} such templates in all.)",
                "They do not count as near-duplicates, and may fall into different splits.",
            )
            for index, rows in found.largest
        )
        yield Group("leaks", Level.NOTE, "same-template", found.templates, examples)

    def _number(self, file: str) -> int:
        if file not in self._files:
            self._files.append(file)
        return self._files.index(file)

    def _place(self, index: int) -> Place:
        return Place(self._files[self._file_of[index]], self._lines[index])

    def _excerpt(self, index: int) -> str:
        # Redacted before it is shortened, so that no half of an address is left.
        return self._near.excerpt(index, shown=redact)
