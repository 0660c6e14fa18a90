"""Predictions for the tests: tiny models, and `generate.py` run many times in one process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.sandbox.standins import tiny_model
from orchestrator.training import generate
from tests.training.trainings import run_driver

SCRIPTS = Path(generate.__file__).parent
TOOLS = [{"type": "function", "function": {"name": "math", "parameters": {}}}]
QUESTIONS = ["Add one.", "Is it warm?", "Add two and two and two.", "Who?", "Stop.", "Add three."]
NEW_TOKENS = 12


def answer(number: int) -> str:
    """What is to be said to a question; a special token is part of it."""
    return f"<|turn|>agent {number % 2}"


#: Some rows with tools and some without, and prompts of different lengths.
ROWS: list[dict[str, Any]] = [
    {
        "prompt": [
            {"role": "system", "content": "You route."},
            {"role": "user", "content": question},
        ],
        "completion": [{"role": "assistant", "content": answer(number)}],
        "tools": TOOLS if number % 2 else None,
    }
    for number, question in enumerate(QUESTIONS)
]
TEXTS = [
    {"prompt": f"{question}\n", "completion": answer(number)}
    for number, question in enumerate(QUESTIONS)
]

#: Makes a base, trains an adapter on it, merges the two, then does each step of the plan in order:
#: some code, or a run of the script with its own output and exit code.
DRIVER = """
import contextlib, importlib.util, json, sys
from pathlib import Path
plan = json.load(open(sys.argv[1]))
def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
def run(script, name, arguments):
    with open(f"{name}.out", "w") as out, open(f"{name}.err", "w") as err:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                return script.main(arguments)
            except SystemExit as left:
                return left.code
with contextlib.redirect_stdout(sys.stderr):
    load("tiny_model", plan["maker"]).make(Path("rows.jsonl"), Path("base"), 0)
assert run(load("sft", plan["scripts"] + "/sft.py"), "trained", plan["train"]) == 0
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import PeftModel
base = AutoModelForCausalLM.from_pretrained("base")
PeftModel.from_pretrained(base, "trained/final").merge_and_unload().save_pretrained("merged")
AutoTokenizer.from_pretrained("base").save_pretrained("merged")
generate = load("generate", plan["scripts"] + "/generate.py")
codes = {}
for step in plan["steps"]:
    if isinstance(step, str):
        exec(step)
    else:
        codes[step[0]] = run(generate, step[0], step[1])
json.dump(codes, open("codes.json", "w"))
"""


@dataclass(frozen=True)
class Predicted:
    """The folder in which everything happened, and the exit codes of the runs."""

    folder: Path
    codes: dict[str, int]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The predictions in an output."""
        text = (self.folder / name / "predictions.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def answers(self, name: str) -> list[dict[str, Any]]:
        """The predictions, without what differs from run to run."""
        return [{k: v for k, v in row.items() if k != "latency_s"} for row in self.rows(name)]

    def out(self, run: str) -> str:
        """What a run wrote to standard output."""
        return (self.folder / f"{run}.out").read_text(encoding="utf-8")

    def events(self, run: str) -> list[dict[str, Any]]:
        """The events of a run."""
        return [json.loads(line) for line in self.out(run).splitlines()]

    def said(self, run: str) -> str:
        """What a run wrote to standard error last."""
        return (self.folder / f"{run}.err").read_text(encoding="utf-8").strip().splitlines()[-1]


def arguments(name: str, *more: str, model: str = "base", rows: str = "rows.jsonl") -> list[str]:
    """The command line of a run into the output `name`."""
    words = ["--base-model", model, "--base-model-name", "acme/tiny", "--rows", rows]
    words += ["--output", name, "--max-new-tokens", str(NEW_TOKENS), "--threads", "1"]
    return [*words, *more]


def run_all(folder: Path, steps: list[str | tuple[str, list[str]]]) -> Predicted:
    """Make the models, and do the steps in one process: code, or a run by name and arguments."""
    for name, rows in (("rows", ROWS), ("texts", TEXTS)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    train = ["--base-model", "base", "--base-model-name", "acme/tiny"]
    train += ["--train", "rows.jsonl", "--output", "trained"]
    train += ["--epochs", "25", "--learning-rate", "1e-2", "--batch-size", "3", "--rank", "8"]
    plan = {
        "maker": tiny_model.__file__,
        "scripts": str(SCRIPTS),
        "train": train,
        "steps": steps,
    }
    return Predicted(folder, run_driver(DRIVER, folder, plan))
