"""What SmolLM2 learns of rows of calls, by whole rehearsals: the tables of docs/results.md.

python benchmarks/stand_in_results.py SPEC [--data FILE --tools FILE] [--limit N] [--seeds 1 2 3]
    [--epochs N] [--rows N] [--held-out SHARE] [--shuffled] [--json FILE]

Every seed is one `orchestrator rehearse --stand-in smollm2`: the project itself prepares the rows,
trains on them, and has the held-out ones (the validation split) answered and scored. Nothing is
selected on the held-out rows: the last state of the one training is what is measured. `--shuffled`
gives the training rows each other's answers: what is learnt from them is chance. Wall-clock and
processor seconds are those of the whole rehearsal.
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
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
METRICS = ("tool", "calls_exact")


def main() -> int:
    """Print a table a seed and, with --json, write all evaluations to a file."""
    arguments = _arguments()
    results: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory(prefix="stand-in-results-") as work:
            cpu_s = _children_s()
            # Shuffled rows were prepared already, as many as were asked for.
            limit = None if arguments.shuffled else arguments.limit
            found = _rehearsed(_spec(arguments, Path(work), seed), Path(work), limit)
            cpu_s = round(_children_s() - cpu_s, 1)
        what = f"{arguments.spec}, seed {seed}{', shuffled answers' if arguments.shuffled else ''}"
        results.append({"what": what, "seed": seed, "cpu_s": cpu_s, **found})
        print("\n".join(_table(what, cpu_s, found)), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What SmolLM2 learns of rows of calls.")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tools", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--epochs", type=int, help="in place of the spec's own for a stand-in")
    parser.add_argument("--rows", type=int, help="train on the first N only; default: all")
    parser.add_argument("--held-out", type=float, help="share of the rows, in place of the spec's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _spec(arguments: argparse.Namespace, work: Path, seed: int) -> Path:
    """The spec with another seed for split and order, and nothing that keeps a result back."""
    spec = yaml.safe_load(arguments.spec.read_text(encoding="utf-8"))
    data = spec["data"]
    data["path"] = str((arguments.data or arguments.spec.parent / data["path"]).resolve())
    data["tools"] = str((arguments.tools or arguments.spec.parent / data["tools"]).resolve())
    if arguments.held_out:
        shares = {"train": 1 - arguments.held_out, "validation": arguments.held_out, "test": 0}
        data["split"] = {**data["split"], **shares}
    stand_in = {name: one for name, one in spec.get("stand_in", {}).items() if name != "rows"}
    if arguments.epochs:
        stand_in["epochs"] = arguments.epochs
    if arguments.rows:
        stand_in["rows"] = arguments.rows
    spec |= {"seed": seed, "stand_in": stand_in, "gates": "none"}
    # The stand-in has no use for the real model's limit, and nothing is exported.
    spec.get("tuning", {}).pop("max_length", None)
    spec.pop("export", None)
    file = work / "spec.yaml"
    file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    if arguments.shuffled:
        _shuffle(spec, file, arguments.limit, seed)
    return file


def _shuffle(spec: dict[str, Any], file: Path, limit: int | None, seed: int) -> None:
    """Lead the spec to its own prepared rows, those to train on with each other's answers."""
    rows = file.parent / "rows"
    _orchestrator(["prepare", str(file), "--out", str(rows), *_limited(limit)])
    train = rows / "train.jsonl"
    given = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    answers = [row["completion"] for row in given]
    random.Random(seed).shuffle(answers)  # noqa: S311 (not a secret)
    lines = [{**row, "completion": one} for row, one in zip(given, answers, strict=True)]
    train.write_text("".join(f"{json.dumps(one)}\n" for one in lines), encoding="utf-8")
    splits = {name: str(rows / f"{name}.jsonl") for name in ("train", "validation")}
    spec["data"] = {"format": "prompt-completion", "split": {"files": splits}}
    file.write_text(yaml.safe_dump(spec), encoding="utf-8")


def _rehearsed(spec: Path, work: Path, limit: int | None) -> dict[str, Any]:
    command = ["rehearse", str(spec), "--stand-in", "smollm2", "--keep", str(work / "kept")]
    found: dict[str, Any] = json.loads(_orchestrator([*command, "--json", *_limited(limit)]))
    return {name: found[name] for name in ("evaluation", "seconds", "differences")}


def _limited(limit: int | None) -> list[str]:
    return ["--limit", str(limit)] if limit else []


def _orchestrator(arguments: list[str]) -> str:
    environment = {**os.environ, "ORCHESTRATOR_OFFLINE": "1"}
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return subprocess.run(
        command, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ).stdout


def _table(what: str, cpu_s: float, found: dict[str, Any]) -> list[str]:
    evaluation = found["evaluation"]
    lines = [
        "",
        f"{what}: {evaluation['rows']} rows held out",
        f"{found['seconds']} s, {cpu_s} s of all processors",
        f"| answers | {' | '.join(METRICS)} |",
        f"|---|{'---|' * len(METRICS)}",
    ]
    for condition in evaluation["conditions"]:
        metrics = {one["name"]: one for one in condition["metrics"]}
        cells = [_cell(metrics[name]) for name in METRICS]
        lines.append(f"| {condition['name']} | {' | '.join(cells)} |")
    return lines


def _cell(metric: dict[str, Any]) -> str:
    right = round(metric["value"] * metric["rows"])
    return f"{right} of {metric['rows']} ({metric['low']:.0%} to {metric['high']:.0%})"


def _children_s() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
