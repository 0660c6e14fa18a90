"""Trainings for the tests: a tiny base model, and the script run as a job runs it.

Importing torch takes seconds, so all trainings of one bench share a process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sandbox.standins import tiny_model
from orchestrator.training import sft

SCRIPT = Path(sft.__file__)
ROWS = [
    {"prompt": f"Which tool answers question {number}?\n", "completion": f"/math({number})"}
    for number in range(12)
]
TALK = [
    {"role": "user", "content": "What is one and one?"},
    {"role": "assistant", "content": "Two."},
]

#: Runs the script several times in one process, each with its own output and exit code. A run that
#: is to be hit by a signal is a fork, which sends it to itself at that very moment.
DRIVER = """
import contextlib, importlib.util, json, sys
plan = json.load(open(sys.argv[1]))
def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
from pathlib import Path
with contextlib.redirect_stdout(sys.stderr):
    load("tiny_model", plan["maker"]).make(Path(plan["rows"]), Path(plan["base"]), 0)
sft = load("sft", plan["script"])
codes, scored = {}, {}
def count_scored():
    # How many positions the head computes in each run.
    import types, trl.trainer.utils as utils
    real = utils._ChunkedLogProbFunction
    def apply(hidden, *rest):
        scored[running[0]] = scored.get(running[0], 0) + len(hidden)
        return real.apply(hidden, *rest)
    utils._ChunkedLogProbFunction = types.SimpleNamespace(apply=apply)
running = [None]
count_scored()
def run(name, arguments):
    running[0] = name
    with open(f"{name}.out", "w") as out, open(f"{name}.err", "w") as err:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return sft.main(arguments)
def signal_at(hit):
    import os, torch
    emit, save = sft.Metrics.emit, torch.save
    def emitting(self, event, **fields):
        emit(self, event, **fields)
        if (event, fields.get("step")) == (hit["at"], hit["step"]):
            os.kill(os.getpid(), hit["signal"])
    def saving(value, file, *rest, **named):
        save(value, file, *rest, **named)
        if hit["at"] == "saving" and f"checkpoint-{hit['step']}/optimizer" in str(file):
            os.kill(os.getpid(), hit["signal"])
    sft.Metrics.emit, torch.save = emitting, saving
def forked(name, arguments, hit):
    import os, trl
    child = os.fork()
    if child == 0:
        code = 99
        try:
            signal_at(hit)
            code = run(name, arguments)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
for name, arguments in plan["runs"].items():
    hit = plan["hits"].get(name)
    codes[name] = forked(name, arguments, hit) if hit else run(name, arguments)
json.dump(codes, open("codes.json", "w"))
exec(plan["after"])
"""


def environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def write_rows(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@dataclass(frozen=True)
class Trained:
    """The folder in which everything happened, and the exit codes of the runs."""

    folder: Path
    codes: dict[str, int]

    def events(self, run: str) -> list[dict[str, Any]]:
        """The lines that a run wrote to standard output."""
        lines = (self.folder / f"{run}.out").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def said(self, run: str) -> str:
        """What a run wrote to standard error last."""
        return (self.folder / f"{run}.err").read_text(encoding="utf-8").strip().splitlines()[-1]

    def final(self, run: str) -> Path:
        """The final checkpoint of a run."""
        return self.folder / run / "final"


def needs_training() -> None:
    """Skip where the libraries are not installed."""
    if importlib.util.find_spec("trl") is None:
        pytest.skip("the sandbox extra is not installed: pip install 'orchestrator[sandbox]'")


def arguments(folder: Path, name: str, rows: Path, **changes: object) -> list[str]:
    """The command line of a small training in `folder/name`; True stands for a bare flag."""
    values: dict[str, object] = {"epochs": 2, "learning-rate": 1e-2, "batch-size": 4}
    values |= {"base-model": folder / "base", "train": rows, "output": folder / name}
    values |= {"rank": 4, "seed": 1}
    values |= {key.replace("_", "-"): value for key, value in changes.items()}
    words: list[str] = []
    for key, value in values.items():
        words.append(f"--{key}")
        if value is not True:
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
    return words


@dataclass(frozen=True)
class Hit:
    """A signal that comes right after an event of a step, or amid the `saving` of a checkpoint."""

    at: str
    step: int
    signal: int


def run_all(
    folder: Path,
    rows: Path,
    runs: dict[str, list[str]],
    hits: dict[str, Hit] | None = None,
    after: str = "",
) -> Trained:
    """Make the base model for these rows, and run the script once for each list of arguments.

    `after` is Python that runs in the same process at the end, for what needs torch.
    """
    plan = {
        "maker": tiny_model.__file__,
        "script": str(SCRIPT),
        "rows": str(rows),
        "base": str(folder / "base"),
        "runs": runs,
        "hits": {name: asdict(hit) for name, hit in (hits or {}).items()},
        "after": after,
    }
    return Trained(folder, run_driver(DRIVER, folder, plan))


def run_driver(driver: str, folder: Path, plan: dict[str, Any]) -> Any:
    """Run a driver on a plan in a process of its own; what it leaves in codes.json."""
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-c", driver, "plan.json"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "codes.json").read_text(encoding="utf-8"))
