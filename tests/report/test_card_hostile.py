"""Texts of people, data and models on a model card: they show, and they do nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from orchestrator.evaluation.evidence import Alarm, Evidence, GateVerdict
from orchestrator.report.card import model_card
from orchestrator.report.card_facts import card_facts
from orchestrator.report.card_plots import card_plots
from orchestrator.report.card_text import Mask, code, escaped
from orchestrator.sandbox.hub.cards import check_card
from tests.plans import router_plan
from tests.report.card_runs import VERTEX, CardRun, full_evidence, make_run

ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt; &#60;b&#62;",
    "<!-- gone",
    "![x](plots/loss.png)",
    "[a](javascript:alert(1))",
    "[a][b] [b]: x",
    "[^1] [^1]: x",
    "<https://evil.example>",
    "see www.evil.example/x and https://evil.example/x",
    "| a | b |\n| --- | --- |",
    "a\\|b\\\\|c",
    "`code` ``two`` ```three```",
    "x`](y)",
    "\n---\nlicense: mit\n---\n",
    "\n# A heading\n\n- a list",
    "a\n===",
    "***all*** __of__ ~~it~~ _x_ *y*",
    "$$x$$ $x$ \\(x\\)",
    "{{ 7 * 7 }} {% x %} ${x}",
    "'\"]]>: # no comment",
    "!!python/object/apply:os.system [x]",
    "\u202eright to left\u2066 \u2028 \x00 \x1b[31m \x85 \ufeff \ud800",
    "*", "-", "1.", "#", ">", "|", "`", "~", "null", "true", "2024-01-01", "0x10", "[]", "{}",
)  # fmt: skip
LETTERS = "|`*_[](){}<>!#&\\\n\r\t~$:;'\"-=+@%./^ aA0é漢😀\u202e\u2028\x00\x1b\x85\ufeff"
NOTHING = Mask()
hostile = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(st.sampled_from(LETTERS), max_size=30),
    st.text(max_size=30),
    st.builds("".join, st.lists(st.sampled_from(ATTACKS), min_size=2, max_size=3)),
).filter(lambda text: NOTHING(text) != "")
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
#: What Markdown of a card may act as, inside a line; everything else is only shown.
FILES = ("plots/conditions.png", "plots/loss.png")
HARMLESS = {"text", "code_inline", "strong_open", "strong_close", "text_special", "softbreak"}
LINKS = {
    "https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct",
    (
        "https://cloud.google.com/vertex-ai/generative-ai/docs/model-garden/"
        "deploy-models-with-custom-weights"
    ),
}


class Seen:
    """A card as a reader of Markdown sees it, without its metadata."""

    def __init__(self, card: str) -> None:
        _, _, body = card.partition("\n---\n")
        tokens = READER.parse(body)
        self.card = card
        self.blocks = [token.type for token in tokens]
        self.inline = [inner for token in tokens for inner in token.children or ()]
        #: The marks of cells in every line: one too many would move what stands in a row.
        self.pipes = [line.count("|") for line in body.splitlines() if line.startswith("|")]

    def count(self, kind: str) -> int:
        return sum(token.type == kind for token in self.inline)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CardRun:
    folder = tmp_path_factory.mktemp("vertex")
    return make_run(folder, router_plan(folder).plan, VERTEX)


def everywhere(run: CardRun, text: str) -> CardRun:
    """The run with a text in every field that somebody else fills."""
    stand_in = {"name": text, "for": text, "note": text}
    run = run.with_event("adapter_checked", {"kind": "adapter", "rank": 16, "stand_in": stand_in})
    publish = run.facts.run.plan.spec.publish
    assert publish is not None
    run = run.with_plan(spec={"publish": publish.model_copy(update={"tags": (text, f"a {text}")})})
    run = run.with_gates([{"metric": text, "min": 0.5}]).evaluated(spoilt(text))
    scores = [{"key": text, "score": 3, "note": text}]
    return (
        run.with_event("gates_overridden", {"reason": text, "by": "Mara Musterfrau"})
        .with_event("audited", {"reviewer": "Mara Musterfrau", "rubric": text, "scores": scores})
        .with_event("judged", {"model": text, "rubric": text, "scores": scores})
    )


@pytest.fixture(scope="module")
def calm(trained: CardRun) -> Seen:
    """The card of the same run with a harmless word in all fields."""
    return Seen(model_card(everywhere(trained, "calm").view, FILES))


def spoilt(text: str) -> Evidence:
    """An evaluation with the text in every field."""
    made = full_evidence()
    tuned, *others = made.conditions
    part = replace(tuned.slices[0], slice=text, of=text)
    spoilt_one = replace(
        tuned,
        note=text,
        slices=(part, replace(part, of=f"{text} too")),
        metrics=(tuned.metrics[0], replace(tuned.metrics[1], name=f"m{text}")),
        causes=tuple(replace(one, cause=text, example=text) for one in tuned.causes),
    )
    odd = replace(others[0], name=text, note=text)
    gate = GateVerdict(f"m{text}", False, text, (text, text), better_than=text, confidence=0.9)
    return replace(
        made,
        scorer=text,
        split=text,
        rows_sha256=text,
        kinds=(*made.kinds, replace(made.kinds[0], name=f"m{text}", meaning=text, better=text)),
        conditions=(spoilt_one, *others, odd),
        comparisons=(*made.comparisons, replace(made.comparisons[0], against=text)),
        gates=(gate,),
        alarms=(Alarm(text, text),),
        failed=(text,),
    )


def plain_metadata(card: str) -> dict[str, Any]:
    found: dict[str, Any] = ModelCard(card).data.to_dict()  # type: ignore[no-untyped-call]  # theirs
    return {key: value for key, value in found.items() if key not in ("tags", "model-index")}


@settings(max_examples=60)
@example("[a](javascript:alert(1))")
@example("\n---\nlicense: mit\n---\n")
@example("a\\|b\\\\|c")
@given(text=hostile)
def test_a_card_keeps_its_structure_whatever_the_texts_are(
    trained: CardRun, calm: Seen, text: str
) -> None:
    seen, expected = Seen(model_card(everywhere(trained, text).view, FILES)), calm
    seen.card.encode("utf-8")
    assert "<" not in seen.card
    assert seen.blocks == expected.blocks
    for token in seen.inline:
        if token.type == "link_open":
            assert token.attrs["href"] in LINKS
        elif token.type == "image":
            assert token.attrs["src"] in FILES
            assert {one.type for one in token.children or ()} <= {"text", "text_special"}
        else:
            assert token.type in HARMLESS | {"link_close"}
    for kind in ("strong_open", "link_open", "image"):
        assert seen.count(kind) == expected.count(kind)
    assert seen.pipes == expected.pipes


@settings(max_examples=60)
@example("\n---\nlicense: mit\n---\n")
@example("!!python/object/apply:os.system [x]")
@given(text=hostile)
def test_the_metadata_are_read_whatever_the_texts_are(
    trained: CardRun, calm: Seen, text: str
) -> None:
    card = model_card(everywhere(trained, text).view)
    assert plain_metadata(card) == plain_metadata(calm.card)
    tags = ModelCard(card).data.get("tags")
    assert all(isinstance(tag, str) and tag.strip() == tag != "" for tag in tags)
    assert check_card(card) == ([], [])


@given(text=hostile)
def test_an_escaped_text_is_shown_letter_for_letter(text: str) -> None:
    masked = NOTHING(text)
    found = READER.parseInline(f"x {escaped(masked)} x")[0].children or []
    assert {token.type for token in found} <= {"text", "text_special"}
    assert "".join(token.content for token in found) == f"x {masked} x"
    shown = READER.parseInline(f"x {code(masked)} x")[0].children or []
    assert "".join(token.content for token in shown) == f"x {masked} x"


def test_files_of_pictures_have_plain_names_whatever_slices_are_called(trained: CardRun) -> None:
    for text in ATTACKS:
        card = card_facts(everywhere(trained, text).view)
        for plot in card_plots(card.view.metrics, card.evaluation):
            assert re.fullmatch(r"plots/[a-z0-9-]{1,60}\.png", plot.file_name)
