"""`orchestrator audit`: drawn from a run's answers, recorded without a text, and compared."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit_facts import audit_summary, scores_given
from orchestrator.ledger import Ledger
from orchestrator.report.run_report import run_report
from orchestrator.report.views import view
from orchestrator.services.base import AttemptState
from tests.answering.server import Body, FakeServer, asked_in, said, serving
from tests.auditing.stage import Stage, answers_of, key, prompt, right, rows_of, write


def draw(stage: Stage, run: str, file: Path, *more: str) -> list[dict[str, Any]]:
    assert stage("audit", "sample", run, "--out", file, *more) == 0, stage.err
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def fill(
    file: Path, drawn: list[dict[str, Any]], scores: Mapping[str, int], note: str = ""
) -> Path:
    lines = [{**row, "score": scores.get(row["key"]), "note": note} for row in drawn]
    return write(file, lines)


def scored(stage: Stage, run: str, file: Path, reviewer: str, *more: str) -> int:
    return stage("audit", "record", run, file, "--reviewer", reviewer, *more)


def by_everyone(
    stage: Stage, run: str, folder: Path, *every: Mapping[int, int]
) -> list[dict[str, Any]]:
    """All answers of a run, scored by Ann, Bob, Cid: each a score by the row's number."""
    drawn = draw(stage, run, folder / "s.jsonl", "-n", "20")
    for name, scores in zip(("Ann", "Bob", "Cid"), every, strict=False):
        by_key = {key(row): score for row, score in scores.items()}
        assert scored(stage, run, fill(folder / f"{name}.jsonl", drawn, by_key), name) == 0
    return drawn


# -------------------- drawing


def test_a_sample_shows_what_was_asked_expected_and_said(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated()
    drawn = draw(stage, run, tmp_path / "s.jsonl", "-n", "10")
    assert len(drawn) == 10
    assert "10 answers of 20" in stage.out
    for number, row in enumerate(drawn, 1):
        asked = next(n for n in range(20) if key(n) == row["key"])
        assert (row["row"], row["prompt"], row["expected"]) == (number, prompt(asked), right(asked))
        assert row["predicted"] == ("No idea." if asked in (1, 2, 3, 4) else right(asked))
        assert (row["score"], row["note"]) == (None, "")
    wrong = [row for row in drawn if row["predicted"] == "No idea."]
    assert len(wrong) == 2  # 4 of 20, as in all rows
    assert (tmp_path / "s.jsonl.rubric.txt").is_file()


def test_two_reviewers_get_the_same_answers_and_the_ledger_one_event(
    stage: Stage, tmp_path: Path
) -> None:
    run = stage.evaluated()
    first = draw(stage, run, tmp_path / "a.jsonl", "-n", "5", "--seed", "3")
    assert first == draw(stage, run, tmp_path / "b.jsonl", "-n", "5", "--seed", "3")
    assert first != draw(stage, run, tmp_path / "c.jsonl", "-n", "5", "--seed", "4")
    events = [one for one in stage.facts(run).events if one.kind == "audit_sampled"]
    assert [one.data["seed"] for one in events] == [3, 4]
    assert list(events[0].data["keys"]) == [row["key"] for row in first]
    assert all(one.data["id"].startswith("s") for one in events), "a spreadsheet's number"
    assert events[0].data["condition"] == "tuned"


def test_the_file_is_for_a_spreadsheet_unless_it_is_named_otherwise(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = stage.evaluated()
    assert stage("audit", "sample", run, "-n", "99", "--blind", "--json") == 0
    assert stage.json()["file"] == f"audit-{run}-tuned.csv"
    assert "there are 20 answers, and all of them were taken" in stage.err
    with Path(stage.json()["file"]).open(encoding="utf-8-sig", newline="") as stream:
        header = next(csv.reader(stream))
    assert header == ["row", "prompt", "predicted", "score", "note", "key", "sample"]


def test_answers_that_are_not_here_or_were_changed_are_not_drawn(
    stage: Stage, tmp_path: Path
) -> None:
    run = stage.evaluated()
    out = tmp_path / "s.jsonl"
    assert stage("audit", "sample", run, "--condition", "base", "--out", out) == 2
    assert "has no answers of 'base'" in stage.err
    file = stage.folder(run) / "answers" / "tuned.jsonl"
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert stage("audit", "sample", run, "--out", out) == 2
    assert "were changed" in stage.err
    file.unlink()
    assert stage("audit", "sample", run, "--out", out) == 2
    assert "are not on this machine" in stage.err
    assert not out.exists()
    assert "audit_sampled" not in stage.ledger_text(run)


def test_a_run_that_is_not_evaluated_has_nothing_to_audit(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated()
    stage.event(run, "answers_given", {})
    assert stage("audit", "sample", run, "--out", tmp_path / "s.csv") == 2
    assert f"run {run} is not evaluated" in stage.err


# -------------------- recording


def test_scores_are_recorded_without_a_text_or_a_note(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated()
    drawn = draw(stage, run, tmp_path / "s.jsonl", "-n", "4")
    scores = {row["key"]: number for number, row in enumerate(drawn, 2)}
    filled = fill(tmp_path / "f.jsonl", drawn, scores, note="SECRET of Eve")
    assert scored(stage, run, filled, " Ann  Lee ") == 0, stage.err
    assert "recorded 4 of 4 scores of Ann Lee" in stage.out
    event = stage.facts(run).last("audited")
    assert event is not None
    assert event.data["reviewer"] == "Ann Lee"
    assert event.data["rubric"] == "answer-quality@1"
    assert event.data["scores"] == [{"key": k, "score": s} for k, s in scores.items()]
    text = stage.ledger_text(run)
    assert all(word not in text for word in ("SECRET", "What is", "No idea"))
    kept = "".join(one.read_text("utf-8") for one in (stage.folder(run) / "audits").iterdir())
    assert "SECRET of Eve" in kept


def test_a_part_of_the_answers_may_be_scored_and_the_rest_later(
    stage: Stage, tmp_path: Path
) -> None:
    run = stage.evaluated()
    drawn = draw(stage, run, tmp_path / "s.jsonl", "-n", "4")
    part = {drawn[0]["key"]: 5}
    assert scored(stage, run, fill(tmp_path / "f.jsonl", drawn, part), "Ann") == 0
    assert "recorded 1 of 4" in stage.out
    assert "3 answers have no score yet" in stage.err
    whole = fill(tmp_path / "g.jsonl", drawn, dict.fromkeys((row["key"] for row in drawn), 4))
    assert scored(stage, run, whole, "Ann") == 2
    assert "has scored answers" in stage.err
    assert "--replace" in stage.err
    assert scored(stage, run, whole, "Ann", "--replace", "--json") == 0
    assert (stage.json()["scored"], stage.json()["replaced"]) == (4, True)
    summary = audit_summary(stage.facts(run))
    assert summary is not None
    assert (summary.reviewers, summary.rows, summary.mean) == (1, 4, 4.0)


def test_a_file_of_another_run_or_of_other_answers_is_refused(stage: Stage, tmp_path: Path) -> None:
    run, other = stage.evaluated(), stage.evaluated()
    drawn = draw(stage, run, tmp_path / "s.jsonl", "-n", "4")
    draw(stage, other, tmp_path / "o.jsonl", "-n", "4")
    filled = fill(tmp_path / "f.jsonl", drawn, {drawn[0]["key"]: 5})
    assert scored(stage, other, filled, "Ann") == 2
    assert "is no sample of these answers" in stage.err
    stage.answer(run, tuned=answers_of(range(20)))
    stage.evaluate(run)
    assert scored(stage, run, filled, "Ann") == 2
    assert "no answers of run" in stage.err


def test_an_evaluation_anew_of_the_same_answers_keeps_their_audits(
    stage: Stage, tmp_path: Path
) -> None:
    run = stage.evaluated()
    by_everyone(stage, run, tmp_path, dict.fromkeys(range(20), 4))
    before = audit_summary(stage.facts(run))
    stage.evaluate(run)
    assert before is not None
    assert audit_summary(stage.facts(run)) == before
    stage.answer(run, tuned=answers_of(range(20)))
    stage.evaluate(run)
    assert audit_summary(stage.facts(run)) is None


def test_one_reviewer_is_no_second_one_under_another_spelling(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated()
    drawn = draw(stage, run, tmp_path / "s.jsonl", "-n", "4")
    filled = fill(tmp_path / "f.jsonl", drawn, {drawn[0]["key"]: 5}, note="seen")
    assert scored(stage, run, filled, "Zo\u00eb") == 0
    for other in ("zoe\u0308", "ZO\u00cb", " Zo\u00eb "):
        assert scored(stage, run, filled, other) == 2
        assert "Zo\u00eb has scored answers" in stage.err
    assert scored(stage, run, filled, "ZOE\u0308", "--replace", "--json") == 0
    assert stage.json()["reviewer"] == "Zo\u00eb"
    summary = audit_summary(stage.facts(run))
    assert summary is not None
    assert (summary.reviewers, summary.rows_shared) == (1, 0)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\x1bb", "a\u202eb"])
def test_a_reviewer_has_a_name_that_can_be_shown(stage: Stage, tmp_path: Path, name: str) -> None:
    run = stage.evaluated()
    drawn = draw(stage, run, tmp_path / "s.jsonl", "-n", "4")
    filled = fill(tmp_path / "f.jsonl", drawn, {drawn[0]["key"]: 5})
    assert scored(stage, run, filled, name) == 2
    assert "reviewer's name" in stage.err


def test_nothing_is_recorded_while_another_pass_works_on_the_run(
    stage: Stage, tmp_path: Path
) -> None:
    run = stage.evaluated()
    drawn = draw(stage, run, tmp_path / "s.jsonl", "-n", "4")
    filled = fill(tmp_path / "f.jsonl", drawn, {drawn[0]["key"]: 5})
    # On the clock of the commands.
    ledger = Ledger(f"sqlite:///{stage.home / 'ledger.db'}")
    with ledger.lease(run) as lease:
        assert lease is not None
        code = scored(stage, run, filled, "Ann")
    ledger.close()
    assert (code, "another pass works on run" in stage.err) == (1, True)


def test_an_ended_run_does_not_come_back_into_every_poll(stage: Stage, tmp_path: Path) -> None:
    ended, other = stage.evaluated(state=AttemptState.FAILED), stage.evaluated()
    for run in (ended, other):
        draw(stage, run, tmp_path / f"{run}.jsonl", "-n", "4")
    assert stage.ledger.run_ids(unfinished_only=True) == [other]


# -------------------- what is shown


def test_agreement_is_shown_with_rows_that_are_two_apart(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated()
    ann = {row: 1 if row in (1, 2, 3, 4) else 5 for row in range(20)}
    bob = {**ann, 1: 2, 7: 3}
    drawn = by_everyone(stage, run, tmp_path, ann, bob)
    noted = fill(
        tmp_path / "again.jsonl", drawn, {key(row): score for row, score in bob.items()}, "why so"
    )
    assert scored(stage, run, noted, "Bob", "--replace") == 0
    assert stage("audit", "show", run, "--json") == 0
    found = stage.json()
    assert [one["name"] for one in found["reviewers"]] == ["Ann", "Bob"]
    assert found["reviewers"][0]["counts"] == [0, 4, 0, 0, 0, 16]
    (pair,) = found["pairs"]
    assert (pair["rows"], pair["same"], pair["within_one"]) == (20, 18 / 20, 19 / 20)
    (apart,) = found["disagreements"]
    assert apart == {"key": key(7), "scores": {"Ann": 5, "Bob": 3}, "notes": {"Bob": "why so"}}
    summary = found["summary"]
    assert summary["distribution"] == [0, 7, 1, 1, 0, 31]
    assert (summary["rows"], summary["scores"], summary["disagreements"]) == (20, 40, 1)
    assert summary["mean"] == pytest.approx((7 + 2 + 3 + 31 * 5) / 40)
    assert summary["kappa"] == pytest.approx(pair["kappa"])
    assert 0.8 < summary["alpha"] < 1
    scorer = found["against_scorer"]
    assert (scorer["metric"], scorer["right_rows"], scorer["wrong_rows"]) == ("exact_match", 16, 4)
    assert scorer["wrong_mean"] == pytest.approx(4.5 / 4)
    assert scorer["correlation"] > 0.9
    assert stage("audit", "show", run) == 0
    assert "Ann, Bob" in stage.out
    assert "Krippendorff's alpha (interval)" in stage.out
    assert "why so" in stage.out


def test_the_summary_for_the_card_holds_no_name_no_key_and_no_text(
    stage: Stage, tmp_path: Path
) -> None:
    run = stage.evaluated()
    by_everyone(stage, run, tmp_path, {1: 1, 2: 3}, {1: 1, 2: 5}, {5: 5})
    found = audit_summary(stage.facts(run))
    assert found is not None
    assert (found.reviewers, found.rows, found.rows_shared, found.disagreements) == (3, 3, 2, 1)
    assert (found.same, found.within_one) == (0.5, 0.5)
    text = json.dumps(found.to_json())
    assert all(word not in text for word in ("Ann", "Bob", key(1), "What"))


def test_scores_of_other_answers_and_other_rubrics_are_left_aside(
    stage: Stage, tmp_path: Path
) -> None:
    run = stage.evaluated(tuned=answers_of(range(20)), base=answers_of(range(20), range(20)))
    drawn = draw(stage, run, tmp_path / "base.jsonl", "-n", "4", "--condition", "base")
    lowest = dict.fromkeys((row["key"] for row in drawn), 0)
    assert scored(stage, run, fill(tmp_path / "f.jsonl", drawn, lowest), "Ann") == 0
    assert audit_summary(stage.facts(run)) is None
    base = audit_summary(stage.facts(run), "base")
    assert base is not None
    assert base.mean == 0
    old = {"reviewer": "Old", "rubric": "answer-quality@0", "scores": [{"key": "k", "score": 5}]}
    stage.event(run, "audited", old)
    by_everyone(stage, run, tmp_path, {1: 2})
    found = audit_summary(stage.facts(run))
    assert found is not None
    assert (found.reviewers, found.mean, found.rubric) == (1, 2, "answer-quality@1")
    assert stage("audit", "show", run) == 0
    assert "1 audit by another rubric left aside" in stage.err


def test_card_and_report_count_what_audits_count(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated(tuned=answers_of(range(20)), base=answers_of(range(20), range(20)))
    by_everyone(stage, run, tmp_path, {1: 2}, {1: 3})
    drawn = draw(stage, run, tmp_path / "base.jsonl", "-n", "4", "--condition", "base")
    worst = fill(tmp_path / "f.jsonl", drawn, dict.fromkeys((row["key"] for row in drawn), 0))
    assert scored(stage, run, worst, "Cid") == 0
    stage.evaluate(run)  # anew, of the same answers
    assert [one.data["reviewer"] for one in scores_given(stage.facts(run))] == ["Ann", "Bob"]
    metrics = stage.ledger.metrics(run)
    found = view(stage.facts(run), metrics, stage.clock.now())
    report = run_report(found, metrics, stage.folder(run), examples=0)
    assert [one.who for one in report.audits] == ["Ann", "Bob"]


def test_nothing_to_show_is_said(stage: Stage) -> None:
    run = stage.evaluated()
    assert stage("audit", "show", run) == 0
    assert "nobody has scored answers of tuned yet" in stage.out
    assert audit_summary(stage.facts(run)) is None


def test_events_of_another_release_spoil_nothing(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated()
    for data in ({}, {"scores": [1, {"key": "k"}, {"key": "k", "score": "5"}]}, {"reviewer": 3}):
        stage.event(run, "audited", data)
        stage.event(run, "audit_sampled", data)
        stage.event(run, "judged", data)
    assert stage("audit", "show", run) == 0
    by_everyone(stage, run, tmp_path, {1: 2})
    assert stage("audit", "show", run, "--json") == 0
    assert stage.json()["summary"]["rows"] == 1


# -------------------- a judge model


def verdict(body: Body) -> Body:
    good = "No idea." not in asked_in(body)
    return said(json.dumps({"score": 5 if good else 0, "reason": "SECRET reason"}), body)


def test_a_judge_model_scores_the_answers_that_people_got(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated()
    ann = {row: 1 if row in (1, 2, 3, 4) else 5 for row in range(20)}
    by_everyone(stage, run, tmp_path, ann)
    with serving() as server:
        server.answer = verdict
        arguments = ("audit", "judge", run, "--url", server.base_url, "--model", "router")
        assert stage(*arguments, "-n", "20") == 0, stage.err
        asked = len(server.received)
        assert stage(*arguments, "-n", "20", "--json") == 0
        assert len(server.received) == asked  # what was said is kept
    assert asked >= 20
    assert len(stage.json()["scores"]) == 20
    assert "SECRET" not in stage.ledger_text(run)
    assert stage("audit", "show", run, "--json") == 0
    (judge,) = stage.json()["judges"]
    assert (judge["name"], judge["rows"], judge["counts"]) == ("router", 20, [4, 0, 0, 0, 0, 16])
    (pair,) = stage.json()["pairs"]
    assert (pair["one"], pair["other"], pair["within_one"]) == ("Ann", "judge router", 1.0)
    assert stage.json()["summary"]["reviewers"] == 1


def test_a_judge_that_cannot_be_asked_leaves_no_event(stage: Stage) -> None:
    run = stage.evaluated()
    assert stage("audit", "judge", run, "--url", "http://example.org/v1", "--model", "m") == 2
    assert "not encrypted" in stage.err
    assert "judged" not in stage.ledger_text(run)


def test_rows_are_named_by_their_ids_where_they_have_some(stage: Stage, tmp_path: Path) -> None:
    # Of the last four a spreadsheet would make a number, a date, a date and a number.
    ids = ("=id 3", "b", "007", "1-2", "MAR1", "1e5")
    rows = [{**row, "id": one} for one, row in zip(ids, rows_of(range(6)), strict=True)]
    run = stage.evaluated(range(6), expected=rows)
    file = tmp_path / "s.csv"
    assert stage("audit", "sample", run, "--out", file) == 0
    text = file.read_text(encoding="utf-8-sig")
    assert all(f",'{one},s" in text for one in ids)
    file.write_text(text.replace(",,,", ",5,,"), encoding="utf-8")
    assert scored(stage, run, file, "Ann") == 0, stage.err
    event = stage.facts(run).last("audited")
    assert event is not None
    assert {one["key"] for one in event.data["scores"]} == {*ids}
    # Some give back only what they showed.
    file.write_text(file.read_text(encoding="utf-8").replace(",'", ","), encoding="utf-8")
    assert scored(stage, run, file, "Bob") == 0, stage.err


@pytest.fixture
def server() -> Any:
    with serving() as one:
        yield one


def test_rows_without_a_verdict_are_told(stage: Stage, server: FakeServer) -> None:
    run = stage.evaluated()
    server.answer = lambda body: said("five of five", body)
    arguments = ("--url", server.base_url, "--model", "router", "-n", "3")
    assert stage("audit", "judge", run, *arguments) == 0
    assert "router scored 0 answers" in stage.out
    assert "3 answers without a verdict" in stage.err
