"""Pictures as PNG, for places that show no SVG of ours: the model card on the Hub.

Pillow draws them: 22 MB and 0.08 s to import, where matplotlib, contourpy, numpy and the rest are
130 MB and 0.9 s, and would draw every picture a second time in another way. Its built-in font knows
ASCII only; other letters lose their accents or become question marks. The tables beside the
pictures have all names as they are.
"""

from __future__ import annotations

import io
import itertools
import unicodedata
from typing import TYPE_CHECKING

from orchestrator.errors import InputError
from orchestrator.report.pictures import DASHES, LETTERS, Box, Dot, Line, Picture, Role, Words

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

#: Pixels of the file by unit of the picture, and how much finer it is drawn to smooth its edges.
_SCALE = 2
_FINER = 2
_GROUND = "#ffffff"
_COLOURS: dict[Role, str] = {
    "axis": "#59636e",
    "grid": "#d5d9df",
    "whisker": "#1b1f24",
    "first": "#2f6fb3",
    "second": "#b4560f",
    "third": "#1a7f4b",
    "fourth": "#7d8793",
}
_WORDS = {"label": "#4b545e", "strong": "#1b1f24"}
_WIDTHS: dict[Role, float] = {"axis": 1.0, "grid": 1.0, "whisker": 1.2}
_SERIES_WIDTH = 1.8
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
_ASCII = str.maketrans({"–": "-", "—": "-", "×": "x", "→": "->", "−": "-"})  # noqa: RUF001


def picture_png(picture: Picture) -> bytes:
    """The bytes of the file: the same for the same picture and release of Pillow.

    Raises `InputError` where Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise InputError(
            "the plots of the model card need Pillow, which is not installed",
            hint="Install it: pip install pillow",
        ) from error
    fine = _SCALE * _FINER
    size = (round(picture.width * fine), round(picture.height * fine))
    image = Image.new("RGB", size, _GROUND)
    brush = _Brush(ImageDraw.Draw(image), fine)
    for shape in picture.shapes:
        brush.draw(shape)
    buffer = io.BytesIO()
    image.reduce(_FINER).quantize(64).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class _Brush:
    """Draws shapes at a scale."""

    def __init__(self, canvas: ImageDraw.ImageDraw, scale: int) -> None:
        from PIL import ImageFont

        self._canvas = canvas
        self._scale = scale
        self._font: ImageFont.FreeTypeFont | ImageFont.ImageFont
        self._font = ImageFont.load_default(LETTERS * scale)

    def draw(self, shape: Box | Line | Dot | Words) -> None:
        s = self._scale
        match shape:
            case Box():
                if shape.width > 0 and shape.height > 0:
                    low = (shape.x * s, shape.y * s)
                    high = ((shape.x + shape.width) * s, (shape.y + shape.height) * s)
                    self._canvas.rectangle((*low, *high), fill=_COLOURS[shape.role])
            case Dot():
                middle, radius = (shape.x * s, shape.y * s), shape.radius * s
                self._canvas.circle(middle, radius, fill=_COLOURS[shape.role])
            case Words():
                place, anchor = (shape.x * s, shape.y * s), _ANCHORS[shape.anchor]
                text, colour = ascii_text(shape.text), _WORDS[shape.role]
                self._canvas.text(place, text, fill=colour, font=self._font, anchor=anchor)
            case Line():
                self._line(shape)

    def _line(self, line: Line) -> None:
        s = self._scale
        points = [(x * s, y * s) for x, y in line.points]
        width = round(_WIDTHS.get(line.role, _SERIES_WIDTH) * s)
        pattern = [length * s for length in DASHES.get(line.role, ())]
        for part in dashed(points, pattern) if pattern else [points]:
            if len(part) > 1:
                self._canvas.line(part, fill=_COLOURS[line.role], width=width, joint="curve")


def dashed(
    points: list[tuple[float, float]], pattern: list[float]
) -> list[list[tuple[float, float]]]:
    """The pieces of a line that are drawn: lengths of the pattern are in turn a dash and a gap."""
    pieces: list[list[tuple[float, float]]] = [[points[0]]] if points else []
    turn, left = 0, pattern[0]
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        gone = 0.0
        while length - gone > left:
            gone += left
            at = (x1 + (x2 - x1) * gone / length, y1 + (y2 - y1) * gone / length)
            if turn % 2 == 0:
                pieces[-1].append(at)
            else:
                pieces.append([at])
            turn, left = turn + 1, pattern[(turn + 1) % len(pattern)]
        left -= length - gone
        if turn % 2 == 0:
            pieces[-1].append((x2, y2))
    return [piece for piece in pieces if len(piece) > 1]


def ascii_text(text: str) -> str:
    """The text in the letters that the built-in font has."""
    plain = unicodedata.normalize("NFKD", text.translate(_ASCII))
    kept = "".join(char for char in plain if not unicodedata.combining(char))
    return "".join(char if " " <= char <= "~" else "?" for char in kept)
