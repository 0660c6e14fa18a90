"""Pictures: the same shapes as SVG and as PNG, with text that cannot be obeyed."""

from __future__ import annotations

import io
import sys
import xml.etree.ElementTree as ET

import pytest

from orchestrator.errors import InputError
from orchestrator.report.axes import axis, interval_text, mark_text, number_text
from orchestrator.report.picture_png import ascii_text, dashed, picture_png
from orchestrator.report.picture_svg import picture_svg
from orchestrator.report.pictures import Box, Dot, Line, Picture, Words, shortened

EVIL = """</title></svg><script>alert(1)</script>" onload="x'\x1b[2J\u202e"""
PICTURE = Picture(
    EVIL,
    EVIL,
    100.0,
    50.0,
    (
        Box(10, 10, 40, 20, "first", EVIL),
        Line(((10.0, 40.0), (90.0, 40.0)), "second"),
        Dot(80, 20, 4, "third", EVIL),
        Words(5, 48, EVIL, "strong"),
    ),
)


def test_the_svg_is_well_formed_and_says_what_it_shows() -> None:
    text = picture_svg(PICTURE, "plot1", kind="narrow")
    root = ET.fromstring(text)  # noqa: S314 (ours)
    assert {element.tag for element in root.iter()} == {
        *("svg", "title", "desc", "rect", "polyline", "circle", "text")
    }
    assert root.get("aria-labelledby") == "plot1-t plot1-d"
    assert [e.get("id") for e in root if e.get("id")] == ["plot1-t", "plot1-d"]
    assert "<script" not in text
    assert set("\x1b\u202e") & set(text) == set()
    assert not any(name.startswith("on") for e in root.iter() for name in e.attrib)


def test_the_png_shows_the_shapes_where_they_are() -> None:
    from PIL import Image

    data = picture_png(PICTURE)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    assert image.size == (200, 100)
    assert image.getpixel((60, 40)) == (0x2F, 0x6F, 0xB3)
    assert image.getpixel((160, 40)) == (0x1A, 0x7F, 0x4B)
    assert image.getpixel((190, 10)) == (255, 255, 255)
    row = [image.getpixel((x, 80)) == (255, 255, 255) for x in range(20, 180)]
    assert row.count(True) > 20  # the gaps of a dashed line
    assert row.count(False) > 60
    assert data == picture_png(PICTURE)


def test_without_pillow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match="need Pillow") as caught:
        picture_png(PICTURE)
    assert "pip install" in caught.value.hint


def test_dashes_and_gaps_add_up_to_the_line() -> None:
    pieces = dashed([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], [6.0, 2.0])
    assert pieces == [
        [(0.0, 0.0), (6.0, 0.0)],
        [(8.0, 0.0), (10.0, 0.0), (10.0, 4.0)],
        [(10.0, 6.0), (10.0, 10.0)],
    ]
    assert dashed([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], [6.0, 6.0]) == [
        [(0.0, 0.0), (6.0, 0.0)],
        [(10.0, 2.0), (10.0, 8.0)],
    ]


def test_letters_that_the_font_lacks_are_not_left_out_unseen() -> None:
    assert ascii_text("Zürich – café × 中文") == "Zurich - cafe x ??"


def test_long_names_are_cut() -> None:
    assert shortened("math-first", 200) == "math-first"
    assert shortened("m" * 100, 100) == "m" * 11 + "..."


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0.0, 2.13, (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)),
        (0.0, 2e-4, (0.0, 5e-5, 1e-4, 1.5e-4, 2e-4)),
        (-3.0, 7.0, (-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0)),
        (5.0, 5.0, (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)),
    ],
)
def test_axes_end_on_round_numbers(low: float, high: float, marks: tuple[float, ...]) -> None:
    found = axis(low, high, 0.0, 100.0)
    assert found.marks == pytest.approx(marks)
    assert found.low <= low <= high <= found.high
    assert (found.at(found.low), found.at(found.high)) == (0.0, 100.0)
    assert found.at(found.high + 1) == 100.0


def test_an_axis_may_lead_upwards() -> None:
    assert axis(0.0, 1.0, 150.0, 50.0).at(0.5) == 100.0


def test_numbers_are_short_and_say_when_there_are_none() -> None:
    assert [mark_text(v) for v in (0.0, 0.25, 1000.0, 2e-4, 2.5e-5)] == [
        *("0", "0.25", "1,000", "2e-4", "2.5e-5")
    ]
    assert [number_text(v) for v in (None, 0.5, 12345.6, 1e-7)] == ["–", "0.500", "12,346", "1e-07"]
    assert interval_text(0.875, 0.739, 0.945) == "0.875 [0.739, 0.945]"
    assert interval_text(0.875, None, None) == "0.875"
