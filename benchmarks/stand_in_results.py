"""Before and after a training of SmolLM2, on rows of calls: the tables of docs/results.md.

python benchmarks/stand_in_results.py SPEC [--data FILE --tools FILE] [--limit N] [--seeds 1 2 3]
    [--epochs N] [--held-out SHARE] [--shuffled] [--json FILE]

For every seed the rows are prepared by the project itself, the light recipe of the stand-in is
trained by `sft.py` on the training rows, and the held-out rows (the validation split) are answered
by `generate.py`. Nothing is selected on the held-out rows: the last state of the one training is
what is measured. `--shuffled` gives the training rows each other's answers: what is learnt from
them is chance. Wall-clock and processor seconds are those of all processes together.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from orchestrator.sandbox.before_and_after import BeforeAndAfter
from orchestrator.sandbox.demo_evaluation import DemoEvaluation
from orchestrator.sandbox.jobs.smollm2_stand_in import LIGHT_RECIPE, THREADS
from orchestrator.sandbox.standins.short_rows import SHORT_PROMPT, ShortRow, read_short_rows
from orchestrator.sandbox.standins.smollm2 import (
    MODEL_NAME,
    ConvertedModel,
    converted_model,
    stand_ins_folder,
)
from orchestrator.training import sft

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Print a table a seed and, with --json, write all figures to a file."""
    arguments = _arguments()
    model = converted_model(stand_ins_folder())
    results: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory(prefix="stand-in-results-") as work:
            train, held_out = _prepared(arguments, Path(work), seed)
            if arguments.shuffled:
                _shuffle(train, seed)
            result, figures = _measure(model, train, held_out, Path(work), seed, arguments.epochs)
        what = f"{arguments.spec}, seed {seed}{', shuffled answers' if arguments.shuffled else ''}"
        print(f"\n{what}: {figures['train_rows']} rows trained on, {figures['train_s']} s of")
        print(f"training ({figures['train_cpu_s']} s of processor time)")
        print("\n".join(result.lines()), flush=True)
        results.append({"what": what, "seed": seed, **figures, **result.to_json()})
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Before and after a training of SmolLM2.")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tools", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--epochs", type=int, default=LIGHT_RECIPE.epochs)
    parser.add_argument("--held-out", type=float, help="share of the rows, in place of the spec's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _prepared(arguments: argparse.Namespace, work: Path, seed: int) -> tuple[Path, Path]:
    """The rows as the project prepares them, with another seed for split and order."""
    spec = yaml.safe_load(arguments.spec.read_text(encoding="utf-8"))
    data = spec["data"]
    data["path"] = str((arguments.data or arguments.spec.parent / data["path"]).resolve())
    data["tools"] = str((arguments.tools or arguments.spec.parent / data["tools"]).resolve())
    if arguments.held_out:
        shares = {"train": 1 - arguments.held_out, "validation": arguments.held_out, "test": 0}
        data["split"] = {**data["split"], **shares}
    # The stand-in has no use for the real model's limit.
    spec.get("tuning", {}).pop("max_length", None)
    spec.pop("export", None)
    file = work / "spec.yaml"
    file.write_text(yaml.safe_dump({**spec, "seed": seed}), encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator", "prepare", str(file)]
    command += ["--out", str(work / "rows")]
    command += ["--limit", str(arguments.limit)] if arguments.limit else []
    environment = {**os.environ, "ORCHESTRATOR_OFFLINE": "1"}
    subprocess.run(
        command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, text=True
    )
    return work / "rows" / "train.jsonl", work / "rows" / "validation.jsonl"


def _shuffle(train: Path, seed: int) -> None:
    rows = read_short_rows(train)
    answers = [(row.agent, row.arguments) for row in rows]
    random.Random(seed).shuffle(answers)  # noqa: S311 (not a secret)
    pairs = zip(rows, answers, strict=True)
    shuffled = [replace(row, agent=name, arguments=given) for row, (name, given) in pairs]
    train.write_text("".join(f"{json.dumps(_called(row))}\n" for row in shuffled), encoding="utf-8")


def _called(row: ShortRow) -> dict[str, Any]:
    """A prepared row again: a question, and a call of a tool."""
    call = {"type": "function", "function": {"name": row.agent, "arguments": row.arguments}}
    return {
        "prompt": [{"role": "user", "content": row.question}],
        "completion": [{"role": "assistant", "content": "", "tool_calls": [call]}],
    }


def _measure(
    model: ConvertedModel, train: Path, held_out: Path, work: Path, seed: int, epochs: int
) -> tuple[BeforeAndAfter, dict[str, Any]]:
    started_s, cpu_s = time.monotonic(), _children_s()
    evaluation = DemoEvaluation(model.folder, train, held_out, work / "answers", seed=seed)
    before = evaluation.before()
    train_started_s, train_cpu_s = time.monotonic(), _children_s()
    adapter = _train(model, train, work, seed, epochs)
    figures: dict[str, Any] = {
        "train_rows": len(read_short_rows(train)),
        "train_s": round(time.monotonic() - train_started_s, 1),
        "train_cpu_s": round(_children_s() - train_cpu_s, 1),
        "recipe": {
            **{k: v for k, v in vars(LIGHT_RECIPE).items() if v is not None and k != "seed"},
            "epochs": epochs,
        },
        "threads": THREADS,
    }
    result = evaluation.before_and_after(before, adapter)
    figures["all_s"] = round(time.monotonic() - started_s, 1)
    figures["all_cpu_s"] = round(_children_s() - cpu_s, 1)
    return result, figures


def _train(model: ConvertedModel, train: Path, work: Path, seed: int, epochs: int) -> Path:
    short = work / "short.jsonl"
    rows = (row.to_json(SHORT_PROMPT) for row in read_short_rows(train))
    short.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    recipe = LIGHT_RECIPE
    command = [sys.executable, str(Path(sft.__file__)), "--base-model", str(model.folder)]
    command += ["--base-model-name", MODEL_NAME, "--train", str(short)]
    command += ["--output", str(work / "trained"), "--mode", "lora", "--precision", "fp32"]
    options = {
        "--rank": recipe.rank,
        "--last-layers": recipe.last_layers,
        "--epochs": epochs,
        "--learning-rate": recipe.learning_rate,
        "--batch-size": recipe.batch_size,
        "--max-length": recipe.max_length,
        "--threads": THREADS,
        "--seed": seed,
    }
    command += [str(part) for pair in options.items() for part in pair]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return work / "trained" / "final"


def _children_s() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
