"""Rows side by side, and failures by cause: chosen by a rule, from answers on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.evaluation.evidence import MetricMeaning
from orchestrator.report.causes import cause_groups
from orchestrator.report.local_answers import LocalAnswers, read_local_answers
from orchestrator.report.side_by_side import ExampleGroup, example_groups
from tests.report.runs import METRIC, Runs, evidence, key_of, outcomes, write_lines

OUTCOMES = [(False, True), (True, False), (False, False), (True, True), (False, True)]


def groups(runs: Runs, found: list[tuple[bool, bool]], *, most: int = 3) -> list[ExampleGroup]:
    run = runs.add()
    runs.answers(run, found)
    return list(example_groups(evidence(found), answers_of(runs, run.id), most=most))


def answers_of(runs: Runs, run_id: str) -> LocalAnswers:
    return read_local_answers(runs.home / "runs" / run_id, runs.folder / "data" / "test.jsonl")


def keys(group: ExampleGroup) -> list[str]:
    return [example.key for example in group.examples]


def test_gained_lost_and_still_wrong_are_told_apart_with_their_counts(runs: Runs) -> None:
    gained, lost, wrong = groups(runs, OUTCOMES)
    assert (gained.name, gained.rows, keys(gained)) == ("Gained", 2, [key_of(0), key_of(4)])
    assert (lost.name, lost.rows, keys(lost)) == ("Lost", 1, [key_of(1)])
    assert (wrong.name, wrong.rows, keys(wrong)) == ("Still wrong", 1, [key_of(2)])
    assert METRIC in gained.rule


def test_no_more_are_shown_than_asked_for_and_all_are_counted(runs: Runs) -> None:
    gained, _, _ = groups(runs, [(False, True)] * 9, most=2)
    assert (gained.rows, keys(gained)) == (9, [key_of(0), key_of(1)])


def test_an_example_has_the_question_and_both_answers(runs: Runs) -> None:
    example = groups(runs, OUTCOMES)[0].examples[0]
    assert example.prompt == "user: What is asked in row 0?"
    assert '"agent": "/math"' in example.expected
    base, tuned = example.said
    assert (base.condition, base.score, base.causes) == ("base", 0.0, ("no JSON",))
    assert (tuned.condition, tuned.score, tuned.is_as_expected) == ("tuned", 1.0, True)
    assert not base.is_as_expected


def test_the_largest_change_comes_first(runs: Runs) -> None:
    run = runs.add()
    runs.answers(run, [(False, True)] * 3)
    file = runs.home / "runs" / run.id / "answers" / "scores.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        if line["condition"] == "tuned" and line["key"] == key_of(0):
            line["metrics"][METRIC] = [0.5, 1.0]
    write_lines(file, lines)
    gained = example_groups(evidence(OUTCOMES), answers_of(runs, run.id), most=3)[0]
    assert keys(gained) == [key_of(1), key_of(2), key_of(0)]


def test_where_lower_is_better_the_direction_turns(runs: Runs) -> None:
    run = runs.add()
    runs.answers(run, OUTCOMES)
    found = evidence(OUTCOMES, kinds=(MetricMeaning(METRIC, "", "lower"),))
    gained, lost, _ = example_groups(found, answers_of(runs, run.id), most=3)
    assert (keys(gained), keys(lost)) == ([key_of(1)], [key_of(0), key_of(4)])


def test_without_a_base_there_are_wrong_and_right_rows(runs: Runs) -> None:
    run = runs.add()
    runs.answers(run, OUTCOMES)
    folder = runs.home / "runs" / run.id / "answers"
    (folder / "base.jsonl").unlink()
    lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    write_lines(folder / "scores.jsonl", [x for x in lines if x["condition"] == "tuned"])
    wrong, right = example_groups(evidence(OUTCOMES), answers_of(runs, run.id), most=9)
    assert (wrong.name, len(keys(wrong)), right.name, len(keys(right))) == ("Wrong", 2, "Right", 3)


def test_rows_may_be_scored_by_their_number(runs: Runs) -> None:
    run = runs.add()
    runs.answers(run, OUTCOMES)
    file = runs.home / "runs" / run.id / "answers" / "scores.jsonl"
    numbers = {key_of(row): str(row) for row in range(len(OUTCOMES))}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    write_lines(file, [{**line, "key": numbers[line["key"]]} for line in lines])
    gained = example_groups(evidence(OUTCOMES), answers_of(runs, run.id), most=3)[0]
    assert keys(gained) == ["0", "4"]


def test_without_the_files_there_are_no_examples(tmp_path: Path) -> None:
    answers = read_local_answers(tmp_path, tmp_path / "test.jsonl")
    assert answers == LocalAnswers()
    assert example_groups(evidence(OUTCOMES), answers, most=3) == ()


def test_broken_lines_are_left_out_and_told(runs: Runs) -> None:
    run = runs.add()
    runs.answers(run, OUTCOMES)
    folder = runs.home / "runs" / run.id / "answers"
    with (folder / "scores.jsonl").open("a") as file:
        file.write('{"half": \n[]\n{"condition": "tuned", "key": "k", "metrics": {"m": "x"}}\n')
        file.write('{"condition": "tuned", "key": "l", "metrics": 3}\n')
    (folder / "base.jsonl").write_bytes(b"\xff\xfe\x00 not text\n")
    answers = answers_of(runs, run.id)
    assert answers.problems == (
        "base.jsonl:1 is no JSON object, and is left out",
        "scores.jsonl:11 is no JSON object, and is left out",
    ) or set(answers.problems) == {
        "base.jsonl:1 is no JSON object, and is left out",
        "scores.jsonl:11 is no JSON object, and is left out",
    }
    gained = example_groups(evidence(OUTCOMES), answers, most=3)[0]
    assert [said.condition for said in gained.examples[0].said] == ["tuned"]


def test_no_answer_at_all_is_shown_as_none(runs: Runs) -> None:
    run = runs.add()
    runs.answers(run, OUTCOMES)
    file = runs.home / "runs" / run.id / "answers" / "tuned.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    write_lines(file, [{**line, "predicted": None} for line in lines])
    gained = example_groups(evidence(OUTCOMES), answers_of(runs, run.id), most=3)[0]
    said = gained.examples[0].said[1]
    assert (said.answered, said.pieces, said.is_as_expected) == (False, (), False)


def test_an_answer_that_differs_behind_the_cut_is_not_called_as_expected(runs: Runs) -> None:
    run = runs.add()
    runs.answers(run, OUTCOMES)
    file = runs.home / "runs" / run.id / "answers" / "tuned.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    long = {"expected": "word " * 2000 + "one", "predicted": "word " * 2000 + "two"}
    write_lines(file, [{**line, **long} for line in lines])
    gained = example_groups(evidence(OUTCOMES), answers_of(runs, run.id), most=3)[0]
    assert not gained.examples[0].said[1].is_as_expected


def test_causes_are_counted_for_both_models_with_examples(runs: Runs) -> None:
    run, found = runs.add(), outcomes()
    runs.answers(run, found)
    (group,) = cause_groups(evidence(found), answers_of(runs, run.id))
    wrong = sum(not tuned for _, tuned in found)
    assert (group.words, group.tuned, group.base) == ("tool missing: /math", wrong, 0)
    assert [len(example.said) for example in group.examples] == [1, 1]


def test_causes_without_local_answers_have_their_counts(runs: Runs) -> None:
    (group,) = cause_groups(evidence(outcomes()), LocalAnswers())
    assert group.examples == ()
    assert group.tuned > 0
