"""`orchestrator compare`: only rows of both, corrected for many comparisons, all else told."""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.evaluation.comparison_table import ScoredRun, comparison_table, holm
from orchestrator.evaluation.scores import MetricKind, RowScores, yes
from tests.auditing.stage import Stage, answers_of, key, right, rows_of, write

SCIPY = pytest.importorskip("scipy.stats")
EXACT = MetricKind("exact", "right")
WRONG = MetricKind("broken", "broken", higher_is_better=False)


def scored(name: str, right_rows: set[int], rows: range = range(10), **more: Any) -> ScoredRun:
    return ScoredRun(
        name,
        "text",
        (EXACT, WRONG),
        tuple(
            RowScores(
                f"row {row}",
                {"exact": yes(row in right_rows), "broken": yes(row not in right_rows)},
                {"kind": "even" if row % 2 == 0 else "odd"},
            )
            for row in rows
        ),
        **more,
    )


def metric(document: dict[str, Any], name: str, place: int = 0) -> dict[str, Any]:
    lines = document["against"][place]["metrics"]
    found: dict[str, Any] = next(one for one in lines if one["metric"] == name)
    return found


# -------------------- the table


@pytest.mark.parametrize("number", [1, 2, 5, 30])
def test_the_correction_is_that_of_statsmodels(number: int) -> None:
    draw = random.Random(number)  # noqa: S311 (repeatable, no secret)
    p_values = [draw.choice([1.0, 0.03, draw.random() ** 3]) for _ in range(number)]
    theirs = pytest.importorskip("statsmodels.stats.multitest").multipletests(
        p_values, method="holm"
    )[1]
    assert holm(p_values) == pytest.approx(list(theirs))


def test_rows_gained_and_lost_are_told_by_key_and_by_what_is_better() -> None:
    table = comparison_table([scored("a", {0, 1, 2, 3}), scored("b", {1, 2, 3, 4, 5, 6, 7})])
    (found,) = table.against
    assert [one.key for one in found.gained] == ["row 4", "row 5", "row 6", "row 7"]
    assert [one.key for one in found.lost] == ["row 0"]
    exact, broken = found.lines
    assert (exact.gained, exact.lost) == (4, 1)
    assert (broken.gained, broken.lost) == (4, 1)  # lower is better
    assert exact.found.p_value == pytest.approx(SCIPY.binomtest(1, 5, 0.5).pvalue)
    assert exact.p_holm == pytest.approx(min(1, 2 * exact.found.p_value))
    assert [(line.slice, line.found.before, line.found.after) for line in found.slices] == [
        (("kind", "even"), 2 / 5, 3 / 5),
        (("kind", "odd"), 2 / 5, 4 / 5),
    ]


def test_the_correction_is_for_all_runs_and_a_metric_named_beforehand_alone() -> None:
    runs = [scored("a", {0}), scored("b", set(range(8))), scored("c", set(range(10)))]
    every = comparison_table(runs)
    assert [one.name for one in every.against] == ["b", "c"]
    assert [one.lines[0].p_holm / one.lines[0].found.p_value for one in every.against] == [
        pytest.approx(2),
        pytest.approx(4),
    ]
    named = comparison_table(runs, ["broken"])
    assert named.main == "broken"
    assert [len(one.lines) for one in named.against] == [1, 1]
    assert named.against[1].lines[0].p_holm == pytest.approx(
        2 * named.against[1].lines[0].found.p_value
    )


def test_rows_that_expect_something_else_are_not_compared() -> None:
    old = scored("a", {0}, expected={"row 0": "x", "row 1": "y"}, rows_sha256="1")
    new = scored("b", {1}, expected={"row 0": "x", "row 1": "z"}, rows_sha256="2")
    (found,) = comparison_table([old, new]).against
    assert (found.rows, found.other_expected, found.same_file) == (9, 1, False)
    assert not found.gained
    same = scored("b", {1}, expected={"row 1": "z"}, rows_sha256="1")
    assert comparison_table([old, same]).against[0].rows == 10


def test_a_metric_that_only_one_has_is_told_and_one_that_none_has_only_if_it_is_named() -> None:
    old, new = scored("a", {0}), scored("b", {1})
    without = tuple(replace(row, parts={"exact": row.parts["exact"]}) for row in new.rows)
    new = replace(new, rows=without)
    assert comparison_table([old, new]).against[0].not_there == ("broken",)
    assert comparison_table([new, replace(new, name="c")]).against[0].not_there == ()
    found = comparison_table([new, replace(new, name="c")], ["broken"]).against[0]
    assert (found.not_there, found.lines, found.slices) == (("broken",), (), ())


def test_a_cell_of_the_csv_is_no_formula() -> None:
    table = comparison_table([scored("=a", {0}), scored("-b|c", {1, 2})])
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert {(row["first"], row["run"]) for row in rows} == {("'=a", "'-b|c")}
    assert {row["slice"] for row in rows} == {"", "kind"}
    assert float(rows[1]["difference"]) == pytest.approx(-0.1)
    assert "-b\\|c" in table.to_markdown()
    assert len({line.count(" | ") for line in table.to_markdown().splitlines()[:6]}) == 1


# -------------------- runs


def test_two_runs_are_compared_row_by_row(stage: Stage) -> None:
    one = stage.evaluated(tuned=answers_of(range(20), range(10)))
    two = stage.evaluated(tuned=answers_of(range(20), [0, 1, 19]))
    assert stage("compare", one, two, "--json") == 0
    document = stage.json()
    found = metric(document, "exact_match")
    assert (found["before"], found["after"], found["gained"], found["lost"]) == (0.5, 0.85, 8, 1)
    assert found["p"] == pytest.approx(SCIPY.binomtest(1, 9, 0.5).pvalue)
    assert found["difference"] == pytest.approx(0.35)
    assert found["low"] < found["difference"] < found["high"]
    (against,) = document["against"]
    assert (against["run"], against["same_rows_file"], against["rows"]) == (two, True, 20)
    assert {change["key"] for change in against["gained"]} == {key(row) for row in range(2, 10)}
    assert [change["key"] for change in against["lost"]] == [key(19)]
    assert {one["of"] for one in against["slices"]} == {"easy", "hard"}
    assert stage.err == ""
    assert stage("compare", one, two, "--metric", "exact_match") == 0
    assert "8 rows better by exact_match" in stage.out
    assert "chrf" not in stage.out


def test_another_way_to_answer_of_the_same_run_is_compared(stage: Stage) -> None:
    run = stage.evaluated(tuned=answers_of(range(20)), base=answers_of(range(20), range(15)))
    assert stage("compare", f"{run}:base", run, "--json") == 0
    assert metric(stage.json(), "exact_match")["gained"] == 15
    assert stage.json()["first"] == f"{run}:base"
    assert stage("compare", run, run) == 2
    assert "the same" in stage.err
    assert stage("compare", f"{run}:constant", run) == 0
    assert stage("compare", f"{run}:published", run) == 2
    assert "was not evaluated on 'published'" in stage.err


def test_only_rows_of_both_runs_count_and_the_others_are_told(stage: Stage) -> None:
    one = stage.evaluated(range(20))
    two = stage.evaluated(range(10, 25), tuned=answers_of(range(10, 25)))
    assert stage("compare", one, two, "--json") == 0
    assert stage.json()["against"][0]["rows"] == 10
    assert "another file of rows: only common rows are compared" in stage.err
    assert f"10 rows only of {one}: not compared" in stage.err
    assert f"5 rows only of {two}: not compared" in stage.err
    apart = stage.evaluated(range(50, 60), tuned=answers_of(range(50, 60)))
    assert stage("compare", one, apart) == 2
    assert "have no row in common" in stage.err


def test_rows_whose_right_answer_was_changed_are_left_out(stage: Stage) -> None:
    one = stage.evaluated(range(10), tuned=answers_of(range(10)))
    mended = rows_of(range(9)) + rows_of([9], completion="It is nineteen.")
    two = stage.evaluated(range(10), expected=mended, tuned=answers_of(range(10)))
    assert stage("compare", one, two, "--json") == 0
    assert stage.json()["against"][0]["rows"] == 9
    assert "1 row that" in stage.err
    assert "expect other answers to: not compared" in stage.err


def test_runs_of_another_scorer_are_refused(stage: Stage) -> None:
    one = stage.evaluated()
    two = stage.evaluated(scorer="calls")
    assert stage("compare", one, two) == 2
    assert "was scored by 'calls'" in stage.err
    assert stage("compare", one, one + ":constant", "--scorer", "calls") == 2
    assert "Leave out --scorer" in stage.err


@pytest.mark.parametrize("damage", ["gone", "broken", "stale", "short"])
def test_scores_that_are_not_those_of_the_evaluation_are_made_again(
    stage: Stage, damage: str
) -> None:
    one = stage.evaluated(tuned=answers_of(range(20), range(10)))
    two = stage.evaluated(tuned=answers_of(range(20)))
    file = stage.folder(two) / "answers" / "scores.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    if damage == "gone":
        file.unlink()
    elif damage == "broken":
        file.write_text(lines[0] + "{", encoding="utf-8")
    elif damage == "stale":
        line = json.loads(lines[0])
        line["metrics"]["exact_match"] = [0.0, 1.0]
        file.write_text(json.dumps(line) + "\n" + "".join(lines[1:]), encoding="utf-8")
    else:
        file.write_text("".join(lines[1:]), encoding="utf-8")
    assert stage("compare", one, two, "--json") == 0
    assert metric(stage.json(), "exact_match")["after"] == 1
    (stage.folder(two) / "answers" / "tuned.jsonl").unlink()
    assert stage("compare", one, two) == 2
    assert "are not on this machine" in stage.err


def test_a_run_that_is_not_evaluated_cannot_be_compared(stage: Stage) -> None:
    one, two = stage.evaluated(), stage.evaluated()
    stage.event(two, "answers_given", {})
    assert stage("compare", one, two) == 2
    assert f"run {two} is not evaluated" in stage.err


# -------------------- files


def test_files_are_compared_with_runs_and_with_each_other(stage: Stage, tmp_path: Path) -> None:
    run = stage.evaluated(tuned=answers_of(range(20), range(10)))
    better = write(tmp_path / "b.jsonl", answers_of(range(20), [0]))
    assert stage("compare", run, f"better={better}", "--json") == 0
    assert metric(stage.json(), "exact_match")["gained"] == 9
    worse = write(tmp_path / "w.jsonl", answers_of(range(20), range(19)))
    files = (f"better={better}", f"worse={worse}")
    assert stage("compare", *files, "--scorer", "text", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(stage.out)))
    assert (rows[0]["first"], rows[0]["run"], rows[0]["lost"]) == ("better", "worse", "18")
    assert stage("compare", *files) == 2
    assert "nobody says how the answers of files are scored" in stage.err


def test_expected_answers_may_stand_in_a_file_of_their_own(stage: Stage, tmp_path: Path) -> None:
    expected = write(tmp_path / "rows.jsonl", rows_of(range(6)))
    plain = [{"prompt": f"What is {n} + {n}?", "predicted": right(n)} for n in range(6)]
    one = write(tmp_path / "1.jsonl", plain)
    two = write(tmp_path / "2.jsonl", [{**row, "predicted": "x"} for row in plain])
    files = (f"one={one}", f"two={two}", "--scorer", "text")
    assert stage("compare", *files) == 2
    assert "--expected FILE" in stage.err
    assert stage("compare", *files, "--expected", expected, "--markdown") == 0
    assert "| one | two |  |  | exact_match | 6 | 1 | 0 | -1 |" in stage.out


def test_the_same_prompt_twice_is_two_rows(stage: Stage, tmp_path: Path) -> None:
    rows = [0, 0, 1]
    expected = write(tmp_path / "rows.jsonl", rows_of(rows))
    one = write(tmp_path / "1.jsonl", answers_of(rows))
    answers = answers_of(rows)
    answers[1]["predicted"] = "x"
    two = write(tmp_path / "2.jsonl", answers)
    files = (f"one={one}", f"two={two}", "--scorer", "text", "--json")
    for more in ((), ("--expected", expected)):
        assert stage("compare", *files, *more) == 0
        (lost,) = stage.json()["against"][0]["lost"]
        assert lost["key"] == f"{key(0)}#2"


def test_answers_that_name_no_row_are_refused(stage: Stage, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"expected": "x", "predicted": "x"}])
    assert stage("compare", f"a={file}", f"b={file}", "--scorer", "text") == 2
    assert f"{file}:1: this answer has no `id` and no prompt" in stage.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("one",), "Name two runs or more"),
        (("a=b", "c=d", "--json", "--csv"), "exclude each other"),
        (("a=gone.jsonl", "b=gone.jsonl", "--scorer", "text"), "gone.jsonl"),
        (("a=b", "c=d", "--scorer", "texts"), "Did you mean text?"),
    ],
)
def test_wrong_usage_is_told(stage: Stage, arguments: tuple[str, ...], words: str) -> None:
    assert stage("compare", *arguments) == 2
    assert words in stage.err


def test_a_file_without_a_name_is_told(stage: Stage, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", answers_of([1]))
    assert stage("compare", stage.evaluated(), file) == 2
    assert f"NAME={file}" in stage.err


def test_a_metric_that_there_is_not_is_told_with_those_there_are(stage: Stage) -> None:
    one, two = stage.evaluated(), stage.evaluated()
    assert stage("compare", one, two, "--metric", "exact") == 2
    assert "Metrics: exact_match, chrf, bleu" in stage.err
