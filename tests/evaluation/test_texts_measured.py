"""Losses of expected answers, from the lines of `generate.py --likelihood` to the evidence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.answer_files import alone, match, prompt_sha256, read_answers
from orchestrator.evaluation.answer_facts import likelihood_of
from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluation.scores import Likelihood
from orchestrator.evaluator import AnswersFile, Question, evaluate
from orchestrator.spec import GateBlock

PROMPTS = [f"What is {n} + {n}?" for n in range(2, 8)]
ANSWERS = ["4", "6", "8", "10", "12", "14"]


def line(number: int, loss: float | None, **more: Any) -> dict[str, Any]:
    """What `generate.py --likelihood` writes of a row of four tokens, three of them right."""
    found = {
        "row": number,
        "prompt_sha256": prompt_sha256(PROMPTS[number]),
        "expected": ANSWERS[number],
        "predicted": "x",
        "expected_tokens": 4,
        "expected_loss": loss,
        "expected_right": 3,
    }
    return {**found, **more}


def write(file: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return file


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    found = [{"prompt": p, "completion": a} for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    return write(tmp_path / "rows.jsonl", found)


def question(rows: Path, answers: Mapping[str, Path], *gates: GateBlock) -> Question:
    files = {name: AnswersFile(file, name) for name, file in answers.items()}
    return Question("text", "test", rows, rows, files, gates)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"expected_tokens": 4, "expected_loss": 2, "expected_right": 3}, Likelihood(4, 2.0, 3)),
        ({"expected_tokens": 4, "expected_loss": 0.5}, Likelihood(4, 0.5)),
        ({"expected_tokens": 4, "expected_right": 0}, Likelihood(4, None, 0)),
        ({"expected_tokens": 4, "expected_loss": -1, "expected_right": 5}, None),
        ({"expected_tokens": True, "expected_loss": 1.0}, None),
        ({"expected_tokens": 0, "expected_loss": 0.0, "expected_right": 0}, None),
        ({"expected_tokens": "4", "expected_loss": "1"}, None),
        ({"expected_loss": 1.0, "expected_right": 1}, None),
        ({}, None),
    ],
)
def test_a_line_is_believed_only_where_it_is_a_measurement(
    fields: dict[str, Any], found: Likelihood | None
) -> None:
    assert likelihood_of(fields) == found


def test_a_null_is_a_loss_that_was_no_number() -> None:
    found = likelihood_of({"expected_tokens": 4, "expected_loss": None, "expected_right": 1})
    assert found is not None
    assert found.loss is not None
    assert math.isnan(found.loss)


def test_losses_reach_the_evidence_of_each_condition_and_its_gates(
    tmp_path: Path, rows: Path
) -> None:
    tuned = write(tmp_path / "tuned.jsonl", [line(n, 0.4 + n / 10) for n in range(6)])
    base = write(tmp_path / "base.jsonl", [line(n, 8.0 + n, expected_right=1) for n in range(6)])
    gates = (
        GateBlock(metric="perplexity", max=1.3, slice=None, better_than="base"),
        GateBlock(metric="token_accuracy", min=0.7, slice=None),
    )
    found = evaluate(question(rows, {"tuned": tuned, "base": base}, *gates)).evidence
    losses = {one.name: one.metric("loss") for one in found.conditions}
    assert losses["tuned"] is not None
    assert losses["tuned"].value == pytest.approx(sum(0.4 + n / 10 for n in range(6)) / 24)
    assert losses["tuned"].rows == 6
    # Answers that no model gave have none.
    assert losses["constant"] is losses["majority"] is None
    assert found.gates[0].value == pytest.approx(math.exp(losses["tuned"].value))
    assert found.passed, found.failed
    better = {kind.name: kind.better for kind in found.kinds}
    assert (better["loss"], better["perplexity"], better["token_accuracy"]) == (
        *("lower", "lower"),
        "higher",
    )
    assert Evidence.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_gate_on_losses_that_were_not_measured_fails_and_says_so(
    tmp_path: Path, rows: Path
) -> None:
    lines = [line(n, 1.0) for n in range(6)]
    for one in lines:
        del one["expected_tokens"]
    tuned = write(tmp_path / "tuned.jsonl", lines)
    gate = GateBlock(metric="loss", max=9, slice=None)
    found = evaluate(question(rows, {"tuned": tuned}, gate)).evidence
    assert found.failed == ("loss is not there: no row counts for it",)


def test_a_loss_that_is_no_number_holds_a_gate(tmp_path: Path, rows: Path) -> None:
    lines = [line(n, None if n == 3 else 0.1) for n in range(6)]
    base = write(tmp_path / "base.jsonl", [line(n, 8.0) for n in range(6)])
    tuned = write(tmp_path / "tuned.jsonl", lines)
    gate = GateBlock(metric="loss", max=9, slice=None)
    found = evaluate(question(rows, {"tuned": tuned, "base": base}, gate)).evidence
    assert not found.passed
    assert found.gates[0].value == math.inf


def test_a_file_of_other_expected_answers_brings_no_losses_of_its_own(
    tmp_path: Path, rows: Path
) -> None:
    lines = [line(n, 1.0) for n in range(6)]
    lines[2]["expected"] = " 8\n"
    lines[4]["expected"] = "another"
    predicted = read_answers(write(tmp_path / "said.jsonl", lines), "predicted")
    given = match(read_answers(rows, "expected"), predicted).rows
    assert [one.likelihood is None for one in given] == [n == 4 for n in range(6)]
    assert all(one.likelihood for one in alone(predicted).rows)
