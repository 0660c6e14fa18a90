"""Pictures as shapes: drawn once, then written as SVG for a page and as PNG for a card.

Coordinates count from the top left, in units of the picture; a role says what a shape is, and what
writes the picture gives roles their colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What shapes are. Series are told apart by more than colour: by dashes, or by the text beside.
Role = Literal["axis", "grid", "whisker", "first", "second", "third", "fourth"]
WordsRole = Literal["label", "strong"]
Anchor = Literal["start", "middle", "end"]

#: The roles of series, in the order in which they are given out.
SERIES: tuple[Role, ...] = ("first", "second", "third", "fourth")
#: How long the dashes and gaps of a series' line are; nothing for a line without gaps.
DASHES: dict[Role, tuple[float, ...]] = {
    "second": (6.0, 3.0),
    "third": (2.0, 3.0),
    "fourth": (9.0, 3.0, 2.0, 3.0),
    "grid": (2.0, 4.0),
}
#: The widths in which pages draw: for a desktop, and for a phone.
WIDE, NARROW = 720.0, 340.0
#: The size of the letters, in units of the picture.
LETTERS = 12.0
#: About how wide a letter is, as a share of its size: there is no font here to ask.
LETTER_WIDTH = 0.56


@dataclass(frozen=True)
class Box:
    """A filled rectangle; `says` is what it tells when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    role: Role
    says: str = ""


@dataclass(frozen=True)
class Line:
    """A line through points, with the dashes of its role."""

    points: tuple[tuple[float, float], ...]
    role: Role


@dataclass(frozen=True)
class Dot:
    """A filled circle around a point."""

    x: float
    y: float
    radius: float
    role: Role
    says: str = ""


@dataclass(frozen=True)
class Words:
    """A line of text; `y` is its base line."""

    x: float
    y: float
    text: str
    role: WordsRole = "label"
    anchor: Anchor = "start"


Shape = Box | Line | Dot | Words


@dataclass(frozen=True)
class Picture:
    """Shapes with what they show in words: `title` names it, `description` says what is seen."""

    title: str
    description: str
    width: float
    height: float
    shapes: tuple[Shape, ...]


def shortened(text: str, width: float) -> str:
    """The text, cut so that it about fits into a width."""
    most = max(4, int(width / (LETTERS * LETTER_WIDTH)))
    return text if len(text) <= most else text[: most - 3] + "..."
