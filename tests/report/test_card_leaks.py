"""Nothing that is private gets onto a model card, or into the pictures beside it."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.evaluation.evidence import Alarm, CauseCount, Evidence, GateVerdict
from orchestrator.ledger import Artifact
from orchestrator.report.card import card_files, model_card
from orchestrator.report.card_facts import card_facts
from orchestrator.report.card_plots import card_plots
from orchestrator.report.card_text import Mask
from orchestrator.report.pictures import Words
from orchestrator.services.base import Handle
from orchestrator.spec_evaluation import EvaluationBlock
from tests.plans import jobs_plan, router_plan
from tests.report.card_runs import JOBS, VERTEX, CardRun, full_evidence, make_run

ROW = "Wie storniere ich die Bestellung 7781 von Frau Kowalczyk?"
ANSWER = "umbuchung-kowalczyk-storno"
#: Names that only the facts of the run tell; in no form that would give them away.
OF_THE_RUN = {
    "project": "acme-tuning-4711",
    "bucket": "acme-rows-eu",
    "payer": "acme-payer",
    "row repo": "orchestrator-staging",
    "candidates": "router-candidates",
    "job": "55667788",
    "endpoint": "inference.acme.example",
    "rows file": "kunden-export.jsonl",
}
#: People, who are named where they decided or reviewed, and in what they write.
PEOPLE = {"account": "mmusterfrau", "reviewer": "Anneliese Beispiel"}
#: What is private in any text, with the words of it that must not be seen.
IN_ANY_TEXT = {
    "mail": "mara.musterfrau@acme-gmbh.de",
    "user at a host": "dplusr@build7",
    "phone": "+49 151 23456789",
    "number of a project": "482910573621",
    "home": "/home/mmuster/runs/42",
    "home of a mac": "/Users/mmuster/rows.jsonl",
    "home for short": "~/rows/all.jsonl",
    "drive": r"C:\Users\mmuster\rows.jsonl",
    "share": r"\\fileserver\rows",
    "bucket": "gs://somebodys-rows/tuning/x",
    "job": "https://huggingface.co/jobs/acme/68f0c1d2e3",
    "resource": "projects/acme/locations/us-central1/tuningJobs/1",
    "address": "10.20.30.40:8080",
    "host": "gpu-7.cluster.internal",
    "this host": "localhost:8001",
    "hub token": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567",
    "cloud key": "AKIA" + "Q3EGRUWPLNHX7VDT",
    "code token": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
}


def texts() -> list[str]:
    return [*IN_ANY_TEXT.values(), *OF_THE_RUN.values()]


def seen_in(shown: str) -> list[str]:
    """What of all this stands in a text, whole or in its telling parts."""
    parts = {part for text in texts() for part in (text, *text.split("@")[:1]) if len(part) > 4}
    names = {*PEOPLE.values(), "Anneliese", "Beispiel"}
    return sorted(one for one in parts | names | {ROW, ANSWER, "Kowalczyk"} if one in shown)


def planted(run: CardRun) -> CardRun:
    """The run with all of it in every fact that could hold it."""
    every = " ".join(f"({text})" for text in texts())
    tune = run.facts.tune
    assert tune is not None
    snapshot = tune.snapshot
    assert snapshot is not None
    told = replace(
        snapshot, error=f"{ROW} {every}", raw_state=every, stats={"row": ROW, "x": every}
    )
    attempt = replace(
        tune,
        token="orc-token-of-the-attempt",
        handle=Handle("vertex", f"projects/482910573621/tuningJobs/{OF_THE_RUN['job']}"),
        snapshot=told,
    )
    artifacts = tuple(
        Artifact(one.kind, one.name, f"gs://{OF_THE_RUN['bucket']}/{ROW}", 1, one.sha256)
        for one in run.facts.artifacts
    )
    facts = replace(run.facts, attempts=(attempt,), artifacts=artifacts)
    facts = replace(facts, run=replace(facts.run, data_folder=f"/home/mmuster/{ROW}"))
    run = replace(run, facts=facts)
    spec = run.facts.run.plan.spec
    assert spec.publish is not None
    evaluation = EvaluationBlock(
        scorer="route-plan",
        service="endpoint",
        url=f"https://{OF_THE_RUN['endpoint']}/v1",
        model="router",
    )
    run = run.with_plan(
        spec={
            "publish": spec.publish.model_copy(update={"tags": (every, *texts())}),
            "data": spec.data.model_copy(update={"path": f"/data/{OF_THE_RUN['rows file']}"}),
            "evaluation": evaluation,
        },
        warnings=(f"{ROW} {every}",),
        refusals=(f"{ROW} {every}",),
        errors=(f"{ROW} {every}",),
    )
    note = {"key": ROW, "score": 2, "note": f"{ROW} {ANSWER} {every}"}
    who, by = PEOPLE["reviewer"], PEOPLE["account"]
    people: list[tuple[str, dict[str, Any]]] = [
        ("collected", {"source": f"gs://{OF_THE_RUN['bucket']}/x", "ignored": [every, ROW]}),
        ("audit_sampled", {"seed": 1, "condition": "tuned", "keys": [ROW]}),
        ("audited", {"reviewer": who, "rubric": every, "scores": [note]}),
        (
            "audited",
            {"reviewer": "mara.musterfrau@acme-gmbh.de", "rubric": "x@1", "scores": [note]},
        ),
        ("judged", {"model": every, "rubric": "x@1", "scores": [note]}),
        ("gates_overridden", {"reason": f"Anneliese, {who}, {by}: {every}", "by": by}),
    ]
    run = run.offered("adapter").with_gates().evaluated(spoilt(every))
    for kind, data in people:
        run = run.with_event(kind, data)
    return run


def spoilt(every: str) -> Evidence:
    made = full_evidence()
    tuned, *others = made.conditions
    parts = tuple(
        replace(tuned.slices[0], slice="tool", of=text, metrics=tuned.slices[0].metrics)
        for text in texts()
    )
    odd = tuple(
        replace(tuned.slices[0], slice=text, of="x", metrics=tuned.slices[0].metrics)
        for text in texts()
    )
    causes = (CauseCount(f"tool not offered: {ANSWER}", 3, ROW), CauseCount(ROW, 3, ROW))
    tuned = replace(tuned, note=every, slices=(*parts, *odd), causes=causes)
    gates = tuple(
        GateVerdict("exact_tool_sequence", False, text, ("tool", text), min=0.5) for text in texts()
    )
    return replace(
        made,
        conditions=(tuned, *(replace(one, note=every, causes=causes) for one in others)),
        gates=gates,
        alarms=tuple(Alarm("alike", text) for text in texts()),
        failed=tuple(texts()),
    )


@pytest.fixture(scope="module", params=["vertex", "hf-jobs"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CardRun:
    """A run of each service, with everything planted."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "vertex":
        target = replace(
            VERTEX, candidates=JOBS.candidates, jobs_namespace=JOBS.project, jobs_rows=JOBS.bucket
        )
        return planted(make_run(folder, router_plan(folder).plan, target))
    # What the run of vertex names is told by this one's target too.
    target = replace(JOBS, jobs_namespace=VERTEX.project, jobs_rows=VERTEX.bucket)
    return planted(make_run(folder, jobs_plan(folder).plan, target))


def test_the_planted_words_are_in_the_facts(run: CardRun) -> None:
    told = f"{run.facts!r}"
    for text in (*texts(), ROW, ANSWER):
        assert text in told or text.replace("\\", "\\\\") in told or repr(text)[1:-1] in told


def test_no_private_word_stands_on_the_card(run: CardRun) -> None:
    card = model_card(run.view, card_files(run.view))
    assert seen_in(card) == []
    assert "although it was held" in card
    assert "by slice" in card


def test_no_private_word_stands_in_the_pictures_or_their_names(run: CardRun) -> None:
    card = card_facts(run.view)
    plots = card_plots(card.view.metrics, card.evaluation)
    assert len(plots) > 3
    for plot in plots:
        words = " ".join(shape.text for shape in plot.picture.shapes if isinstance(shape, Words))
        said = " ".join(getattr(shape, "says", "") for shape in plot.picture.shapes)
        shown = f"{words} {said} {plot.file_name} {plot.title} {plot.alt} {plot.rows}"
        assert seen_in(shown) == []


def test_the_files_of_the_pictures_hold_nothing_but_the_picture(run: CardRun) -> None:
    plots = card_plots(run.view.metrics, card_facts(run.view).evaluation)
    for plot in (plots[0], plots[-1]):  # of each sort one: drawing takes a while
        name, content, kinds = plot.file_name, plot.png(), []
        place = 8
        while place < len(content):
            length = int.from_bytes(content[place : place + 4])
            kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
            assert zlib.crc32(kind + data) == int.from_bytes(
                content[place + 8 + length : place + 12 + length]
            )
            kinds.append(kind)
            place += 12 + length
        assert set(kinds) <= {b"IHDR", b"PLTE", b"IDAT", b"IEND"}, name


@pytest.mark.parametrize("text", IN_ANY_TEXT.values(), ids=IN_ANY_TEXT.keys())
def test_what_is_private_is_masked_between_other_words(text: str) -> None:
    masked = Mask()(f"it was {text} and then (see {text}), says “{text}”")
    assert seen_in(masked) == []
    assert masked.startswith("it was [")
    assert "and then" in masked


@pytest.mark.parametrize(
    "text",
    [
        "tool missing: /math",
        "exact_tool_sequence 0.875 [0.739, 0.945] of 40 rows, at least 0.8 wanted",
        "+0.375 against base over 40 rows (p = 1.9e-05, McNemar)",
        "tool_recall[/general-search] and/or order 3/4",
        "Qwen/Qwen3-32B, meta/llama3_1@llama-3.1-8b-instruct, answer-quality@2 ok",
        "Größe ≥ 5 °C, 東京, naïve: “quoted” – done.",
        "loaded from its private candidate 0123456789ab",
        "token accuracy: 0.9; the end token: yes; 12:30, a::b, secret garden, $5/row",
    ],
)
def test_what_is_not_private_stays(text: str) -> None:
    assert Mask(["acme"])(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
        "wandb_v1_abcdefghijklmnopqrstuv",
        "Bearer abcdef0123456789",
        "password=hunter2",
        "token: 0123abcd4567",
        "AccountKey=abc123==",
        "2001:db8::1",
        "arn:aws:s3:::acme",
        "$HOME/tuning",
        "%USERPROFILE%\\tuning",
    ],
)
def test_keys_and_places_that_only_their_form_gives_away_are_masked(text: str) -> None:
    masked = Mask()(f"because {text} said so")
    assert masked in ("because [SECRET] said so", "because [PLACE] said so")


def test_names_of_the_run_are_masked_as_words_and_public_ones_stay() -> None:
    mask = Mask(["acme", "alice", "ab", "  "], ["alice/router", "alice"])
    assert mask("ACME's acme-rows, acmeology; alice; ab") == (
        "[PRIVATE]'s [PRIVATE]-rows, acmeology; alice; ab"
    )


def test_words_of_the_card_stay_also_where_a_folder_is_called_so(run: CardRun) -> None:
    run = run.with_target(bucket="gs://acme-rows-eu/tuning").evaluated(full_evidence())
    mask = card_facts(run.view).mask
    assert mask("without the tuning, by datasets") == "without the tuning, by datasets"
    assert mask("gs://acme-rows-eu/tuning, acme-rows-eu") == "[PLACE] [PRIVATE]"


def test_a_name_of_a_person_is_masked_in_a_reason_and_no_word_elsewhere(run: CardRun) -> None:
    found = full_evidence()
    tuned, *others = found.conditions
    part = replace(tuned.slices[0], of="square root")
    found = replace(found, conditions=(replace(tuned, slices=(part,)), *others))
    run = run.evaluated(found)
    run = run.with_event("gates_overridden", {"reason": "root says so", "by": "root"})
    card = model_card(run.view)
    assert "| square root |" in card
    assert "given: &#91;PRIVATE&#93; says so" in card


def test_a_tag_with_something_private_is_left_out(run: CardRun) -> None:
    assert "PRIVATE" not in model_card(run.view).split("---")[1]
    assert "EMAIL" not in model_card(run.view).split("---")[1]


def test_long_texts_are_cut_after_they_were_masked() -> None:
    masked = Mask()("word " * 100 + "mara.musterfrau@acme-gmbh.de")
    assert len(masked) <= 400
    assert masked.endswith("…")
    cut = Mask()("x" * 390 + " mara.musterfrau@acme-gmbh.de")
    assert "mara" not in cut
