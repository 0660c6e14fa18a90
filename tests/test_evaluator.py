"""Answers that are there are scored in every way to answer, and compared row by row."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from orchestrator.answer_files import prompt_sha256
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError
from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluator import AnswersFile, Question, evaluate
from orchestrator.spec import GateBlock

ANSWERS = ["4", "6", "8", "10", "12", "14", "16", "18"]
PROMPTS = [f"What is {n} + {n}?" for n in range(2, 10)]


def write(file: Path, lines: Iterable[object]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def rows_file(folder: Path, prompts: Sequence[str] = PROMPTS) -> Path:
    rows = ({"prompt": p, "completion": a} for p, a in zip(prompts, ANSWERS, strict=True))
    return write(folder / "rows.jsonl", rows)


def said(folder: Path, name: str, answers: Sequence[str], **more: object) -> AnswersFile:
    """What `generate.py` writes."""
    lines = [
        {
            "row": n,
            "prompt_sha256": prompt_sha256(prompt),
            "expected": right,
            "predicted": answer,
            "new_tokens": 3,
            "stopped_by": "eos",
            "latency_s": 0.1 * (n + 1),
            **more,
        }
        for n, (prompt, right, answer) in enumerate(zip(PROMPTS, ANSWERS, answers, strict=False))
    ]
    return AnswersFile(write(folder / f"{name}.jsonl", lines), f"{name} note")


def question(folder: Path, answers: dict[str, AnswersFile], **more: object) -> Question:
    values = {"scorer": "text", "split": "test", "train": None}
    rows = more.pop("rows", None) or rows_file(folder)
    return Question(**{**values, "rows": rows, "answers": answers, **more})  # type: ignore[arg-type]


def test_every_way_to_answer_is_scored_and_compared(tmp_path: Path) -> None:
    answers = {
        "tuned": said(tmp_path, "tuned", [*ANSWERS[:6], "x", "y"]),
        "base": said(tmp_path, "base", ["x"] * 6 + ANSWERS[6:]),
    }
    train = write(tmp_path / "train.jsonl", [{"prompt": "p", "completion": "8"}] * 3)
    found = evaluate(question(tmp_path, answers, train=train)).evidence
    assert [one.name for one in found.conditions] == ["tuned", "base", "constant", "majority"]
    values = {one.name: one.metric("exact_match") for one in found.conditions}
    assert {name: one.value for name, one in values.items() if one} == {
        "tuned": 6 / 8,
        "base": 2 / 8,
        "constant": 1 / 8,
        "majority": 1 / 8,
    }
    (against,) = [
        one for one in found.comparisons if (one.metric, one.against) == ("exact_match", "base")
    ]
    assert (against.gained, against.lost, against.rows) == (6, 2, 8)
    assert found.rows_sha256 == sha256_file(tmp_path / "rows.jsonl")


def test_the_evidence_survives_the_ledger_and_holds_no_row(tmp_path: Path) -> None:
    answers = {"tuned": said(tmp_path, "tuned", ["SECRET ANSWER"] * 8)}
    gates = (GateBlock(metric="exact_match", min=0.5, slice=None),)
    made = evaluate(question(tmp_path, answers, gates=gates)).evidence
    text = json.dumps(made.to_json())
    assert Evidence.from_json(json.loads(text)) == made
    assert "SECRET" not in text
    assert "What is" not in text
    assert not made.passed
    assert made.failed == (made.gates[0].words,)


def test_answers_look_like_what_they_are(tmp_path: Path) -> None:
    some = said(tmp_path, "tuned", ["", "", "8", "8", "8", "9"])
    lines = some.file.read_text(encoding="utf-8").splitlines()
    cut = [json.loads(line) | {"stopped_by": "max_new_tokens"} for line in lines[:2]]
    write(some.file, [*cut, *map(json.loads, lines[2:])])
    figures = evaluate(question(tmp_path, {"tuned": some})).evidence.conditions[0].answers
    assert figures is not None
    assert (figures.rows, figures.missing, figures.empty) == (8, 2, 2)
    assert (figures.different, figures.commonest_rows, figures.cut) == (3, 3, 2)
    assert figures.tokens_mean == 3
    assert figures.latency_s_p50 == pytest.approx(0.3)


def test_a_row_without_an_answer_counts_as_wrong(tmp_path: Path) -> None:
    found = evaluate(question(tmp_path, {"tuned": said(tmp_path, "tuned", ANSWERS[:4])})).evidence
    metric = found.conditions[0].metric("exact_match")
    assert metric is not None
    assert (metric.value, metric.rows) == (0.5, 8)


def test_a_rival_loses_no_row_that_it_did_not_answer(tmp_path: Path) -> None:
    answers = {
        "tuned": said(tmp_path, "tuned", ANSWERS),
        "base": said(tmp_path, "base", ANSWERS[:2]),
    }
    gate = GateBlock(metric="exact_match", better_than="base")
    found = evaluate(question(tmp_path, answers, gates=(gate,))).evidence
    base = found.condition("base")
    assert base is not None
    assert base.answers is not None
    assert [(one.value, one.rows) for one in base.metrics[:1]] == [(1.0, 2)]
    assert (base.answers.rows, base.answers.missing) == (8, 6)
    assert [one.passed for one in found.gates] == [False]
    against = next(one for one in found.comparisons if one.against == "base")
    assert (against.metric, against.rows, against.difference) == ("exact_match", 2, 0.0)


def test_answers_to_other_prompts_are_refused_with_their_place(tmp_path: Path) -> None:
    given = said(tmp_path, "tuned", ANSWERS, prompt_sha256="0" * 64)
    with pytest.raises(InputError, match="another prompt was asked") as caught:
        evaluate(question(tmp_path, {"tuned": given}))
    assert str(caught.value.where).endswith("tuned.jsonl:1")


def test_a_stand_in_may_have_been_asked_in_other_words(tmp_path: Path) -> None:
    given = said(tmp_path, "tuned", ANSWERS, prompt_sha256="0" * 64)
    own = AnswersFile(given.file, given.note, own_rows=True)
    found = evaluate(question(tmp_path, {"tuned": own})).evidence
    metric = found.conditions[0].metric("exact_match")
    assert metric is not None
    assert metric.value == 1


def test_the_same_prompt_twice_is_two_rows(tmp_path: Path) -> None:
    prompts = [PROMPTS[0], *PROMPTS[:1], *PROMPTS[2:]]
    file = rows_file(tmp_path, prompts)
    given = said(tmp_path, "tuned", ANSWERS)
    lines = [json.loads(line) for line in given.file.read_text(encoding="utf-8").splitlines()]
    lines[1]["prompt_sha256"] = prompt_sha256(prompts[1])
    write(given.file, lines)
    done = evaluate(question(tmp_path, {"tuned": given}, rows=file))
    keys = [row.key for row in done.scored["tuned"]]
    assert len(set(keys)) == 8
    assert keys[1] == f"{keys[0]}#2"


def test_scores_of_every_row_stay_in_a_file(tmp_path: Path) -> None:
    answers = {"tuned": said(tmp_path, "tuned", ANSWERS)}
    evaluate(question(tmp_path, answers)).write_scores(tmp_path / "scores.jsonl")
    text = (tmp_path / "scores.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["condition"] for line in lines} == {"tuned", "constant"}
    assert lines[0]["metrics"]["exact_match"] == [1.0, 1.0]


def test_the_constant_answer_to_outside_route_plans_is_held_by_gate_and_alarm(
    tmp_path: Path,
) -> None:
    if "ORCHESTRATOR_DATA" not in os.environ:
        pytest.skip("ORCHESTRATOR_DATA does not name outside data")
    outside = Path(os.environ["ORCHESTRATOR_DATA"]) / "route-plan" / "rows.jsonl"
    rows = [json.loads(line) for line in outside.read_text(encoding="utf-8").splitlines()]
    file = write(
        tmp_path / "rows.jsonl",
        ({"prompt": row["prompt"], "completion": row["completion"]} for row in rows),
    )
    sequences = Counter(str(json.loads(row["completion"])["route_plan"]) for row in rows)
    assert len(sequences) > 1
    always = json.loads(rows[0]["completion"]) | {
        "route_plan": ["/general-search(facts)", "/math(work)", "/code(run)", "/math(check)"]
    }
    given = write(
        tmp_path / "constant.jsonl",
        (
            {
                "row": number,
                "prompt_sha256": prompt_sha256(row["prompt"]),
                "expected": row["completion"],
                "predicted": json.dumps(always),
            }
            for number, row in enumerate(rows)
        ),
    )
    gates = (
        GateBlock(metric="tool_recall_set", min=0.95),
        GateBlock(metric="exact_tool_sequence", better_than="constant"),
    )
    made = evaluate(
        question(
            tmp_path,
            {"tuned": AnswersFile(given, "constant")},
            scorer="route-plan",
            rows=file,
            gates=gates,
        )
    ).evidence
    tuned = {one.name: one.value for one in made.conditions[0].metrics}
    # Figures that others published as good are those of an answer that never looks at its question.
    assert tuned["tool_recall_set"] == pytest.approx(1.0, abs=0.005)
    assert tuned["exact_tool_sequence"] == pytest.approx(0.568, abs=0.005)
    assert [one.passed for one in made.gates] == [True, False]
    assert [one.name for one in made.alarms] == ["alike"]
    assert not made.passed
