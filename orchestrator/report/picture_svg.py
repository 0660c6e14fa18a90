"""Pictures as inline SVG: classes for the page's style sheet, which knows light and dark."""

from __future__ import annotations

from html import escape

from orchestrator.report.pages import shown_line
from orchestrator.report.pictures import Box, Dot, Line, Picture, Shape, Words


def picture_svg(picture: Picture, identity: str, *, kind: str = "") -> str:
    """The `svg` element. `identity` is unique in the page; `kind` is a further class of it."""
    name = escape(identity)
    classes = f"picture {escape(kind)}".strip()
    lines = [
        (
            f'<svg class="{classes}" viewBox="0 0 {_n(picture.width)} {_n(picture.height)}" '
            f'role="img" aria-labelledby="{name}-t {name}-d">'
        ),
        f'<title id="{name}-t">{_text(picture.title)}</title>',
        f'<desc id="{name}-d">{_text(picture.description)}</desc>',
        *map(_shape, picture.shapes),
        "</svg>",
    ]
    return "\n".join(lines)


def _shape(shape: Shape) -> str:
    match shape:
        case Box():
            place = f'x="{_n(shape.x)}" y="{_n(shape.y)}"'
            size = f'width="{_n(shape.width)}" height="{_n(shape.height)}"'
            return f'<rect class="fill-{shape.role}" {place} {size}>{_says(shape.says)}</rect>'
        case Line():
            points = " ".join(f"{_n(x)},{_n(y)}" for x, y in shape.points)
            return f'<polyline class="line-{shape.role}" points="{points}"></polyline>'
        case Dot():
            place = f'cx="{_n(shape.x)}" cy="{_n(shape.y)}" r="{_n(shape.radius)}"'
            return f'<circle class="fill-{shape.role}" {place}>{_says(shape.says)}</circle>'
        case Words():
            place = f'x="{_n(shape.x)}" y="{_n(shape.y)}" text-anchor="{shape.anchor}"'
            return f'<text class="{shape.role}" {place}>{_text(shape.text)}</text>'


def _says(text: str) -> str:
    return f"<title>{_text(text)}</title>" if text else ""


def _text(text: str) -> str:
    return escape(shown_line(text))


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
