"""Answers of jobs on the sandbox: made up from what is expected, or really generated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.calls import Syntax, parse
from orchestrator.cli import run
from orchestrator.errors import InputError
from orchestrator.sandbox.jobs import answers_script
from orchestrator.sandbox.jobs.conditions import condition_values, with_condition_values
from orchestrator.sandbox.jobs.smollm2_stand_in import SmolLM2JobStandIn
from orchestrator.sandbox.jobs.stand_in import value_of
from orchestrator.sandbox.jobs.stand_ins import job_stand_in
from orchestrator.sandbox.jobs.tiny_stand_in import TinyJobStandIn
from orchestrator.sandbox.jobs.volumes import Places
from orchestrator.sandbox.standins.base import Answers, StandInOptions
from orchestrator.sandbox.standins.smollm2 import ConvertedModel

PACKAGE = Path(orchestrator.__file__).parent
SCRIPT = Path(answers_script.__file__)
FIELDS = (
    *("row", "prompt_sha256", "expected", "predicted", "raw"),
    *("prompt_tokens", "new_tokens", "stopped_by", "latency_s"),
)
CALLS = [
    {
        "prompt": [{"role": "user", "content": f"Question {number}"}],
        "completion": [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"function": {"name": "route", "arguments": json.dumps({"n": number})}}
                ],
            }
        ],
        "tools": [],
    }
    for number in range(3)
]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def texts(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(count)]


def adapter(folder: Path, base: str = "google/gemma-3-270m") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def ask(
    folder: Path, rows: Path, *more: str, answers: str = "good", model: str = "google/gemma-3-270m"
) -> subprocess.CompletedProcess[str]:
    """Run the script by itself, as the sandbox's `uv` does."""
    command = [sys.executable, str(SCRIPT), "--base-model", model, "--rows", str(rows)]
    command += ["--output", str(folder / "out"), *more, "--answers", answers]
    environment = {"PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def lines(folder: Path, condition: str = "") -> list[dict[str, Any]]:
    file = folder / "out" / condition / "predictions.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def right(answered: list[dict[str, Any]]) -> int:
    return sum(one["predicted"] == one["expected"] for one in answered)


# --- Made up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "tuned"), [("good", 36), ("weak", 12)])
def test_made_up_answers_are_right_as_often_as_is_said(
    tmp_path: Path, answers: str, tuned: int
) -> None:
    rows, folder = write(tmp_path / "rows.jsonl", texts(40)), adapter(tmp_path / "adapter")
    conditions = ["--condition", "tuned", f"adapter={folder}", "--condition", "base"]
    conditions += ["--condition", "few-shot", f"shots={rows}", "count=2"]
    done = ask(tmp_path, rows, *conditions, answers=answers)
    assert done.returncode == 0, done.stderr
    found = {name: right(lines(tmp_path, name)) for name in ("tuned", "base", "few-shot")}
    assert found == {"tuned": tuned, "base": 12, "few-shot": 12}
    expected = {one["expected"] for one in lines(tmp_path, "base")}
    assert {one["predicted"] for one in lines(tmp_path, "base")} <= expected
    assert [json.loads(line)["condition"] for line in done.stdout.splitlines()] == [
        name for name in ("tuned", "base", "few-shot") for _ in range(2)
    ]


def test_the_same_row_is_answered_alike_wherever_it_stands(tmp_path: Path) -> None:
    said = []
    for number, rows in enumerate((texts(25), texts(25)[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        ask(folder, write(folder / "rows.jsonl", rows), "--condition", "base")
        said.append({one["prompt_sha256"]: one["predicted"] for one in lines(folder, "base")})
    assert said[0] == said[1]


def test_made_up_lines_have_the_fields_of_generated_ones_and_say_what_they_are(
    tmp_path: Path,
) -> None:
    rows = write(tmp_path / "rows.jsonl", texts(3))
    assert ask(tmp_path, rows, "--limit", "2", "--max-new-tokens", "9").returncode == 0
    answered = lines(tmp_path)
    assert [tuple(one) for one in answered] == [FIELDS, FIELDS]
    assert answered[0]["latency_s"] is None
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["engine"], run["max_new_tokens"], run["adapter_sha256"]) == ("canned", 9, None)


@pytest.mark.parametrize(
    ("model", "syntax"),
    [("google/functiongemma-270m-it", Syntax.FUNCTIONGEMMA), ("acme/unknown", Syntax.OPENAI)],
)
def test_calls_are_written_as_the_model_would_write_them(
    tmp_path: Path, model: str, syntax: Syntax
) -> None:
    rows = write(tmp_path / "rows.jsonl", CALLS)
    assert ask(tmp_path, rows, model=model).returncode == 0
    found = [parse(one["expected"], syntax).calls[0] for one in lines(tmp_path)]
    assert [(one.name, one.arguments) for one in found] == [("route", {"n": n}) for n in range(3)]


def test_rows_that_expect_the_same_get_another_answer_all_the_same(tmp_path: Path) -> None:
    same = [{"prompt": f"question {n}", "completion": "yes"} for n in range(10)]
    assert ask(tmp_path, write(tmp_path / "rows.jsonl", same)).returncode == 0
    assert right(lines(tmp_path)) == 3


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--condition", "Base"], "--condition Base: the name must come first"),
        (["--condition", "tuned", "adapter=no"], "no/adapter_config.json"),
    ],
)
def test_wrong_arguments_are_refused_as_by_the_script_itself(
    tmp_path: Path, more: list[str], told: str
) -> None:
    done = ask(tmp_path, write(tmp_path / "rows.jsonl", texts(2)), *more)
    assert done.returncode == 2
    assert done.stderr.startswith("generate.py: ")
    assert told in done.stderr


def test_a_row_that_holds_no_proper_call_is_told_with_its_place(tmp_path: Path) -> None:
    row = json.loads(json.dumps(CALLS[0]))
    row["completion"][0]["tool_calls"] = [{"function": {"arguments": "{"}}]
    done = ask(tmp_path, write(tmp_path / "rows.jsonl", [CALLS[1], row]))
    assert done.returncode == 2
    assert "rows.jsonl:2: tool_calls are no calls" in done.stderr


def test_only_a_stand_in_with_a_model_can_really_answer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="replay has no model"):
        job_stand_in("replay", tmp_path, StandInOptions(answers="real"))


def test_a_rehearsal_refuses_answers_that_its_stand_in_cannot_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["rehearse", "functiongemma/support-router", "--stand-in", "replay"]
    assert run([*words, "--answers", "real"]) == 2
    assert "replay has no model that could give real answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "answers", "told"),
    [
        ("tiny", None, "right for 9 of 10 rows after tuning"),
        ("replay", None, "right for 9 of 10 rows after tuning"),
        ("replay", "weak", "right for 3 of 10 rows, after tuning too"),
        ("smollm2", "good", "right for 9 of 10 rows after tuning"),
    ],
)
def test_answers_that_are_made_up_are_told(
    tmp_path: Path, name: str, answers: Answers | None, told: str
) -> None:
    stand_in = job_stand_in(name, tmp_path, StandInOptions(answers=answers))
    command = ("uv", "run", "generate.py", "--base-model", "a/b", "--rows", "r")
    prepared = stand_in.prepare(command, Path)
    assert prepared.instead == {"generate.py": SCRIPT}
    assert [line for line in prepared.differences if told in line and "not generated" in line]
    assert value_of(prepared.command, "--answers") == (answers or "good")


def test_no_losses_are_made_up_and_that_is_told(tmp_path: Path) -> None:
    stand_in = job_stand_in("tiny", tmp_path, StandInOptions())
    command = ("uv", "run", "generate.py", "--base-model", "a/b", "--likelihood", "--rows", "r")
    told = stand_in.prepare(command, Path).differences
    assert [line for line in told if line.startswith("losses of the expected answers: not")]
    rows = write(tmp_path / "rows.jsonl", texts(3))
    assert ask(tmp_path, rows, "--likelihood").returncode == 0
    assert all(one.keys() == set(FIELDS) for one in lines(tmp_path))


# --- Words of conditions --------------------------------------------------------------------------


def test_only_words_of_conditions_are_read_and_changed() -> None:
    command = ["x.py", "--stop", "shots=no", "--condition", "few-shot", "shots=a", "count=2"]
    command += ["--condition", "other", "shots=b", "--seed", "1", "shots=no"]
    assert condition_values(command, "shots") == ["a", "b"]
    changed = with_condition_values(command, "shots", str.upper)
    assert condition_values(changed, "shots") == ["A", "B"]
    assert changed.count("shots=no") == 2


@pytest.mark.parametrize("key", ["adapter", "model"])
def test_before_a_tuning_the_model_answers_that_was_tuned_not_the_one_used_last(
    tmp_path: Path, key: str
) -> None:
    for name in ("first", "last"):
        for folder in (tmp_path / "tiny" / name, tmp_path / name):
            folder.mkdir(parents=True)
            vocabulary = json.dumps({"model": {"vocab": {name: 0}}})
            (folder / "tokenizer.json").write_text(vocabulary, encoding="utf-8")
        made = tmp_path / "tiny" / name / "made.json"
        made.write_text('{"parameters": 1}', encoding="utf-8")
    (tmp_path / "tiny" / "last").rename(tmp_path / "tiny" / "second")
    (tmp_path / "tiny" / "last").write_text("second", encoding="utf-8")
    stand_in = TinyJobStandIn(tmp_path, StandInOptions(answers="real"))
    command = ["uv", "run", "generate.py", "--base-model", "a/b", "--rows", "no", "--condition"]
    command += ["tuned", f"{key}={tmp_path / 'first'}", "--condition", "published"]
    prepared = stand_in.prepare([*command, f"adapter={tmp_path / 'last'}"], Path)
    assert value_of(prepared.command, "--base-model") == str(tmp_path / "tiny" / "first")


def test_a_path_in_a_condition_is_led_to_the_job_s_own_folder(tmp_path: Path) -> None:
    places = Places({"/tuned": tmp_path / "0", "/tmp": tmp_path / "1"})  # noqa: S108 (a job's)
    assert places.rewrite("adapter=/tuned/p-1/final") == f"adapter={tmp_path}/0/p-1/final"
    assert places.rewrite("--rows=/tmp/x") == f"--rows={tmp_path}/1/x"
    for other in ("x y=/tuned", "print(a)=/tuned", "HF=/tuned", "adapter=/tuned-too"):
        assert places.rewrite(other) == other


def test_smollm2_gives_examples_of_conditions_their_short_form_too(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    model = tmp_path / "model"
    model.mkdir()
    Tokenizer(models.WordLevel({"?": 0}, unk_token="?")).save(str(model / "tokenizer.json"))
    rows = write(tmp_path / "rows.jsonl", CALLS)
    stand_in = SmolLM2JobStandIn(tmp_path / "root", StandInOptions(), ConvertedModel(model, 1))
    command = ["uv", "run", "generate.py", "--base-model", "a/b", "--rows", str(rows)]
    command += ["--condition", "tuned", "adapter=/a", "--condition", "few-shot", f"shots={rows}"]
    prepared = stand_in.prepare([*command, "count=1"], Path)
    shots = condition_values(prepared.command, "shots")
    assert shots == [value_of(prepared.command, "--rows")]
    assert '\\"agent\\": \\"route\\"' in Path(shots[0]).read_text(encoding="utf-8")
    assert condition_values(prepared.command, "adapter") == ["/a"]
    assert condition_values(prepared.command, "count") == ["1"]
