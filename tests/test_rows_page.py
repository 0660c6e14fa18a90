"""The HTML report: one file that asks for nothing, with every text of a row escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from orchestrator.dataset.report import Finding, Histogram, Level, Report, Table
from orchestrator.errors import Place
from orchestrator.report.histogram_drawing import coarser, draw, nice_ceiling
from orchestrator.report.rows_page import kind_counts, rows_page

EVIL = """</style><script>alert(1)</script>" onload="x'<img src=http://x.invalid/a>"""
HISTOGRAM = Histogram(
    "tokens of a prompt",
    "tokens",
    ((0, 9, 3), (10, 19, 40), (20, 29, 1)),
    (("max_length", 15), ("kv_cache", 512)),
)
TABLE = Table(
    "rows of each tool", ("tool", "rows", "share"), (("ride", 1234, 0.5), (EVIL, 1, None))
)


class Read(HTMLParser):
    """What a page holds, as a browser would read it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "rect"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def close(self) -> None:
        super().close()
        assert self._open == []


def page() -> str:
    findings = [
        Finding("form", Level.ERROR, "row-schema", Place(EVIL, 3), EVIL, EVIL),
        *[Finding("length", Level.NOTE, "long", Place("a", n), "m", "h") for n in range(1, 8)],
    ]
    report = Report.of(44, findings).extended([], [HISTOGRAM, TABLE])
    return rows_page(report, spec=EVIL, data=EVIL, kinds=("form", "length"))


def test_text_of_rows_is_escaped_wherever_it_stands() -> None:
    text = page()
    assert {tag for tag, _ in Read(text).tags} & {"script", "img", "link", "iframe"} == set()
    assert "<script>alert(1)" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 6


def test_what_a_row_would_have_obeyed_is_shown_as_an_escape() -> None:
    evil = "\x1b[2J\x00\u202eback"
    finding = Finding("form", Level.ERROR, "c", Place(evil, 1), evil, evil)
    report = Report.of(1, [finding]).extended([], [Table(evil, (evil,), ((evil,),))])
    text = rows_page(report, spec=evil, data=evil, kinds=("form",))
    assert set("\x1b\x00\u202e") & set(text) == set()
    assert text.count(r"\u001b[2J\u0000\u202eback") == 9


def test_shares_are_shown_in_per_cent() -> None:
    assert "50.0%" in Read(page()).text


def test_the_page_asks_for_nothing_and_says_so_to_the_browser() -> None:
    text = page()
    read = Read(text)
    for _, attributes in read.tags:
        assert not {"src", "href", "srcset", "action", "style", "onload"} & attributes.keys()
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = (a["content"] for t, a in read.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


def test_every_plot_has_its_table_and_its_marks() -> None:
    read = Read(page())
    tags = [tag for tag, _ in read.tags]
    assert tags.count("svg") == tags.count("details") == 1
    for part in ("0–9", "10–19", "20–29", "max_length 15", "kv_cache 512 →", "kv_cache: 512"):
        assert part in read.text
    assert tags.count("rect") == 3


def test_counts_are_exact_though_examples_are_few() -> None:
    read = Read(page())
    assert "and 2 more" in read.text
    assert "1 error," in read.text
    assert "1,234" in read.text


def test_the_same_report_gives_the_same_page() -> None:
    assert page() == page()


def test_it_reads_in_the_dark_and_on_a_phone() -> None:
    text = page()
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 40rem" in text
    assert 'name="viewport"' in text


def test_a_report_without_findings_says_so() -> None:
    text = rows_page(Report(rows=3), spec="s", data="d", kinds=("form",))
    assert "Nothing was found." in text
    assert "<h2>Histograms" not in text


def test_kinds_that_were_not_asked_for_are_listed_only_if_they_found_something() -> None:
    report = Report.of(1, [Finding("form", Level.ERROR, "c", Place("a", 1), "m")])
    counts = kind_counts(report, ("privacy",))
    assert [(c.kind, c.errors, c.warnings) for c in counts] == [
        ("form", 1, 0),
        ("privacy", 0, 0),
    ]


def test_a_mark_stands_at_the_end_of_the_values_that_it_allows() -> None:
    drawing = draw(Histogram("n", "u", ((0, 9, 1), (10, 19, 1)), (("limit", 9),)))
    middle = (drawing.left + drawing.right) / 2
    assert drawing.marks[0].x == pytest.approx(middle)


def test_a_mark_before_or_beyond_all_bins_stands_at_the_edge_and_points_there() -> None:
    drawing = draw(Histogram("n", "u", ((10, 19, 1),), (("low", 2), ("high", 99))))
    assert [(mark.x, mark.text) for mark in drawing.marks] == [
        (drawing.left, "← low 2"),
        (drawing.right, "high 99 →"),
    ]


def test_bars_are_as_high_as_their_rows() -> None:
    drawing = draw(HISTOGRAM)
    low, high, _ = drawing.bars
    assert high.height / low.height == pytest.approx(40 / 3, rel=0.01)
    assert high.y + high.height == pytest.approx(drawing.bottom, abs=0.02)


def test_an_empty_histogram_is_drawn_without_bars() -> None:
    drawing = draw(Histogram("n", "u", (), (("limit", 9),)))
    assert (drawing.bars, drawing.ticks) == ((), ())


def test_coarser_bins_keep_all_rows() -> None:
    bins = [(n, n, n) for n in range(97)]
    fewer = coarser(bins, 10)
    assert len(fewer) == 10
    assert sum(rows for _, _, rows in fewer) == sum(range(97))
    assert [low for low, _, _ in fewer[1:]] == [high + 1 for _, high, _ in fewer[:-1]]


@pytest.mark.parametrize(("value", "ceiling"), [(0, 1), (1, 1), (7, 8), (11, 20), (211, 300)])
def test_axes_end_on_round_numbers(value: int, ceiling: int) -> None:
    assert nice_ceiling(value) == ceiling
