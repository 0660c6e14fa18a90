"""What the support router learns from labels that were shuffled: nothing, if all is well.

python benchmarks/shuffled_labels.py [--seeds 1 2 3] [--base-model DIR] [--out FILE]
    [--limit N] [--epochs N] [--learning-rate X] [--last-layers N] [--batch-size N]

Prepares the rows of the shipped spec, gives each training row the call of another one (drawn by the
seed), trains the stand-in on them with the project's own trainer, answers the held-out rows, and
holds the answers against the true calls. Beside it: the same with the true labels, and what a
constant answer scores. An accuracy far above the constant answer's after training on shuffled
labels would mean that held-out rows leak into the training, or that the scorer is wrong.

Without --base-model the stand-in is SmolLM2, fetched and converted once.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from orchestrator.calls import ToolCall
from orchestrator.evaluation.routing import RoutingScores, majority_agent, score, score_constant
from orchestrator.sandbox.standins.short_rows import SHORT_PROMPT, ShortRow, read_short_rows
from orchestrator.sandbox.standins.smollm2 import converted_model, stand_ins_folder

ROOT = Path(__file__).resolve().parent.parent
TRAINING = ROOT / "orchestrator" / "training"
SPEC = "functiongemma/support-router"


@dataclass(frozen=True)
class Line:
    """What one way of answering scores on the held-out rows."""

    labels: str
    seed: int | None
    rows: int
    agent: float
    agent_interval: tuple[float, float]
    exact: float
    exact_interval: tuple[float, float]
    seconds: float


def main() -> None:
    """Measure, print, write."""
    arguments = _arguments()
    base = arguments.base_model or converted_model(stand_ins_folder()).folder
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="shuffled-") as name:
        train, held_out = _prepared(Path(name))
        train, held_out = train[: arguments.limit], held_out[: arguments.limit]
        calls = [ToolCall(row.agent, row.arguments) for row in held_out]
        constant = majority_agent([ToolCall(row.agent, row.arguments) for row in train])
        lines.append(_line("constant answer", None, score_constant(calls, constant), 0.0))
        _print(lines[-1], head=True)
        for seed in arguments.seeds:
            for labels, rows in (("true", train), ("shuffled", shuffled(train, seed))):
                began = time.monotonic()
                folder = Path(name) / f"{labels}-{seed}"
                answers = _tuned_answers(folder, base, rows, held_out, seed, arguments)
                scores = score(calls, answers)
                lines.append(_line(labels, seed, scores, time.monotonic() - began))
                _print(lines[-1])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    document = {"spec": SPEC, "base_model": str(base.name), "lines": [asdict(one) for one in lines]}
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def shuffled(rows: Sequence[ShortRow], seed: int) -> list[ShortRow]:
    """The rows with their calls dealt out anew: the same calls, and as often."""
    calls = [(row.agent, row.arguments) for row in rows]
    random.Random(seed).shuffle(calls)  # noqa: S311 (a repeatable order, no secret)
    pairs = zip(rows, calls, strict=True)
    return [replace(row, agent=agent, arguments=arguments) for row, (agent, arguments) in pairs]


def _prepared(folder: Path) -> tuple[list[ShortRow], list[ShortRow]]:
    """The training and the held-out rows of the spec, split as the spec says."""
    target = folder / "rows"
    command = [sys.executable, "-m", "orchestrator", "prepare", SPEC, "--out", str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    splits = (read_short_rows(target / f"{split}.jsonl") for split in ("train", "validation"))
    train, held_out = (list(rows) for rows in splits)
    return train, held_out


def _tuned_answers(
    folder: Path,
    base: Path,
    train: Sequence[ShortRow],
    held_out: Sequence[ShortRow],
    seed: int,
    given: argparse.Namespace,
) -> list[str]:
    """Train on some rows, answer others; one answer for each of these."""
    folder.mkdir()
    train_file, rows_file = folder / "train.jsonl", folder / "rows.jsonl"
    _write(train_file, train)
    _write(rows_file, held_out)
    recipe = ["--epochs", given.epochs, "--learning-rate", given.learning_rate]
    recipe += ["--batch-size", given.batch_size, "--max-length", 256, "--seed", seed]
    if given.last_layers:
        recipe += ["--last-layers", given.last_layers]
    common = ["--base-model", base, "--precision", "fp32"]
    tuned, answered = folder / "tuned", folder / "answered"
    _script("sft.py", *common, "--train", train_file, "--output", tuned, *recipe)
    adapter = ["--adapter", tuned / "final", "--rows", rows_file, "--output", answered]
    _script("generate.py", *common, *adapter, "--max-new-tokens", 48, "--batch-size", 16)
    text = (answered / "predictions.jsonl").read_text(encoding="utf-8")
    found = sorted((json.loads(line) for line in text.splitlines()), key=lambda one: one["row"])
    return [one["predicted"] for one in found]


def _write(file: Path, rows: Sequence[ShortRow]) -> None:
    lines = [json.dumps(row.to_json(SHORT_PROMPT), ensure_ascii=False) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _script(name: str, *arguments: object) -> None:
    command = [sys.executable, str(TRAINING / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def _line(labels: str, seed: int | None, scores: RoutingScores, seconds: float) -> Line:
    agent, exact = scores.agent, scores.exact
    return Line(
        labels=labels,
        seed=seed,
        rows=agent.rows,
        agent=agent.value,
        agent_interval=agent.interval,
        exact=exact.value,
        exact_interval=exact.interval,
        seconds=round(seconds, 1),
    )


def _print(line: Line, *, head: bool = False) -> None:
    if head:
        print(f"{'labels':<16} {'seed':>4} {'rows':>5}  {'agent':<22} {'exact':<22} {'seconds':>7}")
    shares = (
        f"{value:6.1%} ({low:.1%} to {high:.1%})"
        for value, (low, high) in (
            (line.agent, line.agent_interval),
            (line.exact, line.exact_interval),
        )
    )
    agent, exact = shares
    seed = "" if line.seed is None else str(line.seed)
    print(f"{line.labels:<16} {seed:>4} {line.rows:>5}  {agent:<22} {exact:<22} {line.seconds:>7}")


def _arguments() -> argparse.Namespace:
    about = __doc__.splitlines()[0] if __doc__ else None
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--base-model", type=Path, help="folder of another stand-in")
    parser.add_argument("--limit", type=int, help="so many rows of each split, for a quick look")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--last-layers", type=int, default=10, help="0: all of them")
    parser.add_argument("--batch-size", type=int, default=4)
    default = ROOT / "build" / "benchmarks" / "shuffled_labels.json"
    parser.add_argument("--out", type=Path, default=default)
    return parser.parse_args()


if __name__ == "__main__":
    main()
