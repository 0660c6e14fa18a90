"""By what people and judge models score answers: one scale, with what each score means.

Scores of different rubrics are never compared: each has an id and a version, and any change of its
words is a new version.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.errors import InputError


@dataclass(frozen=True)
class Anchor:
    """One score and what it means."""

    score: int
    meaning: str


@dataclass(frozen=True)
class Rubric:
    """What is judged, in words for people and models alike; anchors from the lowest score up."""

    id: str
    version: int
    text: str
    anchors: tuple[Anchor, ...]

    @property
    def name(self) -> str:
        """Id and version, as records have it: `answer-quality@1`."""
        return f"{self.id}@{self.version}"

    @property
    def lowest(self) -> int:
        """The lowest score."""
        return self.anchors[0].score

    @property
    def highest(self) -> int:
        """The highest score."""
        return self.anchors[-1].score

    def lines(self) -> tuple[str, ...]:
        """The anchors as lines of text, from the highest down."""
        return tuple(f"{one.score}: {one.meaning}" for one in reversed(self.anchors))


ANSWER_QUALITY = Rubric(
    "answer-quality",
    1,
    "Score how well the answer does what was asked. The reference is one right answer; others may "
    "be as right, in other words or in another order where order does not matter. What the task "
    "demands of the form (JSON, a call of a tool, a number alone) is part of what was asked. "
    "Length, tone and polish do not count by themselves.",
    (
        Anchor(0, "No answer: empty, unreadable, or about something else."),
        Anchor(1, "Wrong: it misses what was asked, or acting on it would do harm."),
        Anchor(2, "Mostly wrong: something in it is right, but it cannot be used."),
        Anchor(3, "Half right: usable after a correction that matters."),
        Anchor(4, "Right but for a small flaw that changes nothing of use."),
        Anchor(5, "Right: as good as the reference, or better."),
    ),
)

RUBRICS: Mapping[str, Rubric] = MappingProxyType({ANSWER_QUALITY.id: ANSWER_QUALITY})


def rubric_named(name: str) -> Rubric:
    """The rubric of an id, with or without its version. Raises `InputError` naming those there are.

    An older version is no longer there: its scores stay, new ones are made by the present words.
    """
    wanted = name.partition("@")[0]
    found = RUBRICS.get(wanted)
    if found is not None and name in (found.id, found.name):
        return found
    close = difflib.get_close_matches(wanted, RUBRICS, n=1)
    hint = f"Did you mean {RUBRICS[close[0]].name}? " if close else ""
    names = ", ".join(one.name for one in RUBRICS.values())
    raise InputError(f"there is no rubric {name!r}", hint=f"{hint}Rubrics: {names}.")
