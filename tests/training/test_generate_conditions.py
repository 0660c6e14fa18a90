"""One job that answers under several conditions: what is asked for, run and passed on."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from orchestrator.training import generate
from orchestrator.training.generate_conditions import Condition, arguments_of, parse_conditions

SCRIPTS = Path(generate.__file__).parent
#: Does as `generate.py` does, but for the answers; its adapter's name says what goes wrong.
FAKE = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
for name in ("output", "adapter", "few-shot", "shots", "base-model", "base-revision"):
    parser.add_argument("--" + name)
given = parser.parse_known_args()[0]
print(json.dumps({"event": "start", "model": given.base_model}), flush=True)
print("a line that is no event", flush=True)
print("50%|\\r100%|", file=sys.stderr)
broken = given.adapter or ""
if "wrong" in broken:
    sys.exit("generate.py: the rows are wrong") if "quiet" not in broken else sys.exit(3)
if "failed" in broken:
    print(json.dumps({"event": "failed", "message": "out of memory"}), flush=True)
    sys.exit(1)
out = pathlib.Path(given.output)
out.mkdir(parents=True, exist_ok=True)
(out / "run.json").write_text(json.dumps(vars(given)))
with (out / "predictions.jsonl").open("a") as predictions:
    predictions.write(json.dumps({"row": 0}) + "\\n")
print(json.dumps({"event": "end", "rows": 1}), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scripts with a fake in the place of the one that answers, rows, and some adapters."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    for name in ("tuned", "wrong", "quiet-wrong", "failed", "a,b: c=d"):
        adapter(tmp_path / name)
    return tmp_path


def adapter(at: Path, base: str = "acme/m") -> None:
    at.mkdir()
    (at / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (at / "adapter_model.safetensors").write_bytes(b"weights")


def given(*more: str) -> list[str]:
    words = ["--base-model", "acme/m", "--base-revision", "abc", "--rows", "rows.jsonl"]
    return [*words, "--output", "out", *more]


def answer(folder: Path, *more: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run the script, with the fake for each condition: exit code, events, what it said last."""
    fake = folder / "fake.py"
    fake.write_text(FAKE)
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(generate, "__file__", str(fake))
        code = generate.main(given(*more))
    events = [json.loads(line) for line in out.getvalue().splitlines() if line.startswith("{")]
    said = err.getvalue().splitlines()
    return code, events, said[-1] if said else ""


# --- What is asked for ----------------------------------------------------------------------------


def test_conditions_are_read_whatever_a_path_holds(folder: Path) -> None:
    found = parse_conditions(
        [
            ["tuned", "adapter=a,b: c=d", "other-base=yes"],
            ["base"],
            ["few-shot", "count=4", "shots=rows.jsonl"],
            ["whole", "model=tuned", "may-fail=yes"],
        ]
    )
    assert found == [
        Condition("tuned", adapter=Path("a,b: c=d"), other_base=True),
        Condition("base"),
        Condition("few-shot", shots=Path("rows.jsonl"), count=4),
        Condition("whole", model=Path("tuned"), may_fail=True),
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--condition", "Tuned"], "Tuned: the name must come first"),
        (["--condition", "adapter=x"], "adapter=x: the name must come first"),
        (["--condition", "../up"], "../up: the name must come first"),
        (["--condition", "base", "--condition", "base"], "base: is given twice"),
        (["--condition", "base", "adaptor=x"], "base: adaptor=x: is none of adapter=…, model=…"),
        (["--condition", "base", "adapter="], "base: adapter=: is none of"),
        (["--condition", "base", "adapter=a", "adapter=b"], "base: adapter is given twice"),
        (["--condition", "t", "adapter=tuned", "model=tuned"], "t: an adapter and a full model"),
        (["--condition", "t", "shots=rows.jsonl"], "t: shots=FILE and count=N belong together"),
        (["--condition", "t", "shots=rows.jsonl", "count=0"], "count=0: must be a whole number"),
        (["--condition", "t", "shots=rows.jsonl", "count=x"], "count=x: must be a whole number"),
        (["--condition", "t", "shots=no.jsonl", "count=2"], "shots=no.jsonl: is no file"),
        (["--condition", "t", "model=no"], "t: model=no: is no folder"),
        (["--condition", "t", "other-base=maybe"], "other-base=maybe: must be yes or no"),
        (["--condition", "base", "--adapter", "tuned"], "--adapter must be said in a condition"),
        (["--condition", "t", "may-fail=maybe"], "t: may-fail=maybe: must be yes or no"),
        (["--condition", "base", "--condition", "t", "adapter=no"], "t: no/adapter_config.json"),
    ],
)
def test_a_wrong_condition_is_told_before_any_is_answered(
    folder: Path, words: list[str], told: str
) -> None:
    code, events, said = answer(folder, *words)
    assert (code, events) == (2, [])
    assert said.startswith("generate.py: --condition")
    assert told in said
    assert not (folder / "out").exists()


def test_an_adapter_of_another_base_is_refused_unless_its_condition_says_so(folder: Path) -> None:
    adapter(folder / "stranger", base="people/other")
    words = ["--condition", "tuned", "adapter=tuned", "--condition", "published"]
    code, _, said = answer(folder, *words, "adapter=stranger")
    assert code == 2
    assert "condition published: " in said
    assert "trained on people/other, not on acme/m" in said
    assert answer(folder, *words, "adapter=stranger", "other-base=yes")[0] == 0


def test_each_condition_gets_everything_else_as_it_was_given(folder: Path) -> None:
    everything = given(
        *("--max-new-tokens", "9", "--batch-size", "3", "--stop", "a b", "c", "--limit", "5"),
        *("--seed", "7", "--precision", "bf16", "--threads", "2", "--engine", "transformers"),
        *("--base-model-name", "odd", "--diagnose", "1", "--other-base"),
        "--likelihood",
    )
    whole = generate.parse_arguments([*everything, "--condition", "base"])
    one = generate.parse_arguments(arguments_of(Condition("base"), whole))
    changed = {"output": Path("out/base"), "condition": []}
    assert vars(one) == {**vars(whole), **changed}
    dashed = generate.parse_arguments([*given("--stop=-x"), "--condition", "base"])
    assert generate.parse_arguments(arguments_of(Condition("base"), dashed)).stop == ["-x"]


def test_a_full_model_takes_the_place_of_the_base_and_keeps_its_name(folder: Path) -> None:
    condition = Condition("tuned", model=Path("tuned"))
    found = generate.parse_arguments(arguments_of(condition, generate.parse_arguments(given())))
    assert (found.base_model, found.base_model_name) == ("tuned", "acme/m")
    assert found.base_revision is None


# --- What is run ----------------------------------------------------------------------------------


def test_each_condition_is_answered_into_a_folder_of_its_own_and_its_events_name_it(
    folder: Path,
) -> None:
    more = ["--condition", "tuned", "adapter=tuned", "--condition", "base"]
    code, events, _ = answer(
        folder, *more, "--condition", "few-shot", "shots=rows.jsonl", "count=1"
    )
    assert code == 0
    assert [(one["event"], one.get("condition")) for one in events] == [
        ("start", None),
        *[(event, name) for name in ("tuned", "base", "few-shot") for event in ("start", "end")],
        ("end", None),
    ]
    assert events[0]["conditions"] == events[-1]["conditions"] == ["tuned", "base", "few-shot"]
    runs = {one.parent.name: json.loads(one.read_text()) for one in Path("out").glob("*/run.json")}
    asked = {name: (run["adapter"], run["few_shot"], run["shots"]) for name, run in runs.items()}
    assert asked == {
        "tuned": ("tuned", None, "0"),
        "base": (None, None, "0"),
        "few-shot": (None, "rows.jsonl", "1"),
    }


@pytest.mark.parametrize(
    ("broken", "expected", "told"),
    [
        ("wrong", 1, "the rows are wrong"),
        ("quiet-wrong", 3, "100%|"),
        ("failed", 1, "out of memory"),
    ],
)
def test_a_condition_that_fails_stops_the_rest_and_leaves_what_others_answered(
    folder: Path, broken: str, expected: int, told: str
) -> None:
    more = ["--condition", "base", "--condition", "tuned", f"adapter={broken}"]
    code, events, said = answer(folder, *more, "--condition", "late")
    assert code == expected
    failed = [one for one in events if one["event"] == "failed"]
    assert failed == [{"event": "failed", "condition": "tuned", "message": told}]
    assert said == f"generate.py: condition tuned: {told}"
    assert [one.parent.name for one in Path("out").glob("*/predictions.jsonl")] == ["base"]


@pytest.mark.parametrize(
    ("broken", "told"), [("failed", "out of memory"), ("no", "no/adapter_config.json: is not ")]
)
def test_a_condition_that_may_fail_is_told_and_the_rest_is_answered(
    folder: Path, broken: str, told: str
) -> None:
    more = ["--condition", "base", "--condition", "published", f"adapter={broken}", "may-fail=yes"]
    code, events, _ = answer(folder, *more, "--condition", "late")
    assert code == 0
    (failed,) = (one for one in events if one["event"] == "failed")
    assert failed["condition"] == "published"
    assert failed["message"].startswith(told)
    assert events[-1]["conditions"] == ["base", "late"]
    assert {one.parent.name for one in Path("out").glob("*/predictions.jsonl")} == {"base", "late"}


@pytest.mark.parametrize("later", [[], ["may-fail=yes", "--condition", "late", "may-fail=yes"]])
def test_a_signal_ends_the_condition_that_runs_and_begins_no_other(
    folder: Path, later: list[str]
) -> None:
    code = folder / "code"
    shutil.copytree(SCRIPTS, code)
    real = (code / "generate.py").rename(code / "main.py")
    (code / "generate.py").write_text(
        "import os, signal, sys\n"
        "def end(*_):\n"
        '    os.write(1, b\'{"event": "told to end"}\\n\')\n'
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "signal.alarm(20)\n"
        'os.write(1, b\'{"event": "ready"}\\n\')\n'
        "signal.pause()\n"
    )
    # The same script, but what it runs for each condition waits.
    real.write_text(
        real.read_text().replace("Path(__file__).resolve(),", "Path('code/generate.py'),")
    )
    words = [*given(), "--condition", "base", *later]
    process = subprocess.Popen(
        [sys.executable, str(real), *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert '"ready"' in lines[1]
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert json.loads(rest) == {"event": "told to end", "condition": "base"}
