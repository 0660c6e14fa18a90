"""Files of answers as people have them: rows that repeat, tables, lines of other rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.answer_files import prompt_sha256, read_answers, write_lines
from orchestrator.calls import Syntax
from orchestrator.errors import InputError
from orchestrator.evaluation.evidence import Evidence
from orchestrator.evaluator import AnswersFile, Question, answered_rows, evaluate


def write(file: Path, lines: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def rows(folder: Path, prompts: list[str]) -> Path:
    lines: list[dict[str, object]] = [
        {"prompt": prompt, "completion": str(number)} for number, prompt in enumerate(prompts)
    ]
    return write(folder / "rows.jsonl", lines)


def generated(folder: Path, prompts: list[str], answers: list[str]) -> Path:
    """Lines as `generate.py` writes them."""
    lines: list[dict[str, object]] = [
        {"row": number, "prompt_sha256": prompt_sha256(prompt), "predicted": answer}
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]
    return write(folder / "given.jsonl", lines)


def test_a_persons_file_of_rows_that_repeat_is_matched_by_their_numbers(tmp_path: Path) -> None:
    prompts = ["same", "same", "other"]
    file = generated(tmp_path, prompts, ["a", "b", "c"])
    found = answered_rows(rows(tmp_path, prompts), AnswersFile(file, "", by_row=False))
    assert [row.predicted for row in found] == ["a", "b", "c"]
    swapped = generated(tmp_path, ["same", "other", "same"], ["a", "b", "c"])
    with pytest.raises(InputError, match="another prompt was asked"):
        answered_rows(rows(tmp_path, prompts), AnswersFile(swapped, "", by_row=False))


def test_without_repeats_the_order_of_a_persons_file_does_not_matter(tmp_path: Path) -> None:
    file = generated(tmp_path, ["c", "a"], ["third", "first"])
    found = answered_rows(rows(tmp_path, ["a", "b", "c"]), AnswersFile(file, "", by_row=False))
    assert [row.predicted for row in found] == ["first", None, "third"]


@pytest.mark.parametrize("lines", [[{"row": 0}, {"row": 0}], [{}]])
def test_lines_of_a_job_without_numbers_of_their_own_are_refused(
    tmp_path: Path, lines: list[dict[str, object]]
) -> None:
    digest = prompt_sha256("a")
    said = [{**line, "prompt_sha256": digest, "predicted": "x"} for line in lines]
    file = write(tmp_path / "said.jsonl", said)
    with pytest.raises(InputError, match="no `row` of its own"):
        answered_rows(rows(tmp_path, ["a", "b"]), AnswersFile(file, ""))


def test_lines_of_a_job_without_the_prompts_digest_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "said.jsonl", [{"row": 0, "predicted": "x"}])
    with pytest.raises(InputError, match="another prompt was asked"):
        answered_rows(rows(tmp_path, ["a", "b"]), AnswersFile(file, ""))


def test_a_table_of_answers_is_read_again_under_another_name(tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    table.write_text('prompt,predicted\nq1,"a, b"\nq2,"two\nlines"\n', encoding="utf-8")
    lines = tmp_path / "tuned.jsonl"
    write_lines(table, lines)
    kept, given = read_answers(lines, "predicted"), read_answers(table, "predicted")
    assert [(row.answer, row.digest) for row in kept] == [(row.answer, row.digest) for row in given]
    assert [row.answer for row in kept] == ["a, b", "two\nlines"]


def call(name: str) -> str:
    calls = [{"type": "function", "function": {"name": name, "arguments": {}}}]
    return json.dumps({"content": "", "tool_calls": calls})


def judged_calls(rows: Path, tuned: AnswersFile) -> Evidence:
    """Answers in FunctionGemma's syntax, judged by rows that were trained on too."""
    return evaluate(
        Question(
            scorer="calls",
            split="test",
            rows=rows,
            train=rows,
            answers={"tuned": tuned},
            gates=(),
            syntax=Syntax.FUNCTIONGEMMA,
        )
    ).evidence


def test_a_constant_answer_is_read_in_the_syntax_of_its_rows(tmp_path: Path) -> None:
    """Else it scores nothing beside answers of FunctionGemma, and everything is better than it."""

    wanted = write(
        tmp_path / "rows.jsonl",
        [{"prompt": str(n), "completion": call("bill" if n else "sell")} for n in range(4)],
    )
    said = "<start_function_call>call:bill{}<end_function_call>"
    given = generated(tmp_path, [str(n) for n in range(4)], [said] * 4)
    evidence = judged_calls(wanted, AnswersFile(given, "", by_row=False))
    for name in ("tuned", "constant", "majority"):
        found = evidence.condition(name)
        assert found is not None
        metric = found.metric("calls_exact")
        assert metric is not None
        assert metric.value == 0.75, name


def test_the_commonest_training_answer_stands_beside_rows_that_a_template_wrote(
    tmp_path: Path,
) -> None:
    """What a job expects is in its model's own syntax; training rows are as they were prepared."""

    names = ["sell", "bill", "bill", "bill"]
    prepared: list[dict[str, object]] = [
        {"prompt": str(n), "completion": call(name)} for n, name in enumerate(names)
    ]
    wanted = write(tmp_path / "rows.jsonl", prepared)
    lines: list[dict[str, object]] = [
        {
            "row": n,
            "prompt_sha256": prompt_sha256(str(n)),
            "expected": f"<start_function_call>call:{name}{{}}<end_function_call>",
            "predicted": "",
        }
        for n, name in enumerate(names)
    ]
    given = write(tmp_path / "said.jsonl", lines)
    evidence = judged_calls(wanted, AnswersFile(given, ""))
    found = evidence.condition("majority")
    assert found is not None
    metric = found.metric("calls_exact")
    assert metric is not None
    assert (metric.value, metric.rows) == (3 / 4, 4)
