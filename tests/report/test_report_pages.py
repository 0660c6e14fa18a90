"""The pages: everything that is known is shown, nothing is obeyed, and nothing is asked for."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from orchestrator.evaluation.evidence import Alarm
from orchestrator.report.evaluated import UnreadableEvaluation, evaluation_of
from orchestrator.report.report_page import INDEX, report_pages
from orchestrator.report.run_report import RunReport
from orchestrator.services.base import AttemptState
from tests.report.runs import METRIC, Runs, evidence, outcomes, training

EVIL = """</pre></style><script>alert(1)</script>" onload="x'<img src=http://x.invalid/a>\x1b[2J\u202e"""
_VOID = {"meta", "link", "br", "img", "input", "hr"}


class Read(HTMLParser):
    """What a page holds, as a browser would read it; fails where tags are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.shown = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "style" not in self._open:
            self.shown += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def pages(runs: Runs, *reports: RunReport) -> dict[str, str]:
    return report_pages(reports, made_at=runs.clock.now())


@pytest.fixture
def evaluated(runs: Runs) -> RunReport:
    """A run with everything: evaluation, answers, an override, an audit and a judge."""
    run = runs.evaluated(evil=EVIL)
    scores = [{"key": "a", "score": 5}, {"key": "b", "score": 3, "note": EVIL}]
    runs.event(run, "audited", {"reviewer": EVIL, "scores": scores, "rubric": "rubric-1"})
    judged = [{"key": "a", "score": 4}, {"key": "b", "score": None}]
    runs.event(run, "judged", {"model": "some/judge", "scores": judged, "rubric": "rubric-1"})
    runs.event(run, "gates_overridden", {"by": "Ann", "reason": EVIL})
    return runs.report(run)


def test_a_page_shows_all_that_an_evaluation_left(runs: Runs, evaluated: RunReport) -> None:
    text = Read(pages(runs, evaluated)[evaluated.page]).shown
    for part in (
        *("Its gates were overridden", "(said Ann)", "alike:", "half of the answers are one"),
        *("at least 0.7", "archetype: four-step", "failed", "passed"),
        *("some/judge", "rubric-1", "4.00", "expected tools that were named"),
        *("tool missing: /math", "Gained: ", "Lost: ", "Still wrong: ", "What was asked"),
        *("Weak classes", "Rule: ", "JOB_STATE_SUCCEEDED", "12 m 34 s"),
        *("+0.375", "0.001", "120", "This page holds texts of rows"),
    ):
        assert part in text, part


def test_text_from_outside_is_escaped_wherever_it_stands(runs: Runs, evaluated: RunReport) -> None:
    for page in pages(runs, evaluated).values():
        read = Read(page)
        assert {tag for tag, _ in read.tags} & {
            "script",
            "img",
            "link",
            "iframe",
            "object",
        } == set()
        assert "<script" not in page
        assert set("\x1b\u202e") & set(page) == set()
    assert pages(runs, evaluated)[evaluated.page].count("&lt;script&gt;alert(1)") >= 5


def test_a_megabyte_of_text_stands_on_a_page_once_and_cut(runs: Runs) -> None:
    run = runs.add()
    huge = "x" * 1_000_000
    runs.tune(run, AttemptState.FAILED, error=huge)
    found = evidence(outcomes(), alarms=(Alarm("alike", huge),), scorer=huge, split=huge)
    runs.event(run, "evaluated", found.to_json())
    page = pages(runs, runs.report(run))[f"{run.id}.html"]
    assert len(page) < 100_000
    assert "… (998,000 more characters)" in page


def test_names_of_slices_causes_conditions_and_alarms_are_escaped_too(runs: Runs) -> None:
    found = evidence(outcomes()).to_json()

    def spoilt(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: spoilt(one, key) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [spoilt(one, name) for one in value]
        # Names that other parts refer to stay the same everywhere, but are evil.
        return f"{value}{EVIL}" if isinstance(value, str) and name != "better" else value

    run = runs.add()
    runs.tune(run, points=training(), error=EVIL)
    spoilt_json = spoilt(found)
    for condition in spoilt_json["conditions"]:
        condition["name"] = condition["name"].removesuffix(EVIL)
    runs.event(run, "evaluated", spoilt_json)
    report = runs.report(run)
    assert report.slices
    for page in pages(runs, report).values():
        Read(page)
        assert "<script" not in page
        assert "http://x.invalid/a>" not in page
        assert set("\x1b\u202e") & set(page) == set()


def test_the_pages_ask_for_nothing_and_say_so_to_the_browser(
    runs: Runs, evaluated: RunReport
) -> None:
    for page in pages(runs, evaluated).values():
        read = Read(page)
        for _, attributes in read.tags:
            assert not {"src", "srcset", "action", "style"} & attributes.keys()
            assert not any(name.startswith("on") for name in attributes)
        for link in read.all("a"):
            assert re.fullmatch(r"#[a-z]+|[\w.-]+\.html", link["href"] or "")
        assert "url(" not in page
        assert "@import" not in page
        (policy,) = (a["content"] for a in read.all("meta") if a.get("http-equiv"))
        style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert policy == (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        )


def test_every_plot_has_a_name_a_description_and_its_table(
    runs: Runs, evaluated: RunReport
) -> None:
    page = pages(runs, evaluated)[evaluated.page]
    read = Read(page)
    named = {attributes["id"] for _, attributes in read.tags if attributes.get("id")}
    pictures = read.all("svg")
    plots = len(evaluated.curves) + len(evaluated.slices) + 1
    assert len(pictures) == 2 * plots  # one for a desktop, one for a phone
    for picture in pictures:
        assert picture["role"] == "img"
        assert set((picture["aria-labelledby"] or "").split()) <= named
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    assert len(figures) == plots
    for figure in figures:
        assert figure.count("<table>") == 1
        assert figure.count("<tr>") >= 2


def test_names_are_used_once_and_links_lead_somewhere(runs: Runs, evaluated: RunReport) -> None:
    made = pages(runs, evaluated)
    for page in made.values():
        read = Read(page)
        named = [attributes["id"] for _, attributes in read.tags if attributes.get("id")]
        assert len(named) == len(set(named))
        for link in read.all("a"):
            target = link["href"] or ""
            assert target.removeprefix("#") in named if target[0] == "#" else target in made


def test_headings_come_in_order_and_the_language_is_said(runs: Runs, evaluated: RunReport) -> None:
    for page in pages(runs, evaluated).values():
        read = Read(page)
        levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert read.all("html")[0]["lang"] == "en"
        assert page.startswith("<!doctype html>")


def test_what_scrolls_can_be_reached_with_the_keyboard_and_has_a_name(
    runs: Runs, evaluated: RunReport
) -> None:
    read = Read(pages(runs, evaluated)[evaluated.page])
    scrolling = [a for a in read.all("div") if a.get("class") == "wide"]
    assert scrolling
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolling)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def themes(page: str) -> Iterator[dict[str, str]]:
    """The colours in light and in dark."""
    found = re.findall(r"(@media \(prefers-color-scheme: dark\) \{\s*)?:root \{([^}]*)\}", page)
    light: dict[str, str] = {}
    dark: dict[str, str] = {}
    for is_dark, body in found:
        (dark if is_dark else light).update(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", body))
    assert light.keys() == dark.keys()
    yield light
    yield dark


def test_text_and_series_stand_out_in_light_and_in_dark(runs: Runs, evaluated: RunReport) -> None:
    for theme in themes(pages(runs, evaluated)[INDEX]):
        for name in ("text", "faint", "error", "good", "first"):
            assert contrast(theme[name], theme["ground"]) >= 4.5, name
        for name in ("text", "faint"):
            assert contrast(theme[name], theme["raised"]) >= 4.5, name
        for name in ("first", "second", "third", "fourth"):
            assert contrast(theme[name], theme["ground"]) >= 3, name
        assert contrast(theme["added-text"], theme["added"]) >= 4.5
        assert contrast(theme["removed-text"], theme["removed"]) >= 4.5


def test_a_run_of_which_nothing_is_known_yet_has_its_page(runs: Runs) -> None:
    report = runs.report(runs.add())
    text = Read(pages(runs, report)[report.page]).shown
    for part in ("PLANNED", "not evaluated yet", "No job was launched yet", "in the ledger yet"):
        assert part in text


def test_a_run_that_goes_on_and_one_that_failed_have_their_pages(runs: Runs) -> None:
    going, failed = runs.add(), runs.add()
    runs.tune(going, AttemptState.RUNNING, points=training(9))
    runs.tune(failed, AttemptState.FAILED, error="CUDA <b>out</b> of memory")
    reports = [runs.report(run) for run in (going, failed)]
    made = pages(runs, *reports)
    first, second = (Read(made[report.page]) for report in reports)
    assert first.all("svg")
    assert "RUNNING" in first.shown
    assert "CUDA <b>out</b> of memory" in second.shown
    assert second.all("b") == []
    index = Read(made[INDEX]).shown
    assert "FAILED" in index
    assert "2 runs" in index


def test_an_evaluation_without_answers_at_hand_says_so(runs: Runs) -> None:
    run = runs.add()
    runs.tune(run)
    runs.event(run, "evaluated", evidence(outcomes()).to_json())
    report = runs.report(run)
    text = Read(pages(runs, report)[report.page]).shown
    assert "The answers are not on this machine" in text
    assert "holds texts of rows" not in text
    assert "tool missing: /math" in text


def test_without_examples_asked_for_none_are_shown(runs: Runs) -> None:
    report = runs.report(runs.evaluated(), examples=0)
    assert [len(group.examples) for group in report.examples] == [0, 0, 0]
    assert "Gained: " in pages(runs, report)[report.page]


def test_an_evaluation_without_gates_says_so(runs: Runs) -> None:
    report = runs.report(runs.evaluated(gates=(), failed=()))
    assert report.gates == "none set"
    assert "No gates were set." in pages(runs, report)[report.page]


@pytest.mark.parametrize("broken", [{}, {"conditions": 3}, {"scorer": "x", "conditions": [{}]}])
def test_an_evaluation_of_another_release_is_told_in_its_place(
    runs: Runs, broken: dict[str, Any]
) -> None:
    run = runs.add()
    runs.event(run, "evaluated", broken)
    with pytest.raises(UnreadableEvaluation):
        evaluation_of(runs.facts(run))
    report = runs.report(run)
    assert "cannot be read here" in Read(pages(runs, report)[report.page]).shown


def test_the_main_metric_is_the_scorers_first_and_stands_in_the_list(runs: Runs) -> None:
    kinds = evidence(outcomes()).kinds
    unmeasured = type(kinds[0])("bleu", "not measured here", "higher")
    report = runs.report(runs.evaluated(kinds=(unmeasured, kinds[1], kinds[0])))
    assert report.main is not None
    assert report.main.name == "tool_recall"
    assert {plot.metric for plot in report.slices} == {METRIC}  # gated; recall has no slices
    assert f"{report.main.value:.3f} [" in pages(runs, report)[INDEX]


def test_only_the_audits_of_the_newest_evaluation_count(runs: Runs) -> None:
    run = runs.evaluated()
    for score in (1, 2):
        runs.event(run, "audited", {"reviewer": "Ann", "scores": [{"key": "k", "score": score}]})
    report = runs.report(run)
    assert [(audit.who, audit.mean) for audit in report.audits] == [("Ann", 2.0)]
    runs.event(run, "evaluated", evidence(outcomes()).to_json())
    assert runs.report(run).audits == ()


def test_the_same_runs_give_the_same_pages(runs: Runs, evaluated: RunReport) -> None:
    assert pages(runs, evaluated) == pages(runs, evaluated)
